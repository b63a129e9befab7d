"""The files of a study's report: draws, with the report room, what `curves` read and fitted."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nsl_assets import report
from nsl_assets.curves import FittedCurve, fit_curve, read_curves
from nsl_assets.study import Study
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results import Results


@dataclass(frozen=True)
class WrittenReport:
    """Where a report is, and its law table as text."""

    folder: Path
    table: str
    pictures: tuple[Path, ...]


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


def headline_curves(results: Results, name: str, study: Study) -> list[FittedCurve]:
    """All curves of a study by its headline estimator, fitted."""
    curves = read_curves(results, name, study)
    return [fit_curve(curve, study) for curve in curves if curve.estimator == study.probing.headline]


def write_report(results: Results, name: str, study: Study) -> WrittenReport:
    """Write the pictures and the law table of a study to `storage/reports/NAME/`."""
    folder = results.root / "reports" / name
    fitted = headline_curves(results, name, study)
    pictures = [_write_picture(folder, one) for one in fitted if one.fit is not None]
    pictures += [_write_overview(folder, task, fitted) for task in study.tasks if _largest(task, fitted)]
    table = law_table(name, fitted)
    atomic_write_bytes(folder / "laws.txt", f"{table}\n".encode())
    return WrittenReport(folder, table, tuple(pictures))


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
