"""Advice from measured curves, task by task: of a study, or of anybody's table."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from nsl_assets import planning
from nsl_assets.errors import InputError
from nsl_assets.laws import JointSettings, LawSettings, MeasuredCurve, all_surfaces
from nsl_assets.planning import Advice, PlanningSettings

MONEY: Final = ("budget", "cheapest", "frontier")
"""Questions whose answers are in reads and money."""


@dataclass(frozen=True, eq=False)
class TaskAdvice:
    """All advice on one task."""

    task: str
    advice: tuple[Advice, ...]
    problem: str = ""
    """Why there is none."""


def advise_tasks(
    curves: Sequence[MeasuredCurve],
    laws: LawSettings,
    circumstances: PlanningSettings,
    panel_shares: Mapping[str, float] | None = None,
    panels: Collection[str] = (),
) -> list[TaskAdvice]:
    """Advice on every task, in the order of the curves; all by one estimator, of known training sizes.

    ``panel_shares`` by task are taken where the circumstances name none. ``panels`` are tasks whose genes are a
    selection: where no share is known, advice in reads is refused. A task without advice (circumstances that
    contradict its measurements) says why and stops no other. Raises InputError where the circumstances contradict
    themselves.
    """
    circumstances.circumstances()
    tasks = dict.fromkeys(curve.task for curve in curves)
    return [
        _advise(
            task,
            [one for one in curves if one.task == task],
            laws,
            _with_panel_share(circumstances, (panel_shares or {}).get(task)),
            is_panel=task in panels,
        )
        for task in tasks
    ]


def _with_panel_share(circumstances: PlanningSettings, share: float | None) -> PlanningSettings:
    if circumstances.panel_share is not None or share is None:
        return circumstances
    return circumstances.model_copy(update={"panel_share": share})


def _advise(
    task: str,
    curves: Sequence[MeasuredCurve],
    laws: LawSettings,
    circumstances: PlanningSettings,
    *,
    is_panel: bool,
) -> TaskAdvice:
    ceilings = [one.ceiling_bits for one in curves if one.ceiling_bits is not None]
    try:
        advice = planning.advise(
            {one.model: one.surface for one in all_surfaces(curves)},
            circumstances.circumstances(),
            laws,
            JointSettings(confidence=laws.confidence),
            ceiling_bits=max(ceilings, default=None),
        )
    except InputError as error:
        return TaskAdvice(task, (), str(error))
    if is_panel and circumstances.panel_share is None:
        advice = tuple(_without_reads(one) if _is_in_reads(one, circumstances) else one for one in advice)
    return TaskAdvice(task, advice)


def _is_in_reads(advice: Advice, circumstances: PlanningSettings) -> bool:
    return advice.question in MONEY or (advice.question == "what_pays" and circumstances.price_per_read is not None)


def _without_reads(advice: Advice) -> Advice:
    """The same question, refused: reads are paid for all genes, and UMIs are counted in some of them."""
    reason = "the share of all UMIs that lie in the genes of the file is not known"
    sentence = (
        "No advice in reads or money: the file holds few genes, and how many UMIs its cells have over all genes is"
        " not known. Name the column, or the factor, with --total-umis when the study is made, or the share of all UMIs"
        " that lie in these genes with --panel-share (1 where they are all genes that are sequenced)."
    )
    flags = (*advice.flags, "panel_assumed_complete")
    return replace(advice, is_refused=True, sentence=sentence, reason=reason, estimates=(), plans=(), flags=flags)
