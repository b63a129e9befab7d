"""The auxiliary signal: what an embedding should know about, and models never see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.h5ad import H5adFile, missing
from nsl_assets.tasks.settings import H5adTask
from nsl_assets.tasks.stages import ALPHABETICAL, alphabetical, stage_of_labels

if TYPE_CHECKING:
    import pandas as pd

MOST_INTEGER_CLASSES: Final = 20
"""An integer column with more different values than this is continuous, unless the settings say otherwise."""


@dataclass(frozen=True, eq=False)
class Auxiliary:
    """One auxiliary signal of some cells.

    Attributes
    ----------
    kind
        "categorical" or "continuous".
    values
        Categorical: int32 codes (n_cells,), -1 where unknown. Continuous: float64 (n_cells, n_columns), a row
        with NaN where unknown.
    names
        Class names (n_classes) or column names (n_columns).
    """

    kind: Literal["categorical", "continuous"]
    values: npt.NDArray[Any]
    names: tuple[str, ...]

    @property
    def is_observed(self) -> npt.NDArray[np.bool_]:
        """Which cells have a value, (n_cells,)."""
        known = self.values >= 0 if self.kind == "categorical" else ~np.isnan(self.values).any(axis=1)
        return np.asarray(known, dtype=bool)

    def take(self, rows: npt.NDArray[Any]) -> Auxiliary:
        """The same signal of chosen cells (positions or a mask)."""
        return Auxiliary(self.kind, self.values[rows], self.names)

    def save(self, folder: Path) -> None:
        """Write `auxiliary.npy` and `auxiliary.json`."""
        np.save(folder / "auxiliary.npy", self.values, allow_pickle=False)
        about = {"kind": self.kind, "names": self.names}
        (folder / "auxiliary.json").write_text(json.dumps(about, indent=1))


def load_auxiliary(folder: Path) -> Auxiliary:
    """What `Auxiliary.save` wrote."""
    about = json.loads((folder / "auxiliary.json").read_text())
    values = np.load(folder / "auxiliary.npy", allow_pickle=False)
    return Auxiliary(about["kind"], values, tuple(about["names"]))


def read_auxiliary(file: H5adFile, settings: H5adTask) -> Auxiliary:
    """The auxiliary of all cells of a file.

    Raises InputError where it is missing, cannot be read as the kind that the settings name, or has only one
    value.
    """
    place, _, key = settings.auxiliary.partition(":")
    table = file.obs(key).to_frame() if place == "obs" else file.obsm(key)
    if is_categorical(table, settings):
        return _categorical(table.iloc[:, 0], settings)
    return _continuous(table, settings)


def is_categorical(table: pd.DataFrame, settings: H5adTask) -> bool:
    """Whether the table holds classes, by `auxiliary_kind` or the rule that its "auto" stands for."""
    from pandas.api import types

    is_asked_for = settings.auxiliary_kind in ("categorical", "ordered")
    if is_asked_for and table.shape[1] != 1:
        raise InputError(
            f"{settings.auxiliary} has {table.shape[1]} columns: only one column can be categorical. "
            'Use auxiliary_kind = "continuous", or put the column into obs.'
        )
    if settings.auxiliary_kind != "auto" or settings.auxiliary.startswith("obsm:"):
        return is_asked_for
    column = table.iloc[:, 0]
    if types.is_integer_dtype(column.dtype):
        return bool(column.nunique() <= MOST_INTEGER_CLASSES)
    return not types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)


def _categorical(column: pd.Series[Any], settings: H5adTask) -> Auxiliary:
    import pandas as pd

    classes = column.astype("category").cat.remove_unused_categories()
    labels = [str(label) for label in classes.cat.categories]
    for label in settings.unknown_labels:
        if label not in labels:
            raise InputError(missing(f"class {label!r} in {settings.auxiliary} (unknown_labels)", label, labels))
    names = [label for label in labels if label not in settings.unknown_labels]
    _refuse_single_value(settings.auxiliary, names)
    if settings.auxiliary_kind == "ordered":
        names = _in_order(names, settings)
    recoded = pd.Index(names).get_indexer(pd.Index(labels)).astype(np.int32)
    codes = np.append(recoded, np.int32(-1))[classes.cat.codes.to_numpy()]
    if len(names) == np.count_nonzero(codes >= 0):
        raise InputError(
            f"{settings.auxiliary} has {len(names):,} different values in as many cells: classes need "
            'several cells each. If it is a number: auxiliary_kind = "continuous" (--task numeric).'
        )
    return Auxiliary("categorical", codes, tuple(names))


def _in_order(names: list[str], settings: H5adTask) -> list[str]:
    """Labels in the order of the stages."""
    if settings.stages == ALPHABETICAL:
        return list(alphabetical(names, settings.auxiliary))
    stage_of = stage_of_labels(names, settings.stages, settings.auxiliary)
    return sorted(names, key=lambda name: stage_of[name])


def _continuous(table: pd.DataFrame, settings: H5adTask) -> Auxiliary:
    values = np.column_stack([_numbers(table.iloc[:, i], settings) for i in range(table.shape[1])])
    values[np.isnan(values).any(axis=1)] = np.nan
    observed = values[~np.isnan(values[:, 0])]
    if observed.size == 0:
        raise InputError(f"{settings.auxiliary} has no cell with a value in every column: nothing to measure.")
    varies = observed.min(axis=0) < observed.max(axis=0)
    if not varies.any():
        _refuse_single_value(settings.auxiliary, [f"{observed[0, 0]:g}"])
    names = tuple(str(name) for name, kept in zip(table.columns, varies, strict=True) if kept)
    return Auxiliary("continuous", _transformed(values[:, varies], settings), names)


def _numbers(column: pd.Series[Any], settings: H5adTask) -> npt.NDArray[np.float64]:
    import pandas as pd

    numbers = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = np.flatnonzero((np.isnan(numbers) & column.notna().to_numpy()) | np.isinf(numbers))
    if bad.size:
        value = column.iloc[bad[0]]
        shown = repr(value) if isinstance(value, str) else str(value)
        raise InputError(
            f"{settings.auxiliary} holds {shown} (cell number {bad[0] + 1:,}): a finite "
            "number is needed. Leave unknown values empty (NaN), or take them as classes: "
            'auxiliary_kind = "categorical" (--task cell_type).'
        )
    return numbers


def _transformed(values: npt.NDArray[np.float64], settings: H5adTask) -> npt.NDArray[np.float64]:
    if settings.auxiliary_transform == "none":
        return values
    if settings.auxiliary_transform == "log1p" or _are_counts_in_obsm(values, settings):
        if np.nanmin(values) <= -1:
            raise InputError(f'{settings.auxiliary} holds {np.nanmin(values):g}: use auxiliary_transform = "none".')
        values = np.log1p(values)
    return np.asarray((values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0))


def _are_counts_in_obsm(values: npt.NDArray[np.float64], settings: H5adTask) -> bool:
    finite = values[~np.isnan(values)]
    return settings.auxiliary.startswith("obsm:") and bool(np.all((finite >= 0) & (finite == np.rint(finite))))


def _refuse_single_value(auxiliary: str, names: list[str]) -> None:
    if len(names) < 2:
        only = f"only one value ({names[0]})" if names else "no known value"
        raise InputError(f"{auxiliary} has {only}: information about it is 0 bits by definition. Choose another.")
