"""Asset checks: what must be true of stored data, measurements and laws. They read; they compute nothing anew."""

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np

from nsl_assets import noise, tasks
from nsl_assets.curve_bias import how_to_calibrate, study_bias
from nsl_assets.curves import measurement_hashes
from nsl_assets.defs import keys
from nsl_assets.defs.automation import WHEN_WHAT_IT_CHECKS_CHANGES
from nsl_assets.grid import Noised, stored_embeddings, stored_noised, stored_task
from nsl_assets.probing import ExpectedBias
from nsl_assets.study import Study
from nsl_resources.resources import StorageResource
from nsl_resources.results import Results

DEPTH_TOLERANCE_SD = 6.0
"""Realised depth may be this many standard deviations of binomial thinning from nominal."""
ESTIMATION_NOISE_BITS = 0.1
"""An estimate may leave [floor, ceiling] by this much through estimation noise alone."""

Rows = list[dict[str, Any]]


def study_checks(name: str, study: Study) -> list[dg.AssetChecksDefinition]:
    """All checks of one study."""
    checks = []
    for task in study.tasks:
        of_task = keys.TaskKeys(name, task)
        checks += [
            _counts_are_integers(of_task, study),
            _no_leakage(of_task, study),
            _realised_depth(of_task, study),
        ]
        for model in study.models:
            checks += [
                _embedding_is_finite(of_task, study, model),
                _measurement_check(
                    of_task, study, model, name="between_floor_and_ceiling", find=_outside, severity=ERROR
                ),
                _measurement_check(
                    of_task, study, model, name="curve_is_complete", find=_absent(study, task, model), severity=WARN
                ),
                _calibration_check(of_task, study, model),
                _law_check(of_task, model, "fit_converged", "not is_converged", ERROR),
                _law_check(of_task, model, "fit_has_no_flags", "len(flags) > 0", WARN),
            ]
    return checks


ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def checks_job_name(name: str) -> str:
    """Name of the job that runs all checks of a study."""
    return f"check_{name}"


def _counts_are_integers(of_task: keys.TaskKeys, study: Study) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.source,
        name="counts_are_integers",
        description="Every stored count is a positive integer.",
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        task = stored_task(study.tasks[of_task.task], storage.artifacts)
        everything = task.cells(np.arange(len(task.role)))
        n_bad = sum(int((block.data < 1).sum()) for block in everything.blocks())
        metadata = {"n_counts": task.counts.n_nonzero, "n_not_positive": n_bad}
        return dg.AssetCheckResult(passed=n_bad == 0, metadata=metadata)

    return check


def _no_leakage(of_task: keys.TaskKeys, study: Study) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.source,
        name="no_leakage",
        description="No cell, group of cells or partner is both in the probe and among the cells that models see.",
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        task = stored_task(study.tasks[of_task.task], storage.artifacts)
        varies = task.pairing is not None
        levels = study.levels_of(of_task.task)
        drawn = [
            tasks.leakage(task, task.pairs(seed, level))
            for seed in (study.seeds if varies else study.seeds[:1])
            for level in (levels if varies else levels[:1])
        ]
        counts = {name: max(getattr(one, name) or 0 for one in drawn) for name in LEAKAGE}
        certified = _certificates(storage.results, of_task)
        is_clean = all(one.is_clean for one in drawn) and not certified["n_leaking"]
        # The published probes of pairs overlap with training: the counts are shown, and nothing is wrong.
        return dg.AssetCheckResult(passed=is_clean or study.protocol == "published", metadata={**counts, **certified})

    return check


LEAKAGE = ("n_shared_cells", "n_shared_groups", "n_shared_partners")


def _certificates(results: Results, of_task: keys.TaskKeys) -> dict[str, int]:
    """Measurements of a task, those whose certificate is not clean, and those from before there were any."""
    results.publish()
    leaking = " or ".join(f"{name} > 0" for name in LEAKAGE)
    columns = f"study, task, protocol, {', '.join(LEAKAGE)}"
    with results.connect() as database:
        found = database.execute(
            f"select count(*), count(*) filter (where {leaking}), count(*) filter (where n_shared_cells is null)"
            f" from (select {columns} from measurement union all select {columns} from cross_noise_measurement)"
            " where study = ? and task = ? and protocol = 'corrected'",
            [of_task.study, of_task.task],
        ).fetchone()
    n_rows, n_leaking, n_without = found or (0, 0, 0)
    return {"n_measurements": n_rows, "n_leaking": n_leaking, "n_without_certificate": n_without}


def _realised_depth(of_task: keys.TaskKeys, study: Study) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.noised,
        name="realised_depth",
        description="Thinned depth is the nominal one within chance.",
        automation_condition=WHEN_WHAT_IT_CHECKS_CHANGES,
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        stored = stored_noised(study, of_task.task, storage.artifacts)
        task = stored_task(study.tasks[of_task.task], storage.artifacts)
        full = noise.realised_depth(task.counts, task.probe_rows()).umis_per_cell
        deviations = {f"q={one.level:g}, seed {one.seed}": _deviation_sd(one, full) for one in stored}
        worst = max(map(abs, deviations.values()), default=0.0)
        return dg.AssetCheckResult(
            passed=worst <= DEPTH_TOLERANCE_SD,
            metadata={
                "n_levels_and_seeds": len(stored),
                "largest_deviation_sd": worst,
                "full_umis_per_cell": full,
            },
        )

    return check


