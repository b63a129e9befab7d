"""Options of `nsl fit`, `nsl advise` and `nsl report` as the settings that they mean."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from nsl_assets.errors import InputError
from nsl_assets.laws import LEVEL_COLUMNS, LawSettings, TableColumns

LawName = Literal["noise", "cells", "joint"]


def table_columns(law: LawName, options: Mapping[str, Any]) -> TableColumns:
    """The columns of a table; laws over training cells need curves told apart by size, and not by level."""
    by = options["by"]
    if by is not None and law != "noise":
        by = (*(column for column in by if column not in (*LEVEL_COLUMNS, "n_cells")), "n_cells")
    named = {name: options[name] for name in ("x", "y", "level") if options[name] is not None}
    return TableColumns(by=by, **named)


def law_settings(options: Mapping[str, Any]) -> LawSettings:
    """The settings of the laws; InputError with the option that has a value that is not possible."""
    if options["target"] is not None and options["bits_below"] is not None:
        raise InputError("--target and --bits-below are two ways to say one thing: give one of them.")
    values: dict[str, Any] = {name: options[name] for name in ("protocol", "confidence") if options[name] is not None}
    if options["target"] is not None:
        values |= {"target_definition": "fraction_of_imax", "target_fraction": options["target"]}
    if options["bits_below"] is not None:
        values |= {"target_definition": "bits_below_imax", "target_bits_below_imax": options["bits_below"]}
    try:
        return LawSettings(**values)
    except ValidationError as error:
        raise InputError("; ".join(_problem(one["loc"][0], one) for one in error.errors())) from error


OPTIONS = {"target_fraction": "--target", "target_bits_below_imax": "--bits-below", "confidence": "--confidence"}


def _problem(field: Any, error: Mapping[str, Any]) -> str:
    return f"{OPTIONS.get(field, field)} {error['input']:g}: it {error['msg'].removeprefix('Input ')}."
