"""Advice from measured curves, task by task: of a study, or of anybody's table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nsl_assets import planning
from nsl_assets.errors import InputError
from nsl_assets.laws import JointSettings, LawSettings, MeasuredCurve, all_surfaces
from nsl_assets.planning import Advice, PlanningSettings


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
) -> list[TaskAdvice]:
    """Advice on every task, in the order of the curves; all by one estimator, of known training sizes.

    ``panel_shares`` by task are taken where the circumstances name none. A task without advice (circumstances that
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
        )
        for task in tasks
    ]


def _with_panel_share(circumstances: PlanningSettings, share: float | None) -> PlanningSettings:
    if circumstances.panel_share is not None or share is None:
        return circumstances
    return circumstances.model_copy(update={"panel_share": share})


def _advise(
    task: str, curves: Sequence[MeasuredCurve], laws: LawSettings, circumstances: PlanningSettings
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
    doubtful = {(one.model, one.n_cells) for one in curves if one.is_of_few_pairs}
    return TaskAdvice(task, tuple(_refused(one) if (one.model, one.n_cells) in doubtful else one for one in advice))


def _refused(advice: Advice) -> Advice:
    """The same question, refused: what follows from unreliable estimates is no advice."""
    reason = "most estimates were made from fewer than 500 pairs and are unreliable"
    sentence = (
        f"Too few pairs: most estimates of {advice.model} were made from fewer than 500 pairs and are unreliable, so no"
        " depth, gain or price follows from their curve. Measure more pairs: more cells (of a clonal task, more clones"
        " with cells at both times), or a larger --probe-fraction."
    )
    return replace(
        advice, is_refused=True, sentence=sentence, reason=reason, plans=(), flags=(*advice.flags, "few_pairs")
    )
