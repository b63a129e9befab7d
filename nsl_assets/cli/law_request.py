"""Options of `nsl fit`, `nsl advise` and `nsl report` as the settings that they mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from nsl_assets.curves import panel_shares, read_curves, unscaled_panels
from nsl_assets.errors import InputError
from nsl_assets.laws import LEVEL_COLUMNS, LawSettings, MeasuredCurve, TableColumns, read_measurements
from nsl_assets.planning import PlanningSettings
from nsl_assets.study import Study, load_project, storage_root
from nsl_resources.results import Results

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".gz")
LawName = Literal["noise", "cells", "joint"]


def table_columns(law: LawName, options: Mapping[str, Any]) -> TableColumns:
    """The columns of a table; laws over training cells need curves told apart by size, and not by level."""
    by = options["by"]
    if by is not None and law != "noise":
        by = (*(column for column in by if column not in (*LEVEL_COLUMNS, "n_cells")), "n_cells")
    named = {name: options[name] for name in ("x", "y", "level") if options[name] is not None}
    return TableColumns(by=by, **named)


def law_settings(options: Mapping[str, Any], study: Study | None = None) -> LawSettings:
    """The settings of the laws, those of a study where no option is given.

    Raises InputError with the option that has a value that is not possible.
    """
    if options["target"] is not None and options["bits_below"] is not None:
        raise InputError("--target and --bits-below are two ways to say one thing: give one of them.")
    values: dict[str, Any] = {name: options[name] for name in ("protocol", "confidence") if options[name] is not None}
    if options["target"] is not None:
        values |= {"target_definition": "fraction_of_imax", "target_fraction": options["target"]}
    if options["bits_below"] is not None:
        values |= {"target_definition": "bits_below_imax", "target_bits_below_imax": options["bits_below"]}
    try:
        return LawSettings(**{**(study.laws.model_dump(exclude_unset=True) if study else {}), **values})
    except ValidationError as error:
        raise InputError("; ".join(_problem(one["loc"][0], one) for one in error.errors())) from error


OPTIONS = {"target_fraction": "--target", "target_bits_below_imax": "--bits-below", "confidence": "--confidence"}


def _problem(field: Any, error: Mapping[str, Any]) -> str:
    option = OPTIONS.get(field, f"--{str(field).replace('_', '-')}")
    return f"{option} {error['input']:g}: it {error['msg'].removeprefix('Input ')}."


@dataclass(frozen=True)
class MeasuredSource:
    """Measured curves by one estimator, of a study or of a table."""

    name: str
    curves: tuple[MeasuredCurve, ...]
    problems: tuple[str, ...] = ()
    """Why some curves of a table could not be read."""
    study: Study | None = None
    panel_shares: Mapping[str, float] = field(default_factory=dict)
    """Share of all UMIs that lie in the genes of the data, by task, where it was measured."""
    panels: frozenset[str] = frozenset()
    """Tasks whose genes are a selection and whose total UMIs are not known."""


def measured_source(text: str, columns: TableColumns) -> MeasuredSource:
    """The curves of a table, where ``text`` looks like one, or the headline curves of the study of that name.

    Raises InputError, or StudyError, where there is neither, or nothing was measured yet.
    """
    return _of_table(Path(text), columns) if names_a_table(text) else _of_study(text)


def names_a_table(text: str) -> bool:
    """Whether a text names a table, and not a study."""
    return Path(text).suffix in TABLE_SUFFIXES or Path(text).is_file()


def _of_table(path: Path, columns: TableColumns) -> MeasuredSource:
    curves = read_measurements(path, columns)
    measured = tuple(one.measured for one in curves if one.measured is not None)
    problems = tuple(f"{', '.join(map(str, one.groups.values()))}: {one.problem}" for one in curves if one.problem)
    if not measured:
        raise InputError("\n".join([f"{path}: no curve can be read.", *problems]))
    return MeasuredSource(path.stem, measured, problems)


def _of_study(name: str) -> MeasuredSource:
    study = load_project().study(name)
    results = Results(storage_root())
    curves = read_curves(results, name, study)
    headline = tuple(one for one in curves if one.estimator == study.probing.headline)
    if not headline:
        raise InputError(f"study '{name}' has no measurements yet. Run it: nsl run {name}")
    shares, panels = panel_shares(results, name), unscaled_panels(study)
    return MeasuredSource(name, headline, study=study, panel_shares=shares, panels=panels)


def planning_settings(options: Mapping[str, Any], study: Study | None) -> PlanningSettings:
    """The settings of a study with what the options say instead. InputError for values that are not possible."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return PlanningSettings(**{**(study.planning.model_dump(exclude_unset=True) if study else {}), **given})
    except ValidationError as error:
        raise InputError("; ".join(_problem(one["loc"][0], one) for one in error.errors())) from error