def _deviation_sd(noised: Noised, full_umis_per_cell: float) -> float:
    """Deviation of the realised from the nominal depth in standard deviations of the binomial total."""
    total, kept = (
        full_umis_per_cell * noised.facts["n_cells"],
        noised.facts["umis_per_cell"] * noised.facts["n_cells"],
    )
    spread = np.sqrt(total * noised.level * (1 - noised.level))
    return float((kept - noised.level * total) / spread) if spread > 0 else 0.0


def _measurement_check(
    of_task: keys.TaskKeys,
    study: Study,
    model: str,
    *,
    name: str,
    find: Callable[[Rows], Sequence[str]],
    severity: dg.AssetCheckSeverity,
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.of_model(model, "mutual_information"),
        name=name,
        description=find.__doc__,
        automation_condition=WHEN_WHAT_IT_CHECKS_CHANGES,
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        wanted = measurement_hashes(study, of_task.task, model)
        rows = [
            row for row in _rows(storage.results, "measurement", of_task, model) if row["measurement_hash"] in wanted
        ]
        return _result(find(rows), len(rows), severity)

    return check


def _calibration_check(of_task: keys.TaskKeys, study: Study, model: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.of_model(model, "mutual_information"),
        name="calibration",
        description="On problems of known information that look like these, the headline is right by 0.1 bit.",
        automation_condition=WHEN_WHAT_IT_CHECKS_CHANGES,
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        bias = study_bias(storage.results, of_task.study, study, task=of_task.task, model=model)
        if bias is None:
            return _result([how_to_calibrate(of_task.study, study)], 0, WARN)
        found = [
            f"{curve.n_cells} cells, q={level:g}: {_doubt(one)}"
            for curve in bias.curves
            for level, one in curve.by_level.items()
            if one.is_large or one.is_off_map
        ]
        return _result(found, sum(len(curve.by_level) for curve in bias.curves), WARN)

    return check


def _doubt(expected: ExpectedBias) -> str:
    estimate = f"{expected.features.value_bits:.2f} bits from {expected.features.n_pairs:,.0f} pairs"
    if expected.is_off_map:
        return f"{estimate} is off the map: no calibration problem is like it"
    like = f"{expected.nearest[0].problem} at {expected.nearest[0].n_pairs:,} pairs"
    return f"{estimate}, expected bias {expected.bias_bits:+.2f} ± {expected.spread_bits:.2f} bits (like {like})"


def _embedding_is_finite(of_task: keys.TaskKeys, study: Study, model: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.of_model(model, "embedding"),
        name="embedding_is_finite",
        description="No NaN, no infinity.",
        automation_condition=WHEN_WHAT_IT_CHECKS_CHANGES,
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        embeddings = stored_embeddings(study, of_task.task, model, storage.artifacts)
        bad = [label for label, embedding in embeddings if not np.isfinite(embedding).all()]
        return _result(bad, len(embeddings), ERROR)

    return check


def _law_check(
    of_task: keys.TaskKeys, model: str, name: str, condition: str, severity: dg.AssetCheckSeverity
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=of_task.of_model(model, "noise_law"),
        name=name,
        description=f"No law with: {condition}.",
        automation_condition=WHEN_WHAT_IT_CHECKS_CHANGES,
    )
    def check(storage: StorageResource) -> dg.AssetCheckResult:
        rows = _rows(storage.results, "noise_law", of_task, model)
        marked = _rows(storage.results, "noise_law", of_task, model, condition)
        found = [
            f"{row['n_cells']} cells, {row['estimator']}: {', '.join(row['flags']) or condition}" for row in marked
        ]
        return _result(found, len(rows), severity)

    return check


def _rows(results: Results, table: str, of_task: keys.TaskKeys, model: str, condition: str = "true") -> Rows:
    results.publish()
    with results.connect() as database:
        found = database.execute(
            f"select * from {table} where study = ? and task = ? and model = ? and {condition}",
            [of_task.study, of_task.task, model],
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _result(found: Sequence[str], n_rows: int, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not found,
        severity=severity,
        description="\n".join(found) or None,
        metadata={"n_checked": n_rows, "n_found": len(found)},
    )


def _outside(rows: Rows) -> list[str]:
    """Headline information lies between what shuffled pairs give and the entropy of the auxiliary signal."""
    found = []
    for row in rows:
        low = row["floor_bits"] - ESTIMATION_NOISE_BITS
        high = np.inf if row["ceiling_bits"] is None else row["ceiling_bits"] + ESTIMATION_NOISE_BITS
        if row["is_trained"] and row["is_headline"] and not low <= row["mi_bits"] <= high:
            found.append(f"{row['mi_bits']:.3g} bits at q={row['level']:g}, seed {row['seed']} ({row['estimator']})")
    return found


def _absent(study: Study, task: str, model: str) -> Callable[[Rows], list[str]]:
    def absent(rows: Rows) -> list[str]:
        """Every cell of the grid of this model is measured."""
        there = {(row["n_cells"], row["level"], row["seed"]) for row in rows if row["is_trained"]}
        wanted = [cell for cell in study.cells() if (cell.task, cell.model) == (task, model)]
        return [cell.label for cell in wanted if (cell.n_cells, cell.level, cell.seed) not in there]

    return absent
