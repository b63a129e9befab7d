"""What a section of the page is made of: paragraphs, tables that can be sorted, galleries of figures, folded text."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nsl_assets.report.drawn import Drawn, Record


@dataclass(frozen=True)
class Cell:
    """One entry of a table: what is shown, and what it is sorted by."""

    text: str
    value: float | str
    is_strong: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table, with the task and model that pickers choose by (empty: always shown)."""

    cells: tuple[Cell, ...]
    task: str = ""
    model: str = ""


@dataclass(frozen=True, eq=False)
class PageTable:
    """A table that a click on a heading sorts, with the same data as records for the data file."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    records: Sequence[Record]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Gallery:
    """Figures of one kind; the page shows the first few that the pickers choose, and the rest on demand."""

    title: str
    figures: Sequence[Drawn]
    note: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Words. ``kind``: text, a remark on what is absent, or a warning."""

    text: str
    kind: Literal["text", "absent", "warning"] = "text"


@dataclass(frozen=True)
class Folded:
    """Preformatted text behind a heading; ``is_open`` shows it at once, with a button that copies it."""

    title: str
    text: str
    is_open: bool = False
    is_prose: bool = False


Block = PageTable | Gallery | Paragraph | Folded


@dataclass(frozen=True, eq=False)
class Section:
    """One section of the page."""

    id: str
    title: str
    blocks: Sequence[Block] = field(default=())


def text_cell(text: str) -> Cell:
    """An entry that sorts as text."""
    return Cell(text, text.lower())


def number_cell(value: float | None, write: Callable[[float], str], absent: str = "–") -> Cell:
    """A number as ``write`` has it; a dash where there is none."""
    return Cell(absent, "") if value is None or math.isnan(value) else Cell(write(value), value)


def interval_cell(text: str, value: float) -> Cell:
    """An estimate with its interval, sorted by the estimate."""
    return Cell(text, value)
