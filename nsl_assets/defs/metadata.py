"""What people see on a materialization: numbers with units, and an inline picture."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import numpy as np

from nsl_assets import report
from nsl_assets.advising import TaskAdvice
from nsl_assets.grid import Noised, Outcome
from nsl_assets.laws import ComparedLaws, ComparedModels, Difference, FittedCells, FittedCurve, FittedSurface
from nsl_assets.tasks import Task

Metadata = Mapping[str, dg.MetadataValue]
LARGEST_PICTURE_PX = (1_000, 640)
"""Of a picture in the UI, width and height: its window shows no more, and the event log holds it."""


def source_metadata(task: Task) -> Metadata:
    """Size and split of a task."""
    n_cells, n_genes = task.counts.shape
    return {
        "n_cells": dg.MetadataValue.int(n_cells),
        "n_genes": dg.MetadataValue.int(n_genes),
        "n_nonzero_counts": dg.MetadataValue.int(task.counts.n_nonzero),
        "n_train_pool_cells": dg.MetadataValue.int(task.n_train_pool),
        "n_validation_cells": dg.MetadataValue.int(len(task.validation_rows())),
        "n_probe_cells": dg.MetadataValue.int(len(task.probe_rows())),
        "auxiliary": dg.MetadataValue.text(f"{task.auxiliary.kind}: {', '.join(task.auxiliary.names)}"),
        "n_cells_with_auxiliary": dg.MetadataValue.int(int(task.auxiliary.is_observed.sum())),
    }


def noised_metadata(noised: Sequence[Noised]) -> Metadata:
    """Realised depth of one noise level, over its seeds."""
    depths = [one.facts["umis_per_cell"] for one in noised]
    return {
        "umis_per_cell": _number(np.mean(depths)),
        "n_nonempty_probe_cells": dg.MetadataValue.int(min(one.facts["n_nonempty_cells"] for one in noised)),
        "n_probe_cells": dg.MetadataValue.int(noised[0].facts["n_cells"]),
        "n_seeds": dg.MetadataValue.int(len(noised)),
    }


def depth_text(noised: Sequence[Noised]) -> str:
    """Realised depth in words."""
    return f"{np.mean([one.facts['umis_per_cell'] for one in noised]):,.1f} UMIs per cell"


def measurement_metadata(outcomes: Sequence[Outcome]) -> Metadata:
    """Information over the seeds of one partition, by estimator."""
    rows = [row for outcome in outcomes for row in outcome.rows if row.is_trained]
    estimators = sorted({row.estimator for row in rows})
    means = {
        f"{estimator}_bits": _number(np.mean([row.mi_bits for row in rows if row.estimator == estimator]))
        for estimator in estimators
    }
    computed = [outcome.worker for outcome in outcomes if outcome.worker is not None]
    return {
        **means,
        "umis_per_cell": _number(np.mean([row.umis_per_cell for row in rows])),
        "n_seeds": dg.MetadataValue.int(len(outcomes)),
        "n_pairs": dg.MetadataValue.int(min(row.n_pairs for row in rows)),
        "worker_seconds": _number(sum(worker.seconds for worker in computed)),
        "peak_memory_mib": _number(max((worker.peak_memory_mib for worker in computed), default=0.0)),
        "flags": dg.MetadataValue.text(", ".join(sorted({flag for row in rows for flag in row.flags})) or "none"),
        **_crossed_metadata(outcomes),
    }


def _crossed_metadata(outcomes: Sequence[Outcome]) -> Metadata:
    """The same models probed at other noise levels, as a table over the seeds; nothing where they were not."""
    rows = [row for outcome in outcomes for row in outcome.crossed]
    of_level = {
        level: [row for row in rows if row.probe_level == level]
        for level in sorted({row.probe_level for row in rows}, reverse=True)
    }
    lines = [
        {
            "probed at level": level,
            "UMIs per cell": float(np.mean([row.probe_umis_per_cell for row in group])),
            f"{group[0].estimator} (bits)": float(np.mean([row.mi_bits for row in group])),
            "seeds": len(group),
        }
        for level, group in of_level.items()
    ]
    return {"probed_at_other_levels": _markdown(lines)} if lines else {}


def training_metadata(outcomes: Sequence[Outcome]) -> Metadata:
    """What training took and why it ended, over the seeds of one partition, with the picture of the loss curves."""
    fits = [outcome.fit for outcome in outcomes]
    losses = {outcome.cell.seed: outcome.fit["losses"] for outcome in outcomes if outcome.fit.get("losses")}
    cell = outcomes[0].cell
    title = f"{cell.model}, {cell.n_cells:,} cells, level {cell.level:g}"
    picture = {"loss_curves": inline_picture(report.loss_figure(losses, title=title), title)} if losses else {}
    return {
        **{name: dg.MetadataValue.text(_distinct(fits, name)) for name in ("stop_reason", "device", "dtype")},
        "n_parameters": dg.MetadataValue.int(int(fits[0].get("n_parameters", 0))),
        "steps": dg.MetadataValue.int(int(sum(fit.get("steps", 0) for fit in fits))),
        "training_seconds": _number(sum(fit.get("seconds", 0.0) for fit in fits)),
        **picture,
    }


def _distinct(fits: Sequence[Mapping[str, Any]], name: str) -> str:
    return ", ".join(sorted({str(fit.get(name, "unknown")) for fit in fits}))


def law_metadata(fitted: FittedCurve, rivals: ComparedLaws, picture: bytes | None) -> Metadata:
    """Parameters with their intervals, goodness of fit, the best rival, flags, and the picture of the curve."""
    if fitted.fit is None:
        return {"problem": dg.MetadataValue.text(fitted.problem)}
    fit = fitted.fit
    metadata: dict[str, dg.MetadataValue] = {
        "imax_bits": _number(fit.imax_bits),
        "imax_interval_bits": dg.MetadataValue.text(_interval(fit.imax_low_bits, fit.imax_high_bits)),
        "ubar_umis_per_cell": _number(fit.ubar),
        "ubar_interval": dg.MetadataValue.text(_interval(fit.ubar_low, fit.ubar_high)),
        "target_depth_umis_per_cell": _number(fit.target_depth),
        "target": dg.MetadataValue.text(fit.target_label),
        "r2_seed_means": _number(fit.r2_seed_means),
        "r2_points": _number(fit.r2_points),
        "n_points": dg.MetadataValue.int(fit.n_points),
        "flags": dg.MetadataValue.text(", ".join(fit.flags) or "none"),
    }
    if rivals.comparison is not None:
        metadata["best_law"] = dg.MetadataValue.text(rivals.comparison.best.law)
        metadata["laws"] = _markdown([asdict(score) for score in rivals.comparison.scores])
    return metadata if picture is None else metadata | {"curve": inline_picture(picture, fitted.measured.title)}


def cell_number_metadata(fitted: FittedCells) -> Metadata:
    """Parameters with their intervals, goodness of fit and flags."""
    if fitted.fit is None:
        return {"problem": dg.MetadataValue.text(fitted.problem)}
    fit = fitted.fit
    return {
        "umis_per_cell": _number(fitted.measured.depth),
        "i_inf_bits": _number(fit.i_inf_bits),
        "i_inf_interval_bits": dg.MetadataValue.text(_interval(fit.i_inf_low_bits, fit.i_inf_high_bits)),
        "n_sat_cells": _number(fit.n_sat),
        "n_sat_interval": dg.MetadataValue.text(_interval(fit.n_sat_low, fit.n_sat_high)),
        "exponent": _number(fit.exponent),
        "r2_seed_means": _number(fit.r2_seed_means),
        "n_points": dg.MetadataValue.int(fit.n_points),
        "flags": dg.MetadataValue.text(", ".join(fit.flags) or "none"),
    }


def joint_metadata(fitted: FittedSurface) -> Metadata:
    """Parameters with their intervals, what the prior decided, goodness of fit and flags."""
    if fitted.fit is None:
        return {"problem": dg.MetadataValue.text(fitted.problem)}
    fit = fitted.fit
    return {
        "parameters": _markdown([asdict(parameter) for parameter in fit.parameters]),
        "residual_sd_bits": _number(fit.residual_sd_bits),
        "r2_grid_cells": _number(fit.r2_grid_cells),
        "n_grid_cells": dg.MetadataValue.int(fit.n_grid_cells),
        "flags": dg.MetadataValue.text(", ".join(fit.flags) or "none"),
    }


def comparison_metadata(compared: Sequence[ComparedModels]) -> Metadata:
    """All differences as one table, and what could not be compared."""
    rows = [
        {
            "cells": one.first.n_cells,
            "models": f"{one.first.model} – {one.second.model}",
            "Imax (bits)": _difference(one.comparison.imax_bits),
            "ū, ratio": _difference(one.comparison.ubar_ratio),
            "target depth, ratio": _difference(one.comparison.target_depth_ratio),
            "flags": ", ".join(one.comparison.flags) or "none",
        }
        for one in compared
        if one.comparison is not None
    ]
    problems = [f"{one.first.title}, {one.second.model}: {one.problem}" for one in compared if one.comparison is None]
    metadata: dict[str, dg.MetadataValue] = {"differences": _markdown(rows)}
    if problems:
        metadata["problem"] = dg.MetadataValue.text("; ".join(problems))
    return metadata


def advice_metadata(advised: Sequence[TaskAdvice]) -> Metadata:
    """All sentences as one list, refusals marked, and why there is none."""
    sentences = [
        f"- **{one.model}, {one.question}**{' (refused)' * one.is_refused}: {one.sentence}"
        for of_task in advised
        for one in of_task.advice
    ]
    problems = [f"- {of_task.task}: {of_task.problem}" for of_task in advised if of_task.problem]
    return {"advice": dg.MetadataValue.md("\n".join([*sentences, *problems]) or "none")}


def _number(value: float | np.floating[Any]) -> dg.FloatMetadataValue:
    """Six significant digits: the UI shows all that there are; the tables hold the exact value."""
    return dg.MetadataValue.float(float(f"{value:.6g}"))


def _difference(difference: Difference) -> str:
    return f"{difference.value:.3g} ({_interval(difference.low, difference.high)})"


def _interval(low: float, high: float) -> str:
    return f"{low:.4g} – {high:.4g}"


def _markdown(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows as a Markdown table."""
    if not rows:
        return dg.MetadataValue.md("none")
    heading = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines = [" | ".join(_cell(value) for value in row.values()) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in [*heading, *lines]))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def inline_picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG inside the metadata itself, so that the UI shows it without a file server, whole in its window."""
    encoded = base64.b64encode(_shrunk(png)).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def _shrunk(png: bytes) -> bytes:
    from PIL import Image

    image, file = Image.open(io.BytesIO(png)), io.BytesIO()
    image.thumbnail(LARGEST_PICTURE_PX)
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()
