"""The report of a study or a table: reads results, fits the laws, and writes what the report room makes of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nsl_assets import laws, report
from nsl_assets.advising import advise_tasks
from nsl_assets.crossed import read_noise_matrices
from nsl_assets.curve_bias import StudyBias, how_to_calibrate, study_bias
from nsl_assets.curves import panel_shares, read_curves, unscaled_panels
from nsl_assets.errors import InputError
from nsl_assets.laws import FittedCurve, JointSettings, LawSettings, MeasuredCurve, TableColumns, largest_curves
from nsl_assets.planning import Advice, PlanningSettings
from nsl_assets.report import ReportContent
from nsl_assets.study import Study
from nsl_assets.study_records import leakage_records, provenance, training_records
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results import Results

FILE_LIST = "files.txt"
"""What a report consists of, one name a line: the next one removes what it does not write again."""
NOT_CALIBRATED = "A table does not say from how many pairs each value was estimated: what bias to expect is not known."


@dataclass(frozen=True)
class WrittenReport:
    """Where a report is, and its law table as text."""

    folder: Path
    table: str
    """The fitted laws, and what bias to expect of each curve."""
    files: tuple[Path, ...]
    warning: str = ""
    """What calibration warns of, in one line; empty where it does not."""

    @property
    def page(self) -> Path:
        """The report as one page."""
        return self.folder / report.PAGE_NAME


def picture_of(fitted: FittedCurve) -> bytes | None:
    """The picture of one curve with its law, as PNG; None where nothing could be fitted."""
    return None if fitted.fit is None else report.noise_law_figure(fitted).png()


def law_table(name: str, fitted: list[FittedCurve]) -> str:
    """The fitted laws as a plain-text table; a curve without a law says why."""
    rows = [
        report.LawRow(name, one.measured.task, one.measured.model, one.measured.n_cells or 0, one.fit)
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
    return laws.fit_curves(_headline(read_curves(results, name, study), study), study.laws)


def _headline(curves: Sequence[MeasuredCurve], study: Study) -> list[MeasuredCurve]:
    return [curve for curve in curves if curve.estimator == study.probing.headline]


def write_report(results: Results, name: str, study: Study, *, folder: Path | None = None) -> WrittenReport:
    """Write the report of a study, to `storage/reports/NAME/` unless told where else.

    Raises InputError for a study without measurements.
    """
    bias = study_bias(results, name, study)
    content = study_content(results, name, study, bias)
    table, warning = _summary(name, study, list(content.curves), bias)
    return _written(content, folder or report_folder(results, name), table, warning)


def report_summary(results: Results, name: str, study: Study) -> tuple[str, str]:
    """The law table of a study with the bias to be expected, and what calibration warns of; nothing is drawn."""
    return _summary(name, study, headline_curves(results, name, study), study_bias(results, name, study))


def report_folder(results: Results, name: str) -> Path:
    """Where the report of a study is, unless it was told elsewhere."""
    return results.root / "reports" / name


def _summary(name: str, study: Study, fitted: list[FittedCurve], bias: StudyBias | None) -> tuple[str, str]:
    table = f"{law_table(name, fitted)}\n\n{bias_text(name, study, bias)}"
    if bias is None:
        return table, ""
    return table, report.calibration_warning({curve.title: curve.expected for curve in bias.curves})


def write_table_report(path: Path, columns: TableColumns, settings: LawSettings, *, folder: Path) -> WrittenReport:
    """Write the report of anybody's table of measurements. InputError where it holds no curve that can be read."""
    content = table_content(path, columns, settings)
    return _written(content, folder, law_table(path.stem, list(content.curves)))


def _written(content: ReportContent, folder: Path, table: str, warning: str = "") -> WrittenReport:
    """Write all files, and remove those of an earlier report that this one does not have; nothing else is touched."""
    made = report.report_files(content)
    earlier = _listed(folder / FILE_LIST)
    for name, make in made.items():
        atomic_write_bytes(folder / name, make())
    atomic_write_bytes(folder / FILE_LIST, "".join(f"{name}\n" for name in made).encode())
    for name in earlier - set(made):
        (folder / name).unlink(missing_ok=True)
    return WrittenReport(folder, table, tuple(folder / name for name in made), warning)


