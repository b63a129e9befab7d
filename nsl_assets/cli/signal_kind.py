"""Whether a table's columns are classes or numbers, and as what they enter an estimate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tables import Address, holds_numbers

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["classes", "continuous"]
MOST_INTEGER_CLASSES: Final = 100
"""A column of whole numbers with more different values than this is continuous, unless the user says otherwise."""
FEWEST_ROWS_A_CLASS: Final = 5
"""So is one with fewer rows than this to each different value, on average."""
UNKNOWN: Final = -1
"""Code of a row whose class is not known."""
HINT_ON_UNKNOWN: Final = " Whole numbers below zero stand for unknown classes; write them as text if they do not."


@dataclass(frozen=True)
class Signal:
    """Classes: codes (n_rows,), -1 where unknown. Continuous: float64 (n_rows, n_columns), NaN where unknown."""

    kind: Kind
    values: npt.NDArray[Any]
    taken_as: str
    """In words, e.g. "9 classes"."""
    hint_on_unknown: str = ""

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Rows (n_rows,) with a value in every column."""
        known = self.values >= 0 if self.kind == "classes" else ~np.isnan(self.values).any(axis=1)
        return np.asarray(known, dtype=bool)


def signal_of(columns: pd.DataFrame, kind: Kind | None, address: Address) -> Signal:
    """The signal that columns (n_rows, n_columns) hold, as the kind named, or by the rule that None stands for.

    The rule: one column of text, truth values or categories is classes, and so is one of whole numbers that are
    few (at most 100, on 5 rows each); all else is continuous. Raises InputError where the columns cannot be read
    as that kind, and for classes that hardly ever repeat.
    """
    is_one = columns.shape[1] == 1
    if kind == "classes" and not is_one:
        raise InputError(
            f"{address} has {columns.shape[1]} columns: classes need exactly one. Name it, e.g. "
            f"{address.path}:{columns.columns[-1]}."
        )
    if kind == "classes" or (kind is None and is_one and _are_classes(columns.iloc[:, 0], address)):
        return _classes(columns.iloc[:, 0], address, is_certain=kind is not None)
    return _continuous(columns, address, is_certain=kind is not None)


def group_codes(columns: pd.DataFrame, address: Address) -> npt.NDArray[np.intp]:
    """One code (n_rows,) a group, -1 where unknown. Raises InputError for more than one column."""
    if columns.shape[1] != 1:
        raise InputError(f"{address} has {columns.shape[1]} columns: groups need exactly one. Name it: FILE:COLUMN.")
    return _codes(columns.iloc[:, 0])


def _are_classes(column: pd.Series[Any], address: Address) -> bool:
    from pandas.api import types

    if column.dtype.kind in "mM":
        raise InputError(
            f"{address} holds dates or times ({column.dtype}). Convert them to numbers, or take them as classes: "
            "--y-kind classes."
        )
    if not holds_numbers(column) or types.is_bool_dtype(column.dtype):
        return True
    n_different = column.nunique()
    n_most = min(MOST_INTEGER_CLASSES, column.notna().sum() / FEWEST_ROWS_A_CLASS)
    return _is_whole(column) and bool(n_different <= n_most)


def _is_whole(column: pd.Series[Any]) -> bool:
    """Integers, also those that are stored as floats because some are missing."""
    from pandas.api import types

    if types.is_integer_dtype(column.dtype):
        return True
    return types.is_float_dtype(column.dtype) and bool(column.isna().any()) and _has_whole_values(column)


def _has_whole_values(column: pd.Series[Any]) -> bool:
    known = column.dropna()
    return bool((known == known.round()).all())


def _classes(column: pd.Series[Any], address: Address, *, is_certain: bool) -> Signal:
    is_whole = holds_numbers(column) and _is_whole(column)
    codes = _codes(column)
    is_negative = (column.fillna(0) < 0).to_numpy(bool) if is_whole else np.zeros(len(column), bool)
    codes[is_negative] = UNKNOWN
    n_classes, n_known = len(np.unique(codes[codes >= 0])), int((codes >= 0).sum())
    if n_known and n_classes == n_known:
        raise InputError(
            f"{address} has {n_classes:,} different values in as many rows: classes need several rows each. If it "
            "is a number, use --y-kind continuous; if it names cells, name another column: FILE:COLUMN."
        )
    hint = " of whole numbers; --y-kind continuous takes them as numbers" if is_whole and not is_certain else ""
    return Signal("classes", codes, f"{n_classes} classes{hint}", HINT_ON_UNKNOWN if is_negative.any() else "")


def _codes(column: pd.Series[Any]) -> npt.NDArray[np.intp]:
    import pandas as pd

    if not holds_numbers(column):
        text = column.astype(object).map(str, na_action="ignore")
        column = text.where(text.str.strip() != "")
    codes: npt.NDArray[np.intp] = pd.factorize(column, sort=True)[0].astype(np.intp)
    return codes


def _continuous(columns: pd.DataFrame, address: Address, *, is_certain: bool) -> Signal:
    values = np.column_stack([_numbers(columns.iloc[:, i], address) for i in range(columns.shape[1])])
    taken_as = f"continuous, {columns.shape[1]} column{'s' * (columns.shape[1] > 1)}"
    if columns.shape[1] == 1 and not is_certain and _has_whole_values(columns.iloc[:, 0]):
        n_different = columns.iloc[:, 0].nunique()
        taken_as += f" of {n_different:,} different whole numbers; --y-kind classes takes them as classes"
    return Signal("continuous", values, taken_as)


def _numbers(column: pd.Series[Any], address: Address) -> npt.NDArray[np.float64]:
    import pandas as pd

    if holds_numbers(column):
        return column.to_numpy(np.float64, na_value=np.nan)
    numbers = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(np.isnan(numbers) & column.notna().to_numpy())
    if bad.size:
        raise InputError(
            f"{address}: column {column.name!r} holds {column.iloc[bad[0]]!r}, where a number is needed. Leave "
            f"unknown values empty; for classes name one column, e.g. {address.path}:{column.name}."
        )
    return numbers
