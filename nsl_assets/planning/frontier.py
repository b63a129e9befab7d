"""The frontier: for every budget the best cells and depth, and what half or twice today's money would change."""

from dataclasses import replace
from typing import Final

from nsl_assets.laws import joint_gain
from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.plans import Plan, Planner
from nsl_assets.planning.spending import Spending, exactly
from nsl_assets.planning.wording import bits_text, bits_with_interval

FRONTIER_POINTS: Final = 25


def frontier_advice(spending: Spending) -> Advice:
    """The best plan of every budget from the smallest measured plan to the largest that is searched.

    The plans carry their predicted interval and the range of cells and depth that is not clearly worse. Refused with
    one training size.
    """
    planner = spending.planner
    if planner is None:
        return spending.refusal_without_plans("frontier")
    plans = planner.frontier(FRONTIER_POINTS)
    today = float(spending.costs.of(spending.evidence.n_cells, spending.evidence.today_umis_per_cell))
    steps = _money_steps(planner, today)
    sentence = (
        f"{spending.evidence.model}: from {spending.money(plans[0].budget)} to {spending.money(plans[-1].budget)} the "
        f"best plan rises from {bits_text(plans[0].plan.bits)} to {bits_text(plans[-1].plan.bits)} bits. Today's cells "
        f"and depth cost {spending.money(today)}{_steps_text(steps)}."
    )
    estimates = (exactly("cost_of_today", spending.currency, today), *steps)
    flags = ("extrapolated",) if any(one.is_extrapolated for one in plans) else ()
    return replace(spending.advice("frontier", sentence, estimates, flags), plans=plans)


def _money_steps(planner: Planner, today: float) -> tuple[Estimate, ...]:
    """Gains of the best plan for half and for twice today's money over that for today's money."""
    best = planner.best(today)
    if best is None:
        return ()
    named = {"half": planner.best(today / 2), "twice": planner.best(2 * today)}
    return tuple(
        _gain(planner, f"gain_at_{name}_the_money", found.plan, best.plan)
        for name, found in named.items()
        if found is not None
    )


def _gain(planner: Planner, name: str, plan: Plan, over: Plan) -> Estimate:
    gain = joint_gain(planner.joint, plan.umis_per_cell, plan.n_cells, over=(over.umis_per_cell, over.n_cells))
    return Estimate(name, "bits", float(gain.bits[0]), float(gain.low_bits[0]), float(gain.high_bits[0]))


def _steps_text(steps: tuple[Estimate, ...]) -> str:
    texts = [f"{one.name.split('_')[2]} the money would add {bits_with_interval(one)}" for one in steps]
    return f"; best spent, {' and '.join(texts)}" if texts else ""
