"""Plans of an experiment (a depth and a number of training cells) as a joint law predicts them, within its reach."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from nsl_assets.laws import JointLawFit, joint_gain, predict_joint
from nsl_assets.planning.costs import Costs
from nsl_assets.planning.saturation import FloatArray

PLAN_REACH: Final = 10.0
"""Plans are looked for up to this many times the deepest level and the largest size. Docs: decisions/planning.md."""
DEPTH_POINTS: Final = 160
TARGET_DEPTH_POINTS: Final = 80
CELL_POINTS: Final = 120


@dataclass(frozen=True)
class Region:
    """Depths and numbers of cells that are searched: from the smallest measured to ``PLAN_REACH`` times the largest."""

    depth: tuple[float, float]
    n_cells: tuple[float, float]
    deepest: float
    """The deepest measured finite level."""
    most_cells: float

    @classmethod
    def of(cls, joint: JointLawFit, largest_depth: float) -> "Region":
        """The region of a fit, no deeper than the library allows."""
        finite = joint.cells.depth[np.isfinite(joint.cells.depth)]
        deepest, most_cells = float(finite.max()), float(joint.cells.n_cells.max())
        high = min(PLAN_REACH * deepest, 0.999 * largest_depth)
        return cls(
            (min(float(finite.min()), high), high),
            (float(joint.cells.n_cells.min()), PLAN_REACH * most_cells),
            deepest,
            most_cells,
        )

    def is_extrapolated(self, plan: "Plan") -> bool:
        """Whether a plan lies beyond the deepest level or the largest size."""
        return bool(plan.umis_per_cell > 1.001 * self.deepest or plan.n_cells > 1.001 * self.most_cells)

    def depths(self) -> FloatArray:
        """Depths to try, evenly spaced in the logarithm."""
        return np.geomspace(*self.depth, DEPTH_POINTS)


@dataclass(frozen=True)
class Plan:
    """A number of training cells at a depth, what it costs and what it is predicted to give."""

    n_cells: float
    umis_per_cell: float
    reads_per_cell: float
    cost: float
    bits: float
    low_bits: float
    high_bits: float


@dataclass(frozen=True)
class BestPlan:
    """The best plan of a budget, and the plans that cannot be told from it."""

    budget: float
    plan: Plan
    n_cells_range: tuple[float, float]
    """Numbers of cells of all plans of the same money whose prediction is not clearly worse."""
    depth_range: tuple[float, float]
    is_at_edge: bool
    """Whether the search ended at the end of its region, so that a better plan may lie beyond."""
    is_extrapolated: bool


@dataclass(frozen=True)
class CheapestPlan:
    """The cheapest plan that reaches wanted bits."""

    wanted_bits: float
    plan: Plan
    cost_low: float
    """Cheapest plan whose interval reaches the wanted bits at its upper end."""
    cost_high: float
    """Cheapest plan whose whole interval reaches them; inf where none of the region does."""
    is_at_edge: bool
    is_extrapolated: bool


@dataclass(frozen=True, eq=False)
class Planner:
    """A joint law with costs."""

    joint: JointLawFit
    costs: Costs

    @cached_property
    def region(self) -> Region:
        """Where plans are searched."""
        return Region.of(self.joint, self.costs.sequencing.largest_depth)

    @property
    def cheapest_cost(self) -> float:
        """Money for the fewest measured cells at the shallowest level."""
        return float(self.costs.of(self.region.n_cells[0], self.region.depth[0]))

    @property
    def dearest_cost(self) -> float:
        """Money for the largest plan that is searched."""
        return float(self.costs.of(self.region.n_cells[1], self.region.depth[1]))

    def plan(self, n_cells: float, umis_per_cell: float) -> Plan:
        """One plan with its prediction and interval."""
        predicted = predict_joint(self.joint, umis_per_cell, n_cells)
        return Plan(
            n_cells,
            umis_per_cell,
            float(self.costs.sequencing.reads_per_cell(umis_per_cell)),
            float(self.costs.of(n_cells, umis_per_cell)),
            *(float(bits[0]) for bits in (predicted.bits, predicted.low_bits, predicted.high_bits)),
        )

    def best(self, budget: float) -> BestPlan | None:
        """The plan of most predicted bits that a budget buys; None where it buys no plan of the region.

        All money is spent on the plan's depth, so that a plan is one point of a line; where more cells than the
        region holds could be had, money is left.
        """
        depth, cells = self._affordable(budget)
        if not len(depth):
            return None
        predicted = predict_joint(self.joint, depth, cells)
        at = int(predicted.bits.argmax())
        gain = joint_gain(self.joint, depth, cells, over=(float(depth[at]), float(cells[at])))
        as_good = gain.high_bits >= 0
        plan = self.plan(float(cells[at]), float(depth[at]))
        return BestPlan(
            budget,
            plan,
            (float(cells[as_good].min()), float(cells[as_good].max())),
            (float(depth[as_good].min()), float(depth[as_good].max())),
            is_at_edge=self._is_at_edge(plan),
            is_extrapolated=self.region.is_extrapolated(plan),
        )

    def _affordable(self, budget: float) -> tuple[FloatArray, FloatArray]:
        """Depths, and the cells that the budget buys at each, within the region; (n,) each."""
        depth = self.region.depths()
        cells = np.minimum(self.costs.cells_for(budget, depth), self.region.n_cells[1])
        kept = cells >= self.region.n_cells[0]
        return depth[kept], cells[kept]

    def _is_at_edge(self, plan: Plan) -> bool:
        ends = ((plan.n_cells, self.region.n_cells), (plan.umis_per_cell, self.region.depth))
        return any(value <= 1.001 * low or value >= 0.999 * high for value, (low, high) in ends)

    def cheapest(self, wanted_bits: float) -> CheapestPlan | None:
        """The cheapest plan with as many predicted bits; None where no plan of the region reaches them."""
        depth = np.geomspace(*self.region.depth, TARGET_DEPTH_POINTS)
        cells = np.geomspace(*self.region.n_cells, CELL_POINTS)
        grid = np.meshgrid(depth, cells, indexing="ij")
        predicted = predict_joint(self.joint, *(axis.ravel() for axis in grid))
        needed, needed_at_best, needed_at_worst = (
            _first_reached(cells, bits.reshape(grid[0].shape), wanted_bits)
            for bits in (predicted.bits, predicted.high_bits, predicted.low_bits)
        )
        money = self.costs.of(needed, depth)
        at = int(money.argmin())
        if not np.isfinite(money[at]):
            return None
        plan = self.plan(float(needed[at]), float(depth[at]))
        return CheapestPlan(
            wanted_bits,
            plan,
            float(self.costs.of(needed_at_best, depth).min()),
            float(self.costs.of(needed_at_worst, depth).min()),
            is_at_edge=self._is_at_edge(plan),
            is_extrapolated=self.region.is_extrapolated(plan),
        )

    def most_bits(self) -> Plan:
        """The plan of most predicted bits in the region, whatever it costs."""
        return self.plan(self.region.n_cells[1], self.region.depth[1])

    def frontier(self, n_budgets: int) -> tuple[BestPlan, ...]:
        """The best plan within budgets, evenly spaced in the logarithm from the cheapest plan to the dearest.

        More money never buys less: where spending all of it is predicted to be worse, the cheaper plan stays.
        """
        plans: list[BestPlan] = []
        for budget in np.geomspace(self.cheapest_cost, self.dearest_cost, n_budgets):
            best = self.best(float(budget) * (1 + 1e-9))
            if best is None:
                continue
            is_worse = bool(plans) and best.plan.bits < plans[-1].plan.bits
            plans.append(replace(plans[-1], budget=best.budget) if is_worse else best)
        return tuple(plans)


def _first_reached(cells: FloatArray, bits: FloatArray, wanted_bits: float) -> FloatArray:
    """Cells (n_depths,) at which bits (n_depths, n_cells) first reach a value, by interpolation; inf where never."""
    reached = bits >= wanted_bits
    at = reached.argmax(axis=1)
    rows, before = np.arange(len(bits)), np.maximum(at - 1, 0)
    rise = bits[rows, at] - bits[rows, before]
    share = np.where(at > 0, (wanted_bits - bits[rows, before]) / np.where(rise > 0, rise, 1), 0)
    log_cells = np.log(cells)
    found = np.exp(log_cells[before] + np.clip(share, 0, 1) * (log_cells[at] - log_cells[before]))
    return np.where(reached.any(axis=1), found, np.inf)
