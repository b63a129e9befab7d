"""From typed rows to plain values of a table's columns, checked before anything is written."""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from nsl_assets.errors import StorageError
from nsl_resources.results.rows import Row
from nsl_resources.results.schema import Column, SqlType, Table


def encode(table: Table, row: Row) -> dict[str, Any]:
    """The values of a row by column: plain Python, JSON as text, times in UTC without a zone.

    NaN becomes NULL where the column allows it.

    Raises:
        StorageError: a row of another table, or a value that its column cannot hold; the message names both.
    """
    if not isinstance(row, table.row_type):
        raise StorageError(
            f"Table {table.name} holds {table.row_type.__name__}; a {type(row).__name__} cannot land in it."
        )
    return {column.name: _encode(table, column, getattr(row, column.name)) for column in table.columns}


def _encode(table: Table, column: Column, value: object) -> Any:
    value = _unwrapped(value)
    if value is None and column.is_nullable:
        return None
    try:
        if value is None:
            raise TypeError("a value is required")
        if column.choices and value not in column.choices:
            raise ValueError(f"one of {', '.join(column.choices)} is allowed")
        return _ENCODERS[column.sql_type](value)
    except (TypeError, ValueError, OverflowError) as error:
        raise StorageError(
            f"Column {table.name}.{column.name} ({column.comment}) cannot hold {value!r}: {error}. "
            f"{column.sql_type}{' or NULL' if column.is_nullable else ''} is expected."
        ) from error


def _unwrapped(value: object) -> object:
    """A NumPy scalar as the Python value in it, an array as nested lists; NaN as NULL."""
    to_python = getattr(value, "tolist", None)
    value = to_python() if callable(to_python) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"it is {type(value).__name__}")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not -(2**63) <= operator.index(value) < 2**63:
        raise TypeError("it is no 64-bit integer")
    return operator.index(value)


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise TypeError(f"it is {type(value).__name__}")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError(f"it is {type(value).__name__}")


def _utc(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("it is no time with a zone, as datetime.now(UTC) gives")
    return value.astimezone(UTC).replace(tzinfo=None)


def _sorted_texts(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise TypeError("it is no sequence of texts")
    return sorted(_text(item) for item in value)


def _json_text(value: object) -> str:
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, Mapping):
        raise TypeError("it is no table of keys and values")
    return json.dumps(finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def finite(value: object) -> object:
    """A value that strict JSON can hold: NaN as null, infinities as text."""
    value = _unwrapped(value)
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


_ENCODERS: Final[Mapping[SqlType, Callable[[object], Any]]] = {
    "VARCHAR": _text,
    "BIGINT": _integer,
    "DOUBLE": _number,
    "BOOLEAN": _truth,
    "TIMESTAMP": _utc,
    "VARCHAR[]": _sorted_texts,
    "JSON": _json_text,
}
