"""What the planner answers, refusals included."""

from typing import Final

from nsl_assets.planning import QUESTIONS
from nsl_assets.report.blocks import Cell, PageTable, Row, Section, number_cell, text_cell
from nsl_assets.report.content import Advice, ReportContent
from nsl_assets.report.numbers import count_text
from nsl_assets.report.selection import tasks_of

ASKED: Final[dict[str, str]] = {"planning": "Can it be planned?", **QUESTIONS}
"""The planner's questions in words, in the order in which they are answered; first, that of the settings."""
NOTE: Final = "Numbers in brackets: intervals. What the data cannot answer is refused, with what to measure instead."


def advice_section(content: ReportContent) -> Section | None:
    """The answers as a table, by task and question; None where nothing was asked."""
    if not content.advice:
        return None
    tasks, questions = tasks_of(content), list(ASKED)
    ordered = sorted(content.advice, key=lambda one: (tasks.index(one.task), questions.index(one.question)))
    table = PageTable(
        name="advice",
        title="How deep, how many cells, which model",
        columns=("task", "model", "cells", "question", "answer"),
        rows=[_row(one) for one in ordered],
        records=[vars(one) for one in ordered],
        note=NOTE,
    )
    return Section("advice", "Advice", [table])


def _row(one: Advice) -> Row:
    cells = (
        text_cell(one.task),
        text_cell(one.model),
        number_cell(one.n_cells, count_text),
        Cell(ASKED[one.question], list(ASKED).index(one.question)),
        text_cell(f"No answer. {one.sentence}" if one.is_refused else one.sentence),
    )
    return Row(cells, one.task, one.model)
