"""The files of a study's report: draws, with the report room, what `curves` read and fitted."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nsl_assets import report
from nsl_assets.curve_bias import StudyBias, how_to_calibrate, study_bias
from nsl_assets.curves import FittedCurve, MeasuredCurve, fit_curve, read_curves
from nsl_assets.laws import Curve
from nsl_assets.study import Study
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results import Results


@dataclass(frozen=True)
class WrittenReport:
    """Where a report is, and its law table as text."""

    folder: Path
    table: str
    """The fitted laws, and what bias to expect of each curve."""
    pictures: tuple[Path, ...]
    warning: str = ""
    """What calibration warns of, in one line; empty where it does not."""


def picture_of(fitted: FittedCurve) -> bytes | None:
    """The picture of one curve with its law, as PNG; None where nothing could be fitted."""
    if fitted.fit is None:
        return None
    measured = fitted.measured
    return report.noise_law_figure(
        measured.curve,
        fitted.fit,
        title=measured.title,
        truth=measured.truth,
        floor_bits=measured.floor_bits,
        ceiling_bits=measured.ceiling_bits,
    )


def law_table(name: str, fitted: list[FittedCurve]) -> str:
    """The fitted laws as a plain-text table; a curve without a law says why."""
    rows = [
        report.LawRow(name, one.measured.task, one.measured.model, one.measured.n_cells, one.fit)
        for one in fitted
        if one.fit is not None
    ]
    problems = [f"{one.measured.title}: {one.problem}" for one in fitted if one.fit is None]
    return "\n".join([report.law_table(rows), *problems])


def law_records(name: str, fitted: list[FittedCurve]) -> list[dict[str, Any]]:
    """The fitted laws as records, one a curve, for programs."""
    return [
        {
            "study": name,
            "task": one.measured.task,
            "model": one.measured.model,
            "n_cells": one.measured.n_cells,
            "estimator": one.measured.estimator,
            "problem": one.problem or None,
            **({} if one.fit is None else asdict(one.fit)),
        }
        for one in fitted
    ]


def bias_text(name: str, study: Study, bias: StudyBias | None) -> str:
    """What bias to expect of each headline curve, as lines of text; what to do where it is not known."""
    if bias is None:
        return how_to_calibrate(name, study)
    heading = f"Calibration of {bias.estimator} by {len(bias.summaries)} results on problems of known information:"
    return "\n".join([heading, *report.calibration_lines({curve.title: curve.expected for curve in bias.curves})])


def bias_records(bias: StudyBias | None) -> list[dict[str, Any]]:
    """The expected bias of every headline curve at every noise level, as records for programs."""
    return [
        {
            "task": curve.task,
            "model": curve.model,
            "n_cells": curve.n_cells,
            "level": level,
            "expected_bias_bits": one.bias_bits,
            "spread_bits": one.spread_bits,
            "is_off_map": one.is_off_map,
            "like": [{"problem": near.problem, "n_pairs": near.n_pairs} for near in one.nearest],
        }
        for curve in ([] if bias is None else bias.curves)
        for level, one in curve.by_level.items()
    ]


def headline_curves(results: Results, name: str, study: Study) -> list[FittedCurve]:
    """All curves of a study by its headline estimator, fitted."""
    return _headline_fits(read_curves(results, name, study), study)


def _headline_fits(curves: list[MeasuredCurve], study: Study) -> list[FittedCurve]:
    return [fit_curve(curve, study) for curve in curves if curve.estimator == study.probing.headline]


def write_report(results: Results, name: str, study: Study) -> WrittenReport:
    """Write the pictures and the law table of a study to `storage/reports/NAME/`."""
    folder = results.root / "reports" / name
    curves = read_curves(results, name, study)
    fitted = _headline_fits(curves, study)
    pictures = [_write_picture(folder, one) for one in fitted if one.fit is not None]
    pictures += [_write_overview(folder, task, fitted) for task in study.tasks if _largest(task, fitted)]
    pictures += _write_estimators(folder, curves, study)
    bias = study_bias(results, name, study)
    table = f"{law_table(name, fitted)}\n\n{bias_text(name, study, bias)}"
    atomic_write_bytes(folder / "laws.txt", f"{table}\n".encode())
    if bias is None:
        return WrittenReport(folder, table, tuple(pictures))
    warning = report.calibration_warning({curve.title: curve.expected for curve in bias.curves})
    return WrittenReport(folder, table, (*pictures, _write_calibration(folder, name, bias)), warning)


def _write_calibration(folder: Path, name: str, bias: StudyBias) -> Path:
    """The calibration map with the curves of each model's largest training size."""
    largest = {(curve.task, curve.model): curve for curve in sorted(bias.curves, key=lambda curve: curve.n_cells)}
    path = folder / "calibration.png"
    picture = report.calibration_figure(
        bias.summaries,
        {curve.title: curve.expected for curve in largest.values()},
        title=f"{name}: calibration of {bias.estimator}",
    )
    atomic_write_bytes(path, picture)
    return path


def _write_estimators(folder: Path, curves: list[MeasuredCurve], study: Study) -> list[Path]:
    """One picture a task that compares the estimators, each model at its largest training size."""
    largest = {(one.task, one.model, one.estimator): one for one in sorted(curves, key=lambda one: one.n_cells)}
    paths = []
    for task in study.tasks:
        of_task = [one for one in largest.values() if one.task == task]
        models = list(dict.fromkeys(one.model for one in of_task))
        by_model: dict[str, dict[str, Curve]] = {
            model: {
                name: largest[task, model, name].curve
                for name in study.probing.estimators
                if (task, model, name) in largest
            }
            for model in models
        }
        if max(map(len, by_model.values()), default=0) < 2:
            continue
        picture = report.estimators_figure(
            by_model,
            headline=study.probing.headline,
            title=f"{task}: estimators compared",
            truth=of_task[0].truth,
            ceiling_bits=of_task[0].ceiling_bits,
        )
        paths.append(folder / f"{task}-estimators.png")
        atomic_write_bytes(paths[-1], picture)
    return paths


def _write_picture(folder: Path, fitted: FittedCurve) -> Path:
    measured = fitted.measured
    path = folder / f"{measured.task}-{measured.model}-{measured.n_cells}-cells.png"
    atomic_write_bytes(path, picture_of(fitted) or b"")
    return path


def _largest(task: str, fitted: list[FittedCurve]) -> list[FittedCurve]:
    """The fitted curves of a task, each model at its largest training size."""
    of_task = [one for one in fitted if one.measured.task == task and one.fit is not None]
    largest = {one.measured.model: one for one in sorted(of_task, key=lambda one: one.measured.n_cells)}
    return list(largest.values())


def _write_overview(folder: Path, task: str, fitted: list[FittedCurve]) -> Path:
    path, largest = folder / f"{task}.png", _largest(task, fitted)
    picture = report.study_figure(
        {one.measured.model: (one.measured.curve, one.fit) for one in largest if one.fit is not None},
        title=task,
        truth=largest[0].measured.truth,
        ceiling_bits=largest[0].measured.ceiling_bits,
    )
    atomic_write_bytes(path, picture)
    return path
