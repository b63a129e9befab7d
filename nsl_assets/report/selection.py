"""What of a report's curves is shown first: the largest training size of every task and model."""

from collections.abc import Iterable, Sequence

from nsl_assets.laws import FittedCells, FittedCurve
from nsl_assets.report.content import ReportContent


def tasks_of(content: ReportContent) -> list[str]:
    """All tasks, in the order of appearance."""
    return list(dict.fromkeys(one.measured.task for one in content.curves))


def models_of(content: ReportContent) -> list[str]:
    """All models, in the order of appearance."""
    return list(dict.fromkeys(one.measured.model for one in content.curves))


def largest(curves: Iterable[FittedCurve]) -> list[FittedCurve]:
    """The curve of the largest training size of each task and model, in the order of appearance."""
    found: dict[tuple[str, str], FittedCurve] = {}
    for one in curves:
        name = (one.measured.task, one.measured.model)
        if name not in found or (one.measured.n_cells or 0) > (found[name].measured.n_cells or 0):
            found[name] = one
    return list(found.values())


def by_model(cells: Sequence[FittedCells]) -> list[list[FittedCells]]:
    """Curves over training cells of each task and model, from the deepest level to the shallowest."""
    found: dict[tuple[str, str], list[FittedCells]] = {}
    for one in cells:
        found.setdefault((one.measured.task, one.measured.model), []).append(one)
    return [sorted(group, key=lambda one: -one.measured.depth) for group in found.values()]
