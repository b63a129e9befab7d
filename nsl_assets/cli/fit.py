"""`nsl fit`: a law for every curve of anybody's table of measurements."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from nsl_assets import laws
from nsl_assets.cli.law_request import LawName
from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.errors import InputError
from nsl_assets.laws import LawSettings, MeasuredCurve, TableColumns, TableCurve

NO_SIZES: Final[dict[LawName, str]] = {
    "cells": "the cell-number law needs a column n_cells with at least 4 training sizes of a curve",
    "joint": "the joint law needs a column n_cells with at least 2 training sizes of a model",
}


def fit_table(path: Path, law: LawName, columns: TableColumns, settings: LawSettings, *, as_json: bool) -> int:
    """Fit every curve of a table and print the fits. 1 where not a single one could be fitted."""
    records = RECORDS[law](laws.read_measurements(path, columns), settings)
    if not records:
        raise InputError(f"{path}: {NO_SIZES[law]}.")
    if as_json:
        show_json(records)
    else:
        show(table([_line(record, law) for record in records]))
        _show_notes(records)
    return 0 if any(record["problem"] is None for record in records) else 1


def _show_notes(records: Sequence[Mapping[str, Any]]) -> None:
    """What was left out, and why curves could not be fitted, on stderr."""
    for record in records:
        curve = ", ".join(f"{column} {value}" for column, value in _names(record).items())
        for note in filter(None, [*record.get("notes", ()), record["problem"]]):
            show_error(f"{curve}: {note}" if curve else note)


def _noise_records(curves: Sequence[TableCurve], settings: LawSettings) -> list[dict[str, Any]]:
    """One object a curve, in the order of the table: also those that could not be read or fitted."""
    readable = [curve.measured for curve in curves if curve.measured is not None]
    fits = iter(laws.fit_curves(readable, settings))
    comparisons = iter(laws.compare_laws_of_each(readable))
    return [
        {
            **curve.groups,
            **(_noise_record(curve, next(fits), next(comparisons)) if curve.measured else NO_NOISE_LAW),
            **({} if curve.measured else {"problem": curve.problem}),
        }
        for curve in curves
    ]


NOISE_COLUMNS = (
    "ubar", "imax_bits", "ubar_low", "ubar_high", "imax_low_bits", "imax_high_bits", "target_label", "target_bits",
    "target_depth", "target_depth_low", "target_depth_high", "interval", "r2_seed_means", "r2_points",
    "residual_sd_bits", "residual_autocorrelation", "lack_of_fit_p", "n_points", "n_levels", "n_seeds", "deepest",
    "covariance",
)  # fmt: skip
NO_NOISE_LAW: dict[str, Any] = {
    **dict.fromkeys(NOISE_COLUMNS),
    "flags": [],
    "notes": [],
    "aicc": {},
    "held_out_rmse_bits": {},
}


def _noise_record(curve: TableCurve, fitted: laws.FittedCurve, compared: laws.ComparedLaws) -> dict[str, Any]:
    if fitted.fit is None:
        return {**NO_NOISE_LAW, "flags": list(curve.flags), "notes": list(curve.notes), "problem": fitted.problem}
    scores = () if compared.comparison is None else compared.comparison.scores
    return {
        **{column: getattr(fitted.fit, column) for column in NOISE_COLUMNS},
        "flags": [*fitted.fit.flags, *curve.flags],
        "notes": list(curve.notes),
        "aicc": {score.law: score.aicc for score in scores},
        "held_out_rmse_bits": {score.law: score.held_out_rmse_bits for score in scores},
        "problem": None,
    }


def _cells_records(curves: Sequence[TableCurve], settings: LawSettings) -> list[dict[str, Any]]:
    """One object a noise level of each model; then the curves that could not be read."""
    fitted = laws.fit_cells(laws.curves_over_cells(_measured(curves)), settings)
    groups = _groups_of_models(curves)
    records = [
        {
            **groups[one.measured.task, one.measured.model, one.measured.estimator],
            "level": one.measured.level,
            "umis_per_cell": one.measured.depth,
            **({"flags": []} if one.fit is None else asdict(one.fit)),
            "problem": one.problem or None,
        }
        for one in fitted
    ]
    return records + _unreadable(curves)


def _joint_records(curves: Sequence[TableCurve], settings: LawSettings) -> list[dict[str, Any]]:
    """One object a model; then the curves that could not be read."""
    joint = laws.JointSettings(confidence=settings.confidence)
    groups = _groups_of_models(curves)
    records = [
        {
            **groups[one.measured.task, one.measured.model, one.measured.estimator],
            **({"flags": []} if one.fit is None else _joint_record(one.fit)),
            "problem": one.problem or None,
        }
        for one in laws.fit_surfaces(laws.surfaces(_measured(curves)), joint)
    ]
    return records + _unreadable(curves)


def _measured(curves: Sequence[TableCurve]) -> list[MeasuredCurve]:
    return [curve.measured for curve in curves if curve.measured is not None]


def _groups_of_models(curves: Sequence[TableCurve]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The grouping columns of each model, without its training sizes."""
    return {
        (curve.measured.task, curve.measured.model, curve.measured.estimator): {
            column: value for column, value in curve.groups.items() if column != "n_cells"
        }
        for curve in curves
        if curve.measured is not None
    }


