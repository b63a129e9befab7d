"""Calibration of the estimators on problems of known mutual information."""

from nsl_assets.probing.calibration.map import CalibrationMap, ExpectedBias, Features
from nsl_assets.probing.calibration.problems import (
    Family,
    KnownProblem,
    fresh_problems,
    frozen_problems,
    known_problems,
    problem_named,
)
from nsl_assets.probing.calibration.trials import (
    NUMBERS_OF_PAIRS,
    Piece,
    ProblemSummary,
    Trial,
    problem_summaries,
    run_trials,
)

__all__ = [
    "NUMBERS_OF_PAIRS",
    "CalibrationMap",
    "ExpectedBias",
    "Family",
    "Features",
    "KnownProblem",
    "Piece",
    "ProblemSummary",
    "Trial",
    "fresh_problems",
    "frozen_problems",
    "known_problems",
    "problem_named",
    "problem_summaries",
    "run_trials",
]
