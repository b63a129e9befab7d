"""What bias a study's curves are expected to have: in its report, its asset checks, and what `nsl run` says."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nsl_assets import calibration
from nsl_assets.calibration import known_summaries, land_summaries, rows_from_csv, stored_rows, write_csv
from nsl_assets.cli.run import _show_result
from nsl_assets.curve_bias import how_to_calibrate, study_bias
from nsl_assets.defs.checks import study_checks
from nsl_assets.identity import cell_hashes
from nsl_assets.laws import noise_law
from nsl_assets.probing import KsgSettings, LatentMutualInformationSettings, ProbingSettings, ProblemSummary
from nsl_assets.reporting import write_report
from nsl_assets.study import Study
from nsl_resources.resources import StorageResource
from nsl_resources.results import MeasurementRow, Results

STUDY = Study.model_validate(
    {
        "sizes": [100],
        "n_seeds": 2,
        "untrained_baseline": "none",
        "tasks": {"simulated": {"kind": "simulated_cells", "n_cells": 400, "n_genes": 40}},
        "models": {"pca": {"kind": "pca"}, "oracle": {"kind": "oracle"}},
        "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.3, 0.1, 0.03]},
        "probing": {"estimators": ["pooled", "ksg"]},
    }
)
SUMMARY = ProblemSummary(
    problem="gaussian_2bit",
    family="gaussian",
    is_fresh=False,
    is_categorical=False,
    estimator="pooled",
    n_pairs=500,
    n_seeds=5,
    true_bits=2.0,
    value_bits=2.0,
    bias_bits=-0.02,
    sd_bits=0.05,
    low_bits=1.8,
    high_bits=2.2,
    median_width_bits=0.4,
    floor_bits=0.0,
    gap_bits=0.1,
    beyond_gaussian_bits=0.0,
    holds_share=1.0,
    above_low_share=1.0,
    unreliable_share=0.0,
    cpu_seconds=5.0,
)


def problem(value_bits: float, bias_bits: float, **changes: Any) -> ProblemSummary:
    return replace(SUMMARY, problem=f"like_{value_bits:g}", value_bits=value_bits, bias_bits=bias_bits, **changes)


HARMLESS = [problem(0.5, -0.01), problem(1.5, -0.04)]
BIASED = [problem(0.5, -0.01), problem(1.5, -0.3)]


@pytest.fixture
def results(storage: Path) -> Results:
    """The results of a study whose two models were measured: about 0.2 to 1.7 bits from 500 pairs."""
    results = Results(storage)
    rows = [measurement(cell, name) for cell in STUDY.cells() for name in STUDY.probing.estimators]
    results.land("measurement", rows)
    results.publish()
    return results


def measurement(cell: Any, estimator: str) -> MeasurementRow:
    hashes = cell_hashes(STUDY, cell)
    imax = {"pca": 1.8, "oracle": 2.0}[cell.model]
    depth = 2_000 * cell.level * (1 + 0.01 * cell.seed)
    return MeasurementRow(
        study="mine",
        task=cell.task,
        model=cell.model,
        n_cells=cell.n_cells,
        level=cell.level,
        seed=cell.seed,
        is_trained=True,
        estimator=estimator,
        is_headline=estimator == "pooled",
        mi_bits=float(noise_law(depth, imax, 200.0)),
        low_bits=None,
        high_bits=None,
        floor_bits=0.0,
        ceiling_bits=None,
        umis_per_cell=depth,
        n_probe_cells=500,
        n_nonempty_probe_cells=500,
        n_pairs=500,
        n_train_cells=100,
        gap_bits=0.1 if estimator == "pooled" else None,
        flags=(),
        diagnostics={"beyond_gaussian_bits": 0.0} if estimator == "pooled" else {},
        data_hash=hashes.data,
        noised_hash=hashes.noised,
        model_hash=hashes.trained.model,
        embedding_hash=hashes.trained.embedding,
        measurement_hash=hashes.trained.measurement[estimator],
        protocol="corrected",
        measured_at=datetime.now(UTC),
    )


@pytest.fixture(autouse=True)
def nothing_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No calibration comes with nsl, but what a test writes to this file."""
    shipped = tmp_path / "shipped.csv"
    monkeypatch.setattr(calibration, "SHIPPED", shipped)
    return shipped


def check(results: Results, model: str) -> Any:
    """The outcome of the asset check `calibration` of one model."""
    (found,) = (
        one
        for one in study_checks("mine", STUDY)
        for key in one.check_keys
        if key.name == "calibration" and model in key.asset_key.path
    )
    return found(storage=StorageResource(root=str(results.root)))


def test_every_level_of_a_headline_curve_gets_the_bias_of_problems_like_it(results: Results):
    land_summaries(results, STUDY.probing, [*BIASED, replace(SUMMARY, estimator="ksg", bias_bits=1.0)])
    bias = study_bias(results, "mine", STUDY)
    assert bias is not None
    assert (bias.estimator, len(bias.summaries)) == ("pooled", 2)
    assert [curve.title for curve in bias.curves] == ["simulated · oracle · 100 cells", "simulated · pca · 100 cells"]
    (_, pca) = bias.curves
    assert list(pca.by_level) == [0.03, 0.1, 0.3, 1.0]
    deepest, shallowest = pca.by_level[1.0], pca.by_level[0.03]
    assert deepest.features.value_bits == pytest.approx(noise_law(2_000 * 1.005, 1.8, 200.0), abs=1e-3)
    assert (deepest.features.n_pairs, deepest.features.gap_bits, deepest.features.is_categorical) == (500, 0.1, False)
    assert deepest.bias_bits == pytest.approx(-0.3, abs=0.05)
    assert shallowest.nearest[0].problem == "like_0.5"
    assert shallowest.bias_bits > -0.2
    only = study_bias(results, "mine", STUDY, task="simulated", model="pca")
    assert only is not None and only.curves == (pca,)