def _unreadable(curves: Sequence[TableCurve]) -> list[dict[str, Any]]:
    return [{**curve.groups, "flags": [], "problem": curve.problem} for curve in curves if curve.problem]


def _joint_record(fit: laws.JointLawFit) -> dict[str, Any]:
    return {
        "form": fit.form,
        "parameters": {one.name: asdict(one) for one in fit.parameters},
        "prior_decided": [one.name for one in fit.parameters if one.prior_decided],
        "residual_sd_bits": fit.residual_sd_bits,
        "r2_grid_cells": fit.r2_grid_cells,
        "r2_points": fit.r2_points,
        "n_grid_cells": fit.n_grid_cells,
        "n_points": fit.n_points,
        "n_seeds": fit.n_seeds,
        "flags": list(fit.flags),
    }


RECORDS: Final[dict[LawName, Callable[[Sequence[TableCurve], LawSettings], list[dict[str, Any]]]]] = {
    "noise": _noise_records,
    "cells": _cells_records,
    "joint": _joint_records,
}
SHOWN: Final[dict[LawName, dict[str, tuple[str, ...]]]] = {
    "noise": {
        "Imax (bits)": ("imax_bits", "imax_low_bits", "imax_high_bits"),
        "ubar": ("ubar", "ubar_low", "ubar_high"),
        "target depth": ("target_depth", "target_depth_low", "target_depth_high"),
        "R2": ("r2_seed_means",),
    },
    "cells": {
        "I_inf (bits)": ("i_inf_bits", "i_inf_low_bits", "i_inf_high_bits"),
        "N_sat": ("n_sat", "n_sat_low", "n_sat_high"),
        "exponent": ("exponent", "exponent_low", "exponent_high"),
        "R2": ("r2_seed_means",),
    },
    "joint": {"residual (bits)": ("residual_sd_bits",), "R2": ("r2_grid_cells",)},
}


def _line(record: Mapping[str, Any], law: LawName) -> dict[str, Any]:
    """One line for people: what tells the curve apart, numbers with intervals, flags."""
    joint = {
        name: f"{_with_interval(one['value'], one['low'], one['high'])}{' (prior)' * one['prior_decided']}"
        for name, one in record.get("parameters", {}).items()
    }
    numbers = {name: _with_interval(*(record.get(column) for column in of)) for name, of in SHOWN[law].items()}
    return {**_names(record), **joint, **numbers, "flags": ", ".join(record["flags"]) or None}


def _names(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell a curve apart: those before its numbers."""
    last = next((i for i, column in enumerate(record) if column in FIRST_NUMBERS), len(record))
    return dict(list(record.items())[:last])


FIRST_NUMBERS: Final = frozenset({"ubar", "i_inf_bits", "form", "flags"})


def _with_interval(value: float | None, low: float | None = None, high: float | None = None) -> str | None:
    if value is None:
        return None
    return f"{value:.4g}" if low is None or high is None else f"{value:.4g} ({low:.4g} to {high:.4g})"
