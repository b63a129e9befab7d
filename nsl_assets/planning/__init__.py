"""Room 6: what depth, how many cells, for what money.

Measured surfaces, prices and saturation in, advice out: every answer with an interval, every refusal with what to do.
Nothing here fits laws of its own, stores or draws.
"""

from nsl_assets.planning.advice import ADVICE_FLAGS, Advice, Estimate, Question
from nsl_assets.planning.costs import Costs, Prices, Sequencing
from nsl_assets.planning.evidence import Evidence, evidence_of
from nsl_assets.planning.headroom import headroom_advice
from nsl_assets.planning.saturation import Saturation
from nsl_assets.planning.target import target_advice

__all__ = [
    "ADVICE_FLAGS",
    "Advice",
    "Costs",
    "Estimate",
    "Evidence",
    "Prices",
    "Question",
    "Saturation",
    "Sequencing",
    "evidence_of",
    "headroom_advice",
    "target_advice",
]