def test_without_calibration_everything_works_and_says_so(results: Results):
    assert study_bias(results, "mine", STUDY) is None
    written = write_report(results, "mine", STUDY)
    assert written.table.endswith("not calibrated: run `nsl calibrate --estimators pooled` to learn what bias to"
                                  " expect of estimator pooled")  # fmt: skip
    assert written.warning == ""
    assert not (written.folder / "figures" / "calibration-simulated.svg").exists()
    assert "Not calibrated: run <code>nsl calibrate" in written.page.read_text()
    outcome = check(results, "pca")
    assert not outcome.passed and outcome.severity.value == "WARN"
    assert "not calibrated" in outcome.description


def test_a_calibration_of_other_settings_is_not_taken(results: Results):
    other = ProbingSettings.model_validate({"infonce": {"n_folds": 7}})
    land_summaries(results, other, BIASED)
    assert study_bias(results, "mine", STUDY) is None
    assert known_summaries(results, other, "pooled") == BIASED
    changed = STUDY.model_copy(update={"probing": ProbingSettings.model_validate({"infonce": {"n_folds": 9}})})
    assert "run `nsl calibrate --study mine --estimators pooled`" in how_to_calibrate("mine", changed)


def test_settings_of_other_estimators_change_nothing(results: Results):
    land_summaries(results, STUDY.probing, HARMLESS)
    other = ProbingSettings(ksg=KsgSettings(k_neighbours=9), lmi=LatentMutualInformationSettings(n_latent=3))
    assert known_summaries(results, other, "pooled") == HARMLESS


def test_the_report_says_what_to_expect_and_warns(results: Results, capsys: pytest.CaptureFixture[str]):
    land_summaries(results, STUDY.probing, HARMLESS)
    harmless = write_report(results, "mine", STUDY)
    assert harmless.warning == ""
    assert "simulated · pca · 100 cells     expected bias −0.04 … −0.02 bits" in harmless.table
    assert (harmless.folder / "figures" / "calibration-simulated.svg").is_file()
    assert "No level of any curve is expected to be off" in harmless.page.read_text()
    assert check(results, "pca").passed

    land_summaries(results, STUDY.probing, [replace(one, n_seeds=9) for one in BIASED])
    biased = write_report(results, "mine", STUDY)
    assert "⚠ expected bias −0.2" in biased.table
    assert biased.warning.startswith("a bias above 0.1 bit is expected at ")
    outcome = check(results, "pca")
    assert not outcome.passed
    assert "100 cells, q=1: 1." in outcome.description and "like like_1.5 at 500 pairs" in outcome.description
    _show_result("mine", STUDY, [], as_json=False)
    captured = capsys.readouterr()
    assert "expected bias" in captured.out
    assert captured.err.count("\n") == 1 and "warning: a bias above 0.1 bit" in captured.err


def test_programs_get_the_expected_bias_of_every_level(results: Results, capsys: pytest.CaptureFixture[str]):
    _show_result("mine", STUDY, [], as_json=True)
    assert json.loads(capsys.readouterr().out)["calibration"] == []
    land_summaries(results, STUDY.probing, BIASED)
    _show_result("mine", STUDY, [], as_json=True)
    records = json.loads(capsys.readouterr().out)["calibration"]
    assert len(records) == 2 * 4
    assert {"model", "level", "expected_bias_bits", "spread_bits", "is_off_map", "like"} <= set(records[0])


def test_what_no_problem_is_like_is_listed(results: Results):
    land_summaries(results, STUDY.probing, [replace(one, n_pairs=50_000) for one in HARMLESS])
    written = write_report(results, "mine", STUDY)
    assert "⚠ 4 of 4 points off the map" in written.table
    assert "8 of 8 points are off the map" in written.warning
    assert check(results, "oracle").description.count("is off the map") == 4


def test_the_shipped_calibration_is_used_until_the_storage_knows_better(results: Results, nothing_shipped: Path):
    land_summaries(results, STUDY.probing, BIASED)
    write_csv(nothing_shipped, stored_rows(results, STUDY.probing, ["pooled"]))
    assert rows_from_csv(nothing_shipped.read_text())[0].problem == "like_0.5"
    elsewhere = Results(results.root / "elsewhere")
    assert known_summaries(elsewhere, STUDY.probing, "pooled") == BIASED
    better = problem(0.5, 0.07)
    land_summaries(elsewhere, STUDY.probing, [better, replace(BIASED[1], n_seeds=1, bias_bits=0.9)])
    assert known_summaries(elsewhere, STUDY.probing, "pooled") == [better, BIASED[1]]


def test_a_shipped_calibration_of_other_settings_is_ignored(results: Results, nothing_shipped: Path):
    land_summaries(results, STUDY.probing, BIASED)
    rows = stored_rows(results, STUDY.probing, ["pooled"])
    write_csv(nothing_shipped, [replace(row, settings_hash="0" * 32) for row in rows])
    assert known_summaries(Results(results.root / "elsewhere"), STUDY.probing, "pooled") == []
