"""The bias to be expected of a study's headline curves, from where their points lie on the calibration map."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from nsl_assets.calibration import known_summaries
from nsl_assets.curves import is_asked_for
from nsl_assets.identity import calibration_hash
from nsl_assets.probing import CalibrationMap, EstimatorName, ExpectedBias, Features, ProbingSettings, ProblemSummary
from nsl_assets.study import Study
from nsl_resources.results import Results


@dataclass(frozen=True)
class CurveBias:
    """What is to be expected of one headline curve."""

    task: str
    model: str
    n_cells: int
    by_level: dict[float, ExpectedBias]
    """By noise level, of the mean over the seeds; shallowest level first."""

    @property
    def title(self) -> str:
        """What figures and texts call this curve."""
        return f"{self.task} · {self.model} · {self.n_cells:,} cells"

    @property
    def expected(self) -> tuple[ExpectedBias, ...]:
        """One a level."""
        return tuple(self.by_level.values())


@dataclass(frozen=True)
class StudyBias:
    """The calibration of a study's headline estimator, and its curves on the map."""

    estimator: EstimatorName
    summaries: tuple[ProblemSummary, ...]
    curves: tuple[CurveBias, ...]


def study_bias(
    results: Results, name: str, study: Study, *, task: str | None = None, model: str | None = None
) -> StudyBias | None:
    """The headline curves of a study, optionally of one task or model; None where its estimator is not calibrated."""
    estimator = study.probing.headline
    summaries = known_summaries(results, study.probing, estimator)
    if not summaries:
        return None
    chart = CalibrationMap(summaries)
    points = _headline_points(results, name, study)
    if task is not None:
        points = points[points["task"] == task]
    if model is not None:
        points = points[points["model"] == model]
    curves = [_curve(names, rows, chart) for names, rows in points.groupby(["task", "model", "n_cells"], sort=True)]
    return StudyBias(estimator, tuple(summaries), tuple(curves))


def how_to_calibrate(name: str, study: Study) -> str:
    """What to do about a study whose estimator is not calibrated."""
    headline = study.probing.headline
    is_default = calibration_hash(study.probing, headline) == calibration_hash(ProbingSettings(), headline)
    command = "nsl calibrate" + ("" if is_default else f" --study {name}") + f" --estimators {headline}"
    return f"not calibrated: run `{command}` to learn what bias to expect of estimator {headline}"


def _headline_points(results: Results, name: str, study: Study) -> pd.DataFrame:
    """Measurements of trained models that the study asks for as it stands now."""
    with results.connect() as database:
        frame = database.execute(
            """select task, model, n_cells, level, seed, estimator, measurement_hash, n_pairs, mi_bits, gap_bits,
            cast(diagnostics->>'beyond_gaussian_bits' as double) as beyond_gaussian_bits,
            ceiling_bits is not null as is_categorical
            from measurement where study = ? and estimator = ? and is_trained""",
            [name, study.probing.headline],
        ).df()
    return frame[is_asked_for(frame, study)]


def _curve(names: Any, rows: pd.DataFrame, chart: CalibrationMap) -> CurveBias:
    task, model, n_cells = names
    by_level = {
        float(level): chart.expected_bias(_features(of_level))  # type: ignore[arg-type]
        for level, of_level in rows.groupby("level", sort=True)
    }
    return CurveBias(task, model, int(n_cells), by_level)


def _features(rows: pd.DataFrame) -> Features:
    """Means over the seeds of one level."""
    means = rows[["n_pairs", "mi_bits", "gap_bits", "beyond_gaussian_bits"]].astype(float).mean()
    known = means.astype(object).where(means.notna(), None)
    return Features(
        is_categorical=bool(rows["is_categorical"].iloc[0]),
        n_pairs=known["n_pairs"],
        value_bits=known["mi_bits"],
        gap_bits=known["gap_bits"],
        beyond_gaussian_bits=known["beyond_gaussian_bits"],
    )
