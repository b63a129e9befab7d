"""What the command prints: text for people, JSON for programs."""

import json
import math
import sys
from collections.abc import Sequence
from typing import Any


def show_error(message: str) -> None:
    """An error on stderr."""
    sys.stderr.write(f"nsl: {message}\n")


def show(text: str) -> None:
    """A result on stdout."""
    sys.stdout.write(f"{text}\n")


def show_json(value: Any) -> None:
    """A result as JSON on stdout; what JSON cannot hold (infinite bounds) becomes null."""
    sys.stdout.write(json.dumps(_json_value(value), indent=2, default=str) + "\n")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as aligned columns; numbers to the right."""
    if not rows:
        return "(no rows)"
    cells = [[_text(value) for value in row.values()] for row in rows]
    names = list(rows[0])
    widths = [max(len(name), *(len(row[i]) for row in cells)) for i, name in enumerate(names)]
    is_number = [all(isinstance(list(row.values())[i], int | float | None) for row in rows) for i in range(len(names))]
    lines = [names, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(_padded(line[i], widths[i], is_number[i]) for i in range(len(names))).rstrip() for line in lines
    )


def _padded(text: str, width: int, is_number: bool) -> str:
    return text.rjust(width) if is_number else text.ljust(width)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value
