"""Room 6: what depth, how many cells, for what money.

Measured surfaces, prices and saturation in, advice out: every answer with an interval, every refusal with what to do.
Nothing here fits laws of its own, stores or draws.
"""

from typing import Final

from nsl_assets.planning.advice import ADVICE_FLAGS, QUESTIONS, Advice, Estimate, Question
from nsl_assets.planning.advise import Circumstances, advise
from nsl_assets.planning.budget import budget_advice
from nsl_assets.planning.cheapest import cheapest_advice
from nsl_assets.planning.costs import Costs, Prices, Sequencing
from nsl_assets.planning.evidence import Evidence, evidence_of
from nsl_assets.planning.frontier import frontier_advice
from nsl_assets.planning.headroom import headroom_advice
from nsl_assets.planning.payoff import what_pays_advice
from nsl_assets.planning.plans import BestPlan, CheapestPlan, Plan, Planner
from nsl_assets.planning.saturation import Saturation
from nsl_assets.planning.settings import PlanningSettings
from nsl_assets.planning.spending import Spending
from nsl_assets.planning.target import target_advice

CODE_VERSION: Final = "2"

__all__ = [
    "ADVICE_FLAGS",
    "CODE_VERSION",
    "QUESTIONS",
    "Advice",
    "BestPlan",
    "CheapestPlan",
    "Circumstances",
    "Costs",
    "Estimate",
    "Evidence",
    "Plan",
    "Planner",
    "PlanningSettings",
    "Prices",
    "Question",
    "Saturation",
    "Sequencing",
    "Spending",
    "advise",
    "budget_advice",
    "cheapest_advice",
    "evidence_of",
    "frontier_advice",
    "headroom_advice",
    "target_advice",
    "what_pays_advice",
]
