"""DuckDB values as JSON values."""

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from nsl_resources.results.encoding import finite


def json_value(value: Any, sql_type: str = "") -> Any:
    """A value that strict JSON can hold: times as ISO 8601 UTC, infinities and decimals as text."""
    if sql_type == "JSON" and isinstance(value, str):
        return json.loads(value)
    for python_type, convert in _CONVERTERS.items():
        if isinstance(value, python_type):
            return convert(value)
    return value if value is None or isinstance(value, str | int) else str(value)


def _utc_text(value: dt.datetime) -> str:
    moment = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _table(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): json_value(item) for key, item in value.items()}


def _list(value: list[Any] | tuple[Any, ...]) -> list[Any]:
    return [json_value(item) for item in value]


_CONVERTERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    float: finite,
    dt.datetime: _utc_text,
    dt.timedelta: dt.timedelta.total_seconds,
    bytes: _base64,
    dict: _table,
    list: _list,
    tuple: _list,
}
