"""What the planner answers, as it was asked."""

from nsl_assets.report.blocks import PageTable, Row, Section, number_cell, text_cell
from nsl_assets.report.content import Advice, ReportContent
from nsl_assets.report.numbers import count_text, depth_text


def advice_section(content: ReportContent) -> Section | None:
    """The answers as a table, refusals included; None where nothing was asked."""
    if not content.advice:
        return None
    rows = [_row(one) for one in content.advice]
    columns = ("task", "model", "cells", "question", "value", "answer", "flags")
    table = PageTable("advice", "Answers of the planner", columns, rows, [vars(one) for one in content.advice])
    return Section("advice", "What to do", [table])


def _row(one: Advice) -> Row:
    cells = (
        text_cell(one.task),
        text_cell(one.model),
        number_cell(one.n_cells, count_text),
        text_cell(one.question),
        number_cell(one.value, lambda value: f"{_with_ends(one, value)} {one.unit}".strip()),
        text_cell(f"No answer: {one.sentence}" if one.is_refused else one.sentence),
        text_cell(", ".join(one.flags) or "–"),
    )
    return Row(cells, one.task, one.model)


def _with_ends(one: Advice, value: float) -> str:
    ends = [depth_text(end) for end in (one.low, one.high) if end is not None]
    return f"{depth_text(value)} ({'–'.join(ends)})" if len(ends) == 2 else depth_text(value)
