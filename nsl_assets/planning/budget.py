"""The best cells and depth for a budget; with one training size, the best depth for today's cells."""

import numpy as np

from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.headroom import information_at
from nsl_assets.planning.plans import PLAN_REACH, BestPlan, Planner
from nsl_assets.planning.spending import Spending, beyond_text, exactly, plan_estimates, plan_flags, plan_text
from nsl_assets.planning.target import target_advice
from nsl_assets.planning.wording import bits_with_interval, budget_text, count_text


def budget_advice(spending: Spending, budget: float) -> Advice:
    """The plan of most predicted bits, with the range of plans for the same money that are not clearly worse.

    Refused where the budget buys less than the smallest measured plan, or less than today's cells where nothing is
    known about fewer.
    """
    if spending.planner is None:
        return _depth_for_todays_cells(spending, budget)
    best = spending.planner.best(budget)
    if best is None:
        return _too_small(spending, spending.planner, budget)
    information, n_cells, depth, reads = plan_estimates(best.plan)
    estimates = (
        information,
        Estimate(n_cells.name, n_cells.unit, n_cells.value, *best.n_cells_range),
        Estimate(depth.name, depth.unit, depth.value, *best.depth_range),
        reads,
        exactly("cost", spending.currency, best.plan.cost),
    )
    return spending.advice("budget", _sentence(spending, best, information), estimates, plan_flags(best))


def _sentence(spending: Spending, best: BestPlan, information: Estimate) -> str:
    few, many = (count_text(end) for end in best.n_cells_range)
    shallow, deep = (count_text(end) for end in best.depth_range)
    money = budget_text(best.budget, spending.costs.prices.currency)
    return (
        f"{money} is best spent on {plan_text(best.plan)}: {bits_with_interval(information)} with "
        f"{spending.evidence.model}. Anything from {few} cells at {deep} UMIs per cell to {many} cells at {shallow} is "
        f"not clearly worse for that money.{beyond_text(spending, best)}"
    )


def _too_small(spending: Spending, planner: Planner, budget: float) -> Advice:
    region = planner.region
    sentence = (
        f"{budget_text(budget, spending.costs.prices.currency)} buys less than the smallest plan that was measured "
        f"with {spending.evidence.model}: {count_text(region.n_cells[0])} cells at {count_text(region.depth[0])} UMIs "
        f"per cell cost {spending.money(planner.cheapest_cost)}. Raise the budget, or measure smaller sizes and levels."
    )
    return spending.refusal("budget", "the budget buys less than the smallest measured plan", sentence)


def _depth_for_todays_cells(spending: Spending, budget: float) -> Advice:
    evidence, costs = spending.evidence, spending.costs
    cells = f"{evidence.n_cells:,.0f} cells"
    money = budget_text(budget, costs.prices.currency)
    bought, shallowest = costs.depth_for(budget, evidence.n_cells), float(evidence.curve.depth.min())
    if bought < shallowest:
        least = spending.money(float(costs.of(evidence.n_cells, shallowest)))
        sentence = (
            f"{money} does not buy today's {cells} at the shallowest measured level ({least}), and how fewer cells "
            f"would do is not known: {evidence.why_no_joint}."
        )
        return spending.refusal("budget", "the budget does not buy today's cells", sentence)
    depth = min(bought, PLAN_REACH * evidence.deepest, 0.999 * costs.sequencing.largest_depth)
    information = information_at(evidence, depth)
    sentence = (
        f"{money} buys {count_text(depth)} UMIs per cell for today's {cells}, which gives "
        f"{bits_with_interval(information)} with {evidence.model}{_more_than_needed(spending, depth)}. Whether more or "
        f"fewer cells would do better is not known: {evidence.why_no_joint}.{evidence.warning}"
    )
    estimates = (
        information,
        exactly("n_cells", "training cells", evidence.n_cells),
        exactly("depth", "UMIs per cell", depth),
        exactly("reads_per_cell", "reads per cell", float(costs.sequencing.reads_per_cell(depth))),
        exactly("cost", spending.currency, float(costs.of(evidence.n_cells, depth))),
    )
    earned = {
        "extrapolated": depth > evidence.deepest,
        "at_edge": depth < bought,
        "open_end": bool(np.isinf(information.high)),
    }
    return spending.advice(
        "budget", sentence, estimates, tuple(flag for flag, is_earned in earned.items() if is_earned)
    )


def _more_than_needed(spending: Spending, depth: float) -> str:
    target = target_advice(spending.evidence, spending.costs.sequencing)
    if target.is_refused or depth <= target.estimate("target_depth").high:
        return ""
    needed = count_text(target.estimate("target_depth").value)
    return f" ({needed} would do for {spending.evidence.fit.target_label})"
