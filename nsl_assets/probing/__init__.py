"""Room 4. Probing: mutual information, in bits, between a representation and the auxiliary signal."""

from typing import Final

from nsl_assets.probing.arrays import as_auxiliary
from nsl_assets.probing.calibration import KnownProblem, known_problems
from nsl_assets.probing.estimates import Estimate, estimate, estimate_all, estimator_identity
from nsl_assets.probing.settings import (
    EstimatorName,
    InfoNceSettings,
    LatentMutualInformationSettings,
    ProbingSettings,
)

CODE_VERSION: Final = "1"

__all__ = [
    "CODE_VERSION",
    "Estimate",
    "EstimatorName",
    "InfoNceSettings",
    "KnownProblem",
    "LatentMutualInformationSettings",
    "ProbingSettings",
    "as_auxiliary",
    "estimate",
    "estimate_all",
    "estimator_identity",
    "known_problems",
]