def _listed(path: Path) -> set[str]:
    """The files that an earlier report says it wrote, those inside its folder."""
    if not path.is_file():
        return set()
    names = (Path(line) for line in path.read_text().splitlines())
    return {str(name) for name in names if not name.is_absolute() and ".." not in name.parts}


def study_content(results: Results, name: str, study: Study, bias: StudyBias | None = None) -> ReportContent:
    """What the report of a study shows. InputError without measurements."""
    curves = read_curves(results, name, study)
    headline = _headline(curves, study)
    if not headline:
        raise InputError(f"study '{name}' has no measurements yet. Run it: nsl run {name}")
    return ReportContent(
        title=name,
        kind="study",
        description=study.description,
        headline=study.probing.headline,
        protocol=study.protocol,
        estimators=largest_curves(curves),
        noise_matrices=read_noise_matrices(results, name, study, headline),
        calibration=None if bias is None else _calibration(bias),
        calibration_note=_as_sentence(how_to_calibrate(name, study)),
        training=training_records(results, name, study),
        leakage=leakage_records(results, study),
        provenance=provenance(results, name, study),
        advice=_advice(headline, study.laws, study.planning, panel_shares(results, name), unscaled_panels(study)),
        **_fitted(headline, study.laws),
    )


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def table_content(path: Path, columns: TableColumns, settings: LawSettings) -> ReportContent:
    """What the report of a table shows: its first estimator is the headline."""
    curves = laws.read_measurements(path, columns)
    measured = [one.measured for one in curves if one.measured is not None]
    named = [(", ".join(map(str, one.groups.values())), one) for one in curves]
    problems = [f"{name}: {one.problem}" for name, one in named if one.problem]
    notes = [f"{name}: {note}." for name, one in named for note in one.notes]
    if not measured:
        raise InputError("\n".join([f"{path}: no curve can be read.", *problems]))
    headline = [one for one in measured if one.estimator == measured[0].estimator]
    return ReportContent(
        title=path.name,
        kind="table",
        headline=measured[0].estimator,
        protocol=settings.protocol,
        estimators=largest_curves(measured),
        calibration_note=NOT_CALIBRATED,
        notes=[*problems, *notes],
        advice=_advice([one for one in headline if one.n_cells is not None], settings, PlanningSettings(), {}),
        **_fitted(headline, settings),
    )


def _advice(
    curves: Sequence[MeasuredCurve],
    settings: LawSettings,
    planning: PlanningSettings,
    shares: Mapping[str, float],
    panels: Collection[str] = (),
) -> list[report.Advice]:
    """Every answer of the planner; a task whose settings contradict its measurements says so instead."""
    answers = []
    for of_task in advise_tasks(curves, settings, planning, shares, panels):
        if of_task.problem:
            answers.append(report.Advice(of_task.task, "", None, "planning", of_task.problem, is_refused=True))
        answers += [_answer(of_task.task, one) for one in of_task.advice]
    return answers


def _answer(task: str, advice: Advice) -> report.Advice:
    numbers = {}
    if advice.estimates:
        first = advice.estimates[0]
        numbers = {"value": first.value, "low": first.low, "high": first.high}
    return report.Advice(
        task=task,
        model=advice.model,
        n_cells=int(advice.n_cells),
        question=advice.question,
        sentence=advice.sentence,
        is_refused=advice.is_refused,
        flags=advice.flags,
        unit=advice.estimates[0].unit if advice.estimates else "",
        **numbers,
    )


def _fitted(curves: Sequence[MeasuredCurve], settings: LawSettings) -> dict[str, Any]:
    """Every law and comparison of the headline curves."""
    largest = largest_curves(curves)
    return {
        "law_settings": settings,
        "curves": laws.fit_curves(curves, settings),
        "cells": laws.fit_cells(laws.curves_over_cells(curves), settings),
        "surfaces": laws.fit_surfaces(laws.surfaces(curves), JointSettings(confidence=settings.confidence)),
        "laws": laws.compare_laws_of_each(largest),
        "models": laws.compare_models_of_each(largest, settings),
    }


def _calibration(bias: StudyBias) -> report.Calibration:
    curves = (report.CalibratedCurve(one.task, one.model, one.n_cells, one.expected) for one in bias.curves)
    return report.Calibration(bias.estimator, bias.summaries, tuple(curves))
