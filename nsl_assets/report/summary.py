"""The answer first: what to do, in a few plain sentences a task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws import (
    Difference,
    FittedCurve,
    FittedSurface,
    LawSettings,
    NoiseLawFit,
    depth_gain,
    predict_joint,
)
from nsl_assets.report.content import ReportContent
from nsl_assets.report.numbers import DEPTH_UNIT, NOT_DETERMINED, bits_text, depth_text, with_interval
from nsl_assets.report.points import Floats
from nsl_assets.report.selection import largest, tasks_of

WORTH_BITS: Final = 0.1
"""What twice the depth, or twice the cells, must add at least to be worth it."""
LITTLE_BITS: Final = 0.03
"""Less than this is next to nothing."""


@dataclass(frozen=True)
class Answer:
    """What a task's curves say should be done."""

    task: str
    verdict: str
    sentences: tuple[str, ...]


def answers(content: ReportContent) -> list[Answer]:
    """One answer a task, from the curves of the largest training size."""
    shown = largest(content.curves)
    return [_answer(task, [one for one in shown if one.measured.task == task], content) for task in tasks_of(content)]


def _answer(task: str, curves: Sequence[FittedCurve], content: ReportContent) -> Answer:
    fitted = [one for one in curves if one.fit is not None]
    if not fitted:
        return Answer(task, "No law yet", (f"No curve could be fitted: {curves[0].problem}",))
    best = max(fitted, key=_bits_at_deepest)
    fit = best.fit
    assert fit is not None
    caution = f"With caution: this curve is flagged {', '.join(fit.flags)}." if fit.flags else ""
    if best.measured.is_of_few_pairs:
        said = (_best_sentence(best, len(fitted)), _refusal(best, content), caution)
        return Answer(task, "Undecided: too few pairs were measured", tuple(filter(None, said)))
    depth = _gain_of_depth(best, content.law_settings)
    cells = _gain_of_cells(best, content.surfaces)
    sentences = [_best_sentence(best, len(fitted)), _rivals_sentence(best, fitted, content)]
    sentences += [_depth_sentence(fit, depth, _refusal(best, content)), _cells_sentence(best, cells), caution]
    return Answer(task, _verdict(fit, depth, cells), tuple(filter(None, sentences)))


def _bits_at_deepest(one: FittedCurve) -> float:
    depth = one.measured.curve.depth
    bits: Floats = one.measured.curve.mi_bits
    return float(bits[depth >= 0.9 * depth.max()].mean())


def _gain_of_depth(one: FittedCurve, settings: LawSettings) -> Difference | None:
    """Bits that twice the deepest depth adds; None where the deepest level has no noise."""
    fit = one.fit
    if fit is None or not math.isfinite(fit.deepest):
        return None
    return depth_gain(one.measured.curve, settings, fit.deepest, 2 * fit.deepest)


def _gain_of_cells(best: FittedCurve, surfaces: Sequence[FittedSurface]) -> float | None:
    """Bits that twice the training cells add at the deepest level, by the joint law; None without one."""
    names = (best.measured.task, best.measured.model)
    fit = next((one.fit for one in surfaces if (one.measured.task, one.measured.model) == names), None)
    if fit is None:
        return None
    bits = predict_joint(fit, np.full(2, fit.deepest), np.array([1, 2]) * fit.most_cells).bits
    return float(bits[1] - bits[0])


def _verdict(fit: NoiseLawFit, depth: Difference | None, cells: float | None) -> str:
    """Depth, cells or model: by whether the target is reached for certain, and by what doubling adds."""
    by_depth = 0.0 if depth is None else depth.value
    is_open = depth is not None and depth.high >= WORTH_BITS > depth.low
    if cells is not None and cells >= WORTH_BITS and cells > by_depth:
        return "Profile more cells"
    if fit.target_depth_high <= fit.deepest:
        return f"Deep enough for {fit.target_label}"
    if by_depth >= WORTH_BITS:
        return "Sequence deeper" + (", probably" if is_open else "")
    if is_open:
        return "Undecided: measure more noise levels or seeds"
    return "Deep enough: " + (
        "only another model could add" if cells is not None else "more cells or another model could add"
    )


def _refusal(best: FittedCurve, content: ReportContent) -> str:
    """What the planner says where it gives no target depth; empty where it does."""
    name = (best.measured.task, best.measured.model, "target_depth")
    refused = (one for one in content.advice if one.is_refused and (one.task, one.model, one.question) == name)
    return next((one.sentence for one in refused), "")


def _best_sentence(best: FittedCurve, n_models: int) -> str:
    measured, fit = best.measured, best.fit
    assert fit is not None
    where = f"at {depth_text(fit.deepest)} UMIs per cell" if math.isfinite(fit.deepest) else "without noise"
    of = "" if measured.ceiling_bits is None else f" of the {bits_text(measured.ceiling_bits)} that there are"
    cells = "" if measured.n_cells is None else f", trained on {measured.n_cells:,} cells"
    who = f"Of {n_models} models, {measured.model} keeps most" if n_models > 1 else f"{measured.model} keeps"
    return f"{who}: {bits_text(_bits_at_deepest(best))} bits{of} {where}{cells}."


def _rivals_sentence(best: FittedCurve, fitted: Sequence[FittedCurve], content: ReportContent) -> str:
    """Which models its Imax is told apart from."""
    name = (best.measured.task, best.measured.model)
    ahead: list[str] = []
    level: list[str] = []
    untested: list[str] = []
    for one in content.models:
        if one.comparison is None or name not in (
            (one.first.task, one.first.model),
            (one.first.task, one.second.model),
        ):
            continue
        is_first = one.first.model == best.measured.model
        other = one.second.model if is_first else one.first.model
        low, high = one.comparison.imax_bits.low, one.comparison.imax_bits.high
        is_ahead = low > 0 if is_first else high < 0
        (untested if math.isinf(low) and math.isinf(high) else ahead if is_ahead else level).append(other)
    if len(fitted) < 2 or not (ahead or level or untested):
        return ""
    said = {"more than that of": ahead, "not told apart from that of": level}
    said["not tested, for want of seeds, against that of"] = untested
    parts = [f"{relation} {_listed(names)}" for relation, names in said.items() if names]
    return f"Its Imax is {'; '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _depth_sentence(fit: NoiseLawFit, gain: Difference | None, refusal: str) -> str:
    target = with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text, DEPTH_UNIT)
    if refusal:
        reach = refusal
    elif target == NOT_DETERMINED:
        reach = f"The curve does not say where {fit.target_label} is reached."
    elif target.startswith(("≥", "≤")):
        reach = f"{fit.target_label} takes {target}."
    else:
        reach = f"{fit.target_label} is reached at {target}."
    if gain is None:
        return reach
    ends = (
        f"{bits_text(gain.low)} to {bits_text(gain.high)}" if math.isfinite(gain.high) else f"≥ {bits_text(gain.low)}"
    )
    return f"{reach} Twice the measured depth would add {bits_text(gain.value)} bits ({ends})."


def _cells_sentence(best: FittedCurve, gain: float | None) -> str:
    if gain is None:
        return (
            ""
            if best.measured.n_cells is None
            else "Whether more cells would help was not measured: one training size."
        )
    amount = f"about {bits_text(gain)} bits" if gain >= LITTLE_BITS else "next to nothing"
    return f"Twice the training cells would add {amount}, by the joint law."
