"""A table as it was read: columns with their types, and names of the rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from nsl_assets.tables.address import Address

_NAME_HEADERS: Final = re.compile(
    r"|unnamed0|index|ids?|names?|cells?|cell(ids?|names?|barcodes?)|barcodes?|(obs|row)names?|observations?"
)


@dataclass(frozen=True)
class Table:
    """Rows of one file.

    Attributes
    ----------
    columns
        (n_rows, n_columns), each column with the type that it has in the file.
    row_names
        (n_rows,) names, or None where rows have none.
    note
        What had to be assumed to read the file, for its owner to see; else empty.
    """

    columns: pd.DataFrame
    row_names: npt.NDArray[np.str_] | None
    note: str = ""

    def require_numbers(self, address: Address) -> None:
        """Raises InputError, naming column and value, where a column does not hold numbers."""
        for name in self.columns:
            if not holds_numbers(self.columns[name]):
                raise InputError(
                    f"{address}: column {name!r} holds {_example(self.columns[name])}; numbers are needed. "
                    "Leave the column out, or name the columns to read: FILE:COLUMN,COLUMN."
                )


def holds_numbers(column: pd.Series[Any]) -> bool:
    """Whether a column is of a real-number type (truth values count as 0 and 1)."""
    from pandas.api import types

    return types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype)


def is_name_header(header: str) -> bool:
    """Whether a first column of this name holds row names whatever its values are: "", "cell", "barcode", ..."""
    return _NAME_HEADERS.fullmatch(re.sub(r"[\W_]", "", header.lower())) is not None


def has_row_names(frame: pd.DataFrame) -> bool:
    """Whether the first of several columns names the rows: by its header, or as text that hardly ever repeats."""
    if frame.shape[1] < 2:
        return False
    first = frame.iloc[:, 0]
    if is_name_header(str(frame.columns[0])):
        return True
    return _holds_text(first) and bool(first.nunique() > len(first) / 2)


def names_of(values: pd.Index[Any] | pd.Series[Any], address: Address) -> npt.NDArray[np.str_]:
    """Row names (n_rows,) as text. Raises InputError where a row has none."""
    unnamed = np.flatnonzero(values.isna())
    if unnamed.size:
        raise InputError(
            f"{address}: {unnamed.size} of {len(values)} rows have no name, the first of them row "
            f"{unnamed[0] + 1}. Name every row, or leave the names out of the file."
        )
    return values.to_numpy().astype(str)


def _holds_text(column: pd.Series[Any]) -> bool:
    from pandas.api import types

    return not holds_numbers(column) and not types.is_datetime64_any_dtype(column.dtype)


def _example(column: pd.Series[Any]) -> str:
    known = column.dropna()
    return f"{known.iloc[0]!r} ({column.dtype})" if len(known) else f"values of type {column.dtype}"
