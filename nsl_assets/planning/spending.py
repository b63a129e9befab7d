"""One model and what experiments on it cost: what all advice on money has in common."""

from dataclasses import dataclass
from functools import cached_property

from nsl_assets.laws import JointLawFit
from nsl_assets.planning.advice import Advice, Estimate, Question
from nsl_assets.planning.costs import Costs
from nsl_assets.planning.evidence import Evidence
from nsl_assets.planning.plans import BestPlan, CheapestPlan, Plan, Planner
from nsl_assets.planning.wording import count_text, money_text

JOINT_PASSED_ON = ("above_ceiling", "one_seed", "not_replicated", "weak_measurements", "not_converged")


@dataclass(frozen=True, eq=False)
class Spending:
    """Evidence on one model, with costs."""

    evidence: Evidence
    costs: Costs

    @cached_property
    def planner(self) -> Planner | None:
        """Plans by the joint law; None where there is none."""
        joint = self.evidence.joint
        return None if joint is None else Planner(joint, self.costs)

    @property
    def currency(self) -> str:
        """The unit of amounts of money."""
        return self.costs.prices.currency or "money"

    def money(self, amount: float) -> str:
        """An amount in words."""
        return money_text(amount, self.costs.prices.currency)

    def advice(
        self, question: Question, sentence: str, estimates: tuple[Estimate, ...], flags: tuple[str, ...]
    ) -> Advice:
        """An answer, with what is doubtful about the law and the costs."""
        evidence = self.evidence
        flags = (*flags, *self._flags)
        return Advice(question, evidence.model, evidence.n_cells, False, sentence, estimates, flags)

    def refusal(
        self,
        question: Question,
        reason: str,
        sentence: str,
        estimates: tuple[Estimate, ...] = (),
        flags: tuple[str, ...] = (),
    ) -> Advice:
        """A refusal, with what is doubtful about the law and the costs."""
        evidence = self.evidence
        flags = (*flags, *self._flags)
        return Advice(question, evidence.model, evidence.n_cells, True, sentence, estimates, flags, reason)

    def refusal_without_plans(self, question: Question) -> Advice:
        """The refusal of a choice between cells and depth, where no joint law could be fitted."""
        why = self.evidence.why_no_joint
        return self.refusal(question, "no joint law of cells and depth", f"No plan can be chosen: {why}.")

    @property
    def _flags(self) -> tuple[str, ...]:
        of_law = self.evidence.flags if self.evidence.joint is None else _passed_on(self.evidence.joint)
        one_size = ("one_size",) if len(self.evidence.sizes) < 2 else ()
        return (*of_law, *one_size, *self.costs.sequencing.flags)


def _passed_on(joint: JointLawFit) -> tuple[str, ...]:
    return tuple(flag for flag in joint.flags if flag in JOINT_PASSED_ON)


def plan_text(plan: Plan) -> str:
    """A plan in words."""
    return (
        f"{count_text(plan.n_cells)} training cells at {count_text(plan.umis_per_cell)} UMIs per cell "
        f"({count_text(plan.reads_per_cell)} reads per cell)"
    )


def beyond_text(spending: Spending, found: BestPlan | CheapestPlan) -> str:
    """What a sentence adds about a plan that lies beyond the measurements; empty for one that does not."""
    if spending.planner is None or not found.is_extrapolated:
        return ""
    region = spending.planner.region
    return (
        f" That lies beyond what was measured (up to {count_text(region.most_cells)} cells and "
        f"{count_text(region.deepest)} UMIs per cell): measure there before all money is spent."
    )


def plan_estimates(plan: Plan) -> tuple[Estimate, ...]:
    """Predicted information with its interval; cells, depth and reads of a plan, which are exact."""
    return (
        Estimate("information", "bits", plan.bits, plan.low_bits, plan.high_bits),
        exactly("n_cells", "training cells", plan.n_cells),
        exactly("depth", "UMIs per cell", plan.umis_per_cell),
        exactly("reads_per_cell", "reads per cell", plan.reads_per_cell),
    )


def exactly(name: str, unit: str, value: float) -> Estimate:
    """A number that is chosen, not measured."""
    return Estimate(name, unit, value, value, value)


def plan_flags(found: BestPlan | CheapestPlan) -> tuple[str, ...]:
    """What is doubtful about where a plan lies."""
    earned = {"extrapolated": found.is_extrapolated, "at_edge": found.is_at_edge}
    return tuple(flag for flag, is_earned in earned.items() if is_earned)
