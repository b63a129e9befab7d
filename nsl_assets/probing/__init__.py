"""Room 4. Probing: mutual information, in bits, between a representation and the auxiliary signal."""

from typing import Final

from nsl_assets.probing.arrays import as_auxiliary
from nsl_assets.probing.calibration import (
    NUMBERS_OF_PAIRS,
    CalibrationMap,
    ExpectedBias,
    Family,
    Features,
    KnownProblem,
    Piece,
    ProblemSummary,
    fresh_problems,
    frozen_problems,
    known_problems,
    problem_named,
    problem_summaries,
    run_trials,
)
from nsl_assets.probing.estimates import Estimate, estimate, estimate_all, estimator_identity
from nsl_assets.probing.settings import (
    EstimatorName,
    InfoNceSettings,
    KsgSettings,
    LatentMutualInformationSettings,
    ProbingSettings,
)

CODE_VERSION: Final = "2"

__all__ = [
    "CODE_VERSION",
    "NUMBERS_OF_PAIRS",
    "CalibrationMap",
    "Estimate",
    "EstimatorName",
    "ExpectedBias",
    "Family",
    "Features",
    "InfoNceSettings",
    "KnownProblem",
    "KsgSettings",
    "LatentMutualInformationSettings",
    "Piece",
    "ProbingSettings",
    "ProblemSummary",
    "as_auxiliary",
    "estimate",
    "estimate_all",
    "estimator_identity",
    "fresh_problems",
    "frozen_problems",
    "known_problems",
    "problem_named",
    "problem_summaries",
    "run_trials",
]
