"""Anybody's table of measurements as curves: one row a measurement, grouped by columns; bad rows are named."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.laws.curve import Curve
from nsl_assets.laws.measured import MeasuredCurve
from nsl_assets.tables import read_columns

if TYPE_CHECKING:
    import pandas as pd

DEPTH_COLUMN: Final = "umis_per_cell"
INFORMATION_COLUMN: Final = "mi_bits"
GROUPING_COLUMNS: Final = ("study", "dataset", "task", "model", "n_cells", "estimator", "is_trained", "protocol")
"""Columns that tell curves apart by themselves, where a table has them."""
LEVEL_COLUMNS: Final = ("level", "quality", "noise_level")
SEED_COLUMN: Final = "seed"
INTERVAL_COLUMNS: Final = ("low_bits", "high_bits")
"""The interval of each measurement by itself, where a table has both."""

TABLE_FLAGS: Final = {
    "missing_left_out": "rows without a number of depth or information are left out",
    "zero_depth_left_out": "rows at depth 0 are left out: there the information is 0 whatever the law",
    "duplicates_left_out": "rows that repeat another row entirely are counted once",
    "repeated_averaged": "several values of one seed at one level are averaged",
    "negative_information": "some values are negative: estimation noise, or a bias of the estimator",
}
"""What is doubtful about the rows of a curve."""


@dataclass(frozen=True)
class TableColumns:
    """Which columns of a table hold what; None: found by their names."""

    x: str = DEPTH_COLUMN
    """Depth in UMIs per cell, or another power SNR; inf is no noise."""
    y: str = INFORMATION_COLUMN
    """Mutual information in bits."""
    by: tuple[str, ...] | None = None
    """The columns that tell curves apart; None: those of ``GROUPING_COLUMNS`` that the table has."""
    level: str | None = None
    """The nominal noise level; None: the first of ``LEVEL_COLUMNS`` that the table has."""
    seed: str = SEED_COLUMN
    """The replicate; where the table has no such column, rows of one depth are replicates."""


@dataclass(frozen=True, eq=False)
class TableCurve:
    """One curve of a table, or why it is none."""

    groups: Mapping[str, Any]
    """Values of the grouping columns."""
    measured: MeasuredCurve | None
    flags: tuple[str, ...] = ()
    """What is doubtful about its rows: keys of ``TABLE_FLAGS``."""
    problem: str = ""
    notes: tuple[str, ...] = field(default=())
    """What was left out or averaged, in words."""


def read_measurements(path: Path, columns: TableColumns | None = None) -> list[TableCurve]:
    """The curves of a .csv, .tsv or .parquet, in the order of their first rows.

    A curve with a row that cannot be used (text for a number, a negative depth) holds the problem, with the number
    of the row, and stops no other. Raises InputError for a file that cannot be read and for missing columns.
    """
    return curves_of_frame(read_columns(path), columns or TableColumns(), str(path))


def curves_of_frame(frame: "pd.DataFrame", columns: TableColumns, name: str) -> list[TableCurve]:
    """The same of a table that was read already; ``name`` names it in errors."""
    by = _checked_columns(frame, columns, name)
    level = columns.level or next((column for column in LEVEL_COLUMNS if column in frame and column not in by), None)
    numbered = frame.assign(**{ROW: np.arange(2, len(frame) + 2)})
    if columns.seed in frame:
        numbered = numbered.assign(**{columns.seed: _seed_numbers(frame[columns.seed])})
    if not by:
        return [_curve({}, numbered, columns, level, name)]
    return [
        _curve(dict(zip(by, _as_tuple(key), strict=True)), rows, columns, level, name)
        for key, rows in numbered.groupby(list(by), sort=False, dropna=False)
    ]


ROW: Final = " row"


def _as_tuple(key: Hashable) -> tuple[Any, ...]:
    values = key if isinstance(key, tuple) else (key,)
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


def _checked_columns(frame: "pd.DataFrame", columns: TableColumns, name: str) -> tuple[str, ...]:
    """The grouping columns. InputError where a named column is not there, or curves would be mixed."""
    by = columns.by
    if by is None:
        by = tuple(column for column in GROUPING_COLUMNS if column in frame)
    options = {columns.x: "--x", columns.y: "--y", **dict.fromkeys(by, "--by")}
    if columns.level is not None:
        options[columns.level] = "--level"
    absent = [column for column in options if column not in frame]
    if absent:
        named = ", ".join(f"{column!r} (name another with {options[column]})" for column in absent)
        raise InputError(f"{name} has no column {named}. Its columns: {', '.join(frame.columns)}.")
    _require_unmixed(frame, by, columns, name)
    return by


def _require_unmixed(frame: "pd.DataFrame", by: Sequence[str], columns: TableColumns, name: str) -> None:
    """InputError where a column that tells curves apart is not among those to group by, and varies in a curve."""
    used = {*by, columns.x, columns.y, columns.level}
    for column in GROUPING_COLUMNS:
        if column not in frame or column in used:
            continue
        n_values = frame.groupby(list(by), dropna=False)[column].nunique() if by else frame[[column]].nunique()
        if n_values.max() > 1:
            raise InputError(
                f"{name}: column {column!r} takes {int(n_values.max())} values within one curve (grouped by "
                f"{', '.join(by) or 'nothing'}): add it to --by, or keep only the rows of one of them."
            )


def _curve(
    groups: Mapping[str, Any], rows: "pd.DataFrame", columns: TableColumns, level: str | None, name: str
) -> TableCurve:
    try:
        usable, notes = _usable_rows(rows, columns, level)
        measured = _measured(groups, usable, columns, level, name)
    except InputError as error:
        return TableCurve(groups, None, problem=str(error))
    has_negative = bool((usable[columns.y] < 0).any())
    flags = [*notes, "negative_information"] if has_negative else list(notes)
    return TableCurve(groups, measured, tuple(flags), notes=tuple(notes.values()))


def _usable_rows(
    rows: "pd.DataFrame", columns: TableColumns, level: str | None
) -> tuple["pd.DataFrame", dict[str, str]]:
    """Rows with numbers, and what was left out or is doubtful, by flag."""
    numeric = [columns.x, columns.y, *([level] if level else [])]
    rows = rows.assign(**{column: _numbers(rows, column) for column in numeric})
    notes = {}
    kept = rows.dropna(subset=numeric)
    if len(kept) < len(rows):
        notes["missing_left_out"] = f"{len(rows) - len(kept)} of {len(rows)} rows without a number are left out"
    _require_not_negative(kept, columns.x)
    deep = kept[kept[columns.x] > 0]
    if len(deep) < len(kept):
        notes["zero_depth_left_out"] = f"{len(kept) - len(deep)} rows at depth 0 are left out"
    distinct = deep.drop_duplicates(subset=[*numeric, columns.seed] if columns.seed in deep else numeric)
    if len(distinct) < len(deep) and columns.seed in rows:
        notes["duplicates_left_out"] = f"{len(deep) - len(distinct)} rows that repeat another are counted once"
        deep = distinct
    place = [level or columns.x, columns.seed]
    n_repeated = int(deep.duplicated(subset=place).sum()) if columns.seed in deep else 0
    if n_repeated:
        notes["repeated_averaged"] = f"{n_repeated} further values of a seed at its level are averaged with the first"
    return deep, notes


def _numbers(rows: "pd.DataFrame", column: str) -> "pd.Series[Any]":
    """The column as numbers, NaN where empty. InputError for text, with its row."""
    import pandas as pd

    numbers = pd.to_numeric(rows[column], errors="coerce")
    text = rows[numbers.isna() & rows[column].notna()]
    if len(text):
        raise InputError(
            f"column {column!r} holds {text[column].iloc[0]!r} in line {text[ROW].iloc[0]} of the table, where a number"
            " is expected. Correct it, or leave it empty where nothing was measured."
        )
    return numbers.astype(float)


def _require_not_negative(rows: "pd.DataFrame", column: str) -> None:
    wrong = rows[rows[column] < 0]
    if len(wrong):
        raise InputError(
            f"column {column!r} holds {wrong[column].iloc[0]:g} in line {wrong[ROW].iloc[0]} of the table: depths are "
            "positive UMIs per cell (inf = no noise)."
        )


def _measured(
    groups: Mapping[str, Any], rows: "pd.DataFrame", columns: TableColumns, level: str | None, name: str
) -> MeasuredCurve:
    if not len(rows):
        raise InputError("no row is left: every depth is 0 or a number is missing.")
    return MeasuredCurve(
        task=_task_name(groups, name),
        model=str(groups.get("model", "all")),
        n_cells=_size(groups.get("n_cells")),
        estimator=str(groups.get("estimator", columns.y)),
        curve=Curve(
            depth=rows[columns.x].to_numpy(float),
            mi_bits=rows[columns.y].to_numpy(float),
            seed=_seeds(rows, columns, level),
            level=None if level is None else rows[level].to_numpy(float),
            **_intervals(rows, columns),
        ),
    )


def _intervals(rows: "pd.DataFrame", columns: TableColumns) -> dict[str, npt.NDArray[np.float64]]:
    """Ends of the interval of each measurement, where the table has them and they are of the same quantity."""
    if columns.y != INFORMATION_COLUMN or not set(INTERVAL_COLUMNS) <= set(rows):
        return {}
    return {column: _numbers(rows, column).to_numpy(float) for column in INTERVAL_COLUMNS}


def _task_name(groups: Mapping[str, Any], name: str) -> str:
    """All that tells curves apart but model, training size and estimator."""
    parts = [str(value) for column, value in groups.items() if column not in ("model", "n_cells", "estimator")]
    return " · ".join(parts) or Path(name).stem


def _size(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int | float) and np.isfinite(value) and value >= 1 and float(value).is_integer():
        return int(value)
    raise InputError(f"column 'n_cells' holds {value!r}: a whole number of training cells is expected.")


def _seed_numbers(seeds: "pd.Series[Any]") -> npt.NDArray[np.int64]:
    """Seeds as whole numbers, the same name the same number in the whole table: models are compared by them."""
    import pandas as pd
    from pandas.api import types

    if types.is_integer_dtype(seeds.dtype) and not seeds.isna().any():
        return np.asarray(seeds, dtype=np.int64)
    return np.asarray(pd.factorize(seeds, sort=True)[0], dtype=np.int64)


def _seeds(rows: "pd.DataFrame", columns: TableColumns, level: str | None) -> npt.NDArray[np.int64]:
    """Seeds (n_points,); without such a column, the rows of one level are replicates in the order of the table."""
    if columns.seed not in rows:
        return np.asarray(rows.groupby(level or columns.x).cumcount(), dtype=np.int64)
    return np.asarray(rows[columns.seed], dtype=np.int64)
