"""Calibration of the estimators on problems of known mutual information."""

from nsl_assets.probing.calibration.problems import (
    KnownProblem,
    fresh_problems,
    frozen_problems,
    known_problems,
    problem_named,
)

__all__ = ["KnownProblem", "fresh_problems", "frozen_problems", "known_problems", "problem_named"]
