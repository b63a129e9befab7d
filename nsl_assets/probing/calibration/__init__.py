"""Calibration of the estimators on problems of known mutual information."""

from nsl_assets.probing.calibration.problems import (
    KnownProblem,
    fresh_problems,
    frozen_problems,
    known_problems,
    problem_named,
)
from nsl_assets.probing.calibration.trials import (
    NUMBERS_OF_PAIRS,
    ProblemSummary,
    Trial,
    run_trials,
    summaries,
)

__all__ = [
    "NUMBERS_OF_PAIRS",
    "KnownProblem",
    "ProblemSummary",
    "Trial",
    "fresh_problems",
    "frozen_problems",
    "known_problems",
    "problem_named",
    "run_trials",
    "summaries",
]
