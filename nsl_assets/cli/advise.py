"""`nsl advise`: what depth, how many cells, which model, for what money; of a study or of a table."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from nsl_assets.advising import TaskAdvice, advise_tasks
from nsl_assets.cli.law_request import MeasuredSource
from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.errors import InputError
from nsl_assets.laws import LawSettings, MeasuredCurve
from nsl_assets.planning import ADVICE_FLAGS, QUESTIONS, Advice, BestPlan, PlanningSettings

FRONTIER_ROWS: Final = 6
"""About so many budgets of a frontier are shown; JSON has all."""


def advise_source(source: MeasuredSource, laws: LawSettings, planning: PlanningSettings, *, as_json: bool) -> int:
    """Print all advice. 1 where no task got any."""
    curves = with_sizes(source.curves, source.name, planning.n_cells)
    advised = advise_tasks(curves, laws, planning, source.panel_shares, source.panels)
    if as_json:
        show_json([record for of_task in advised for record in _records(of_task)])
    else:
        show("\n\n".join(_text(of_task) for of_task in advised if of_task.advice))
        _show_flags(advised)
    for problem in [*source.problems, *(f"{one.task}: {one.problem}" for one in advised if one.problem)]:
        show_error(problem)
    return 0 if any(one.advice for one in advised) else 1


def with_sizes(curves: Sequence[MeasuredCurve], name: str, n_cells: int | None) -> list[MeasuredCurve]:
    """Curves with a training size: the one given, where a table has none. InputError where neither says."""
    if any(one.n_cells is None for one in curves) and n_cells is None:
        raise InputError(f"{name} has no column n_cells: say with --n-cells how many cells the models were trained on.")
    return [replace(one, n_cells=n_cells) if one.n_cells is None else one for one in curves]


def _records(of_task: TaskAdvice) -> list[dict[str, Any]]:
    if of_task.problem:
        return [{"task": of_task.task, "problem": of_task.problem}]
    return [
        {
            "task": of_task.task,
            **{key: value for key, value in asdict(one).items() if key not in ("estimates", "plans")},
            "estimates": {estimate.name: asdict(estimate) for estimate in one.estimates},
            "plans": [_plan(best) for best in one.plans],
            "problem": None,
        }
        for one in of_task.advice
    ]


def _plan(best: BestPlan) -> dict[str, Any]:
    """One plan of the frontier, its numbers beside its ranges."""
    return {
        "budget": best.budget,
        **asdict(best.plan),
        **{k: v for k, v in asdict(best).items() if k not in ("budget", "plan")},
    }


def _text(of_task: TaskAdvice) -> str:
    """All models of a task, question by question."""
    models = dict.fromkeys(one.model for one in of_task.advice)
    parts = [f"{of_task.task}\n{'=' * len(of_task.task)}"]
    for question, title in QUESTIONS.items():
        answers = [one for model in models for one in of_task.advice if (one.model, one.question) == (model, question)]
        if answers:
            parts.append("\n".join([title, *(_answer(one) for one in answers)]))
    return "\n\n".join(parts)


def _answer(advice: Advice) -> str:
    mark = "?" if advice.is_refused else "-"
    flags = f"  [{', '.join(advice.flags)}]" if advice.flags else ""
    lines = [f"  {mark} {advice.sentence}{flags}"]
    if advice.plans:
        rows = table([_frontier_row(best) for best in advice.plans[:: max(1, len(advice.plans) // FRONTIER_ROWS)]])
        lines += [f"      {row}" for row in rows.splitlines()]
    return "\n".join(lines)


def _frontier_row(best: BestPlan) -> dict[str, Any]:
    plan = best.plan
    return {
        "money": f"{best.budget:,.0f}",
        "cells": f"{plan.n_cells:,.0f}",
        "UMIs per cell": f"{plan.umis_per_cell:,.0f}",
        "bits": f"{plan.bits:.2f} ({plan.low_bits:.2f} to {plan.high_bits:.2f})",
        "as good": f"{best.n_cells_range[0]:,.0f} to {best.n_cells_range[1]:,.0f} cells",
    }


def _show_flags(advised: Sequence[TaskAdvice]) -> None:
    """What every flag means that was raised, on stderr."""
    raised = {flag for of_task in advised for one in of_task.advice for flag in one.flags}
    for flag, meaning in ADVICE_FLAGS.items():
        if flag in raised:
            show_error(f"{flag}: {meaning}")
