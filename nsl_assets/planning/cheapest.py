"""The cheapest cells and depth that reach wanted bits."""

import numpy as np

from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.plans import CheapestPlan, Planner
from nsl_assets.planning.spending import Spending, beyond_text, plan_estimates, plan_flags, plan_text
from nsl_assets.planning.target import target_advice
from nsl_assets.planning.wording import bits_text, bits_with_interval, count_text


def cheapest_advice(spending: Spending, wanted_bits: float | None) -> Advice:
    """The cheapest plan for wanted bits; None asks for the target of the law's settings at today's cells.

    Refused with one training size, where the target depth is refused, or where no plan within reach is predicted to
    give the bits.
    """
    planner = spending.planner
    if planner is None:
        return spending.refusal_without_plans("cheapest")
    if wanted_bits is None:
        target = target_advice(spending.evidence, spending.costs.sequencing)
        if target.is_refused:
            sentence = f"{target.sentence} Or ask for a number of bits."
            return spending.refusal("cheapest", target.reason, sentence, flags=target.flags)
        wanted_bits = spending.evidence.fit.target_bits
    found = planner.cheapest(wanted_bits)
    if found is None:
        return _not_reached(spending, planner, wanted_bits)
    cost = Estimate("cost", spending.currency, found.plan.cost, found.cost_low, found.cost_high)
    flags = (*plan_flags(found), *(("open_end",) if np.isinf(found.cost_high) else ()))
    return spending.advice("cheapest", _sentence(spending, found), (cost, *plan_estimates(found.plan)), flags)


def _sentence(spending: Spending, found: CheapestPlan) -> str:
    high = "no upper end" if np.isinf(found.cost_high) else spending.money(found.cost_high)
    return (
        f"The cheapest way to {bits_text(found.wanted_bits)} bits with {spending.evidence.model} is "
        f"{plan_text(found.plan)}, for {spending.money(found.plan.cost)} ({spending.money(found.cost_low)} to {high})."
        f"{beyond_text(spending, found)}"
    )


def _not_reached(spending: Spending, planner: Planner, wanted_bits: float) -> Advice:
    most = planner.most_bits()
    found = Estimate("most_bits", "bits", most.bits, most.low_bits, most.high_bits)
    largest = f"{count_text(most.n_cells)} cells at {count_text(most.umis_per_cell)} UMIs per cell"
    sentence = (
        f"No plan reaches {bits_text(wanted_bits)} bits with {spending.evidence.model}: with {largest}, as far as the "
        f"measurements reach, {bits_with_interval(found)} are predicted. Ask for less, try another model, or measure "
        "larger sizes and deeper levels first."
    )
    return spending.refusal("cheapest", "the wanted bits lie beyond what is predicted", sentence, (found,))
