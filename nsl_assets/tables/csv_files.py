"""Reading .csv: with or without a header line, with or without names of the rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsl_assets.errors import InputError
from nsl_assets.tables.table import is_name_header

if TYPE_CHECKING:
    import pandas as pd


def read_csv(path: Path, *, first_column_is_names: bool) -> tuple[pd.DataFrame, str]:
    """The columns of a file, names of rows first where it has them, and a note where its header is in doubt.

    A first line of numbers that do not count up from 0 or 1 is taken as values, unless ``first_column_is_names``:
    then it is the header in any case. Raises InputError for a file that is not UTF-8 text in columns.
    """
    try:
        fields = _first_line(path)
        has_header, note = (True, "") if first_column_is_names else _header(fields, path)
        frame = _parsed(path, len(fields), header=0 if has_header else None)
    except (ValueError, csv.Error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        message = f"{path} cannot be read: {reason}. Save it as UTF-8 text, columns separated by commas."
        raise InputError(message) from error
    if not first_column_is_names and not is_name_header(str(frame.columns[0])):
        frame = frame.assign(**{frame.columns[0]: _numbers_where_possible(frame.iloc[:, 0])})
    return frame, note


def _parsed(path: Path, n_fields: int, header: int | None) -> pd.DataFrame:
    """All columns; the first of several as text, so that names like numbers keep their zeros."""
    import pandas as pd

    skip = n_fields > 1  # a blank line of a single column is a missing value
    start = pd.read_csv(path, header=header, nrows=1, skip_blank_lines=skip)
    has_unheaded_names = not isinstance(start.index, pd.RangeIndex)  # as R writes row names
    as_text = {0: str} if n_fields > 1 and not has_unheaded_names else None
    frame = pd.read_csv(path, header=header, dtype=as_text, skip_blank_lines=skip, low_memory=False)
    if has_unheaded_names:
        frame = frame.reset_index(names="")
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _numbers_where_possible(column: pd.Series[Any]) -> pd.Series[Any]:
    import pandas as pd

    try:
        return pd.to_numeric(column)
    except ValueError:
        return column


def _first_line(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        fields = next(filter(None, csv.reader(file)), [])
    if not fields:
        raise ValueError("it is empty")
    if len(fields) == 1 and any(mark in fields[0] for mark in ";\t"):
        raise ValueError("its first line has no comma, but semicolons or tabs")
    return fields


def _header(fields: Sequence[str], path: Path) -> tuple[bool, str]:
    """Whether the first line is a header, and what to say where that is in doubt."""
    numbers = fields if len(fields) == 1 or _is_number(fields[0]) else fields[1:]
    if not all(map(_is_number, numbers)) or (len(fields) > 1 and is_name_header(fields[0])):
        return True, ""
    shown = ", ".join(numbers[:3]) + (", …" if len(numbers) > 3 else "")
    if any(list(numbers) == [str(start + i) for i in range(len(numbers))] for start in (0, 1)):
        return True, f"{path}: its first line ({shown}) is taken as column names."
    return False, f"{path} has no header: its first line ({shown}) is taken as values."


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
