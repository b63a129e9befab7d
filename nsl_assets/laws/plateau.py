"""How many levels deeper a study has to measure before the target depth of a curve has an upper end."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.curve import Curve, Levels, levels_of
from nsl_assets.laws.equations import FloatArray, noise_law
from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.noise_law_fit import error_model_of
from nsl_assets.laws.profile import target_profile
from nsl_assets.laws.search import Optimum, Points, minimum_along
from nsl_assets.laws.settings import LawSettings, Target

MOST_LEVELS: Final = 24
"""More levels than this are not looked for: then a study cannot get there."""


@dataclass(frozen=True)
class LevelsNeeded:
    """Levels beyond the deepest one, spaced as the study's are, until the target depth is known; inf: never."""

    spacing: float
    """Depth of a level over that of its neighbour, median of the study."""
    deepest: float
    """The deepest finite level in UMIs per cell."""
    at_least: float
    """Where the curve is as favourable as the data allow: its target depth is the lower end of the interval."""
    likely: float
    """Where the best fit is the truth."""

    def depth(self, n_levels: float) -> float:
        """The depth of a level so many steps beyond the deepest, in UMIs per cell."""
        with np.errstate(over="ignore"):
            return float(self.deepest * np.float64(self.spacing) ** n_levels)


def levels_needed(curve: Curve, settings: LawSettings, *, reach: float) -> LevelsNeeded:
    """Levels to add until the target's interval would end within ``reach`` times the deepest level.

    A level count is tried out on a noise-free curve of the law with the residual variance and the differences
    between seeds of the real curve: the profile likelihood must cross its threshold. Raises MeasurementError
    with fewer than 3 levels.
    """
    levels = levels_of(curve)
    model = error_model_of(curve, levels, "profile_likelihood", settings.confidence)
    target = settings.target
    finite = levels.depth[np.isfinite(levels.depth)]
    likely = (model.optimum.imax_bits, model.optimum.log_ubar)
    best_case = _law_of_lowest_target(model, target)
    counts = [_levels_needed(levels, model, target, law, reach) for law in (best_case, likely)]
    return LevelsNeeded(_spacing(levels), float(finite[-1]), min(counts), counts[1])


def _spacing(levels: Levels) -> float:
    return float(np.exp(np.median(np.diff(np.log(levels.depth[np.isfinite(levels.depth)])))))


def _law_of_lowest_target(model: ErrorModel, target: Target) -> tuple[float, float]:
    """The (Imax, ln ū) that fits best where the target depth is the lower end of its interval."""
    profile = target_profile(model.points, model.optimum, target)
    log_depth = profile.interval(model.threshold(profile.contrast))[0]

    def surface(held: FloatArray, imax_bits: FloatArray) -> FloatArray:
        return model.points.sum_of_squares(imax_bits, held - target.log_depth_over_ubar(imax_bits))

    imax_bits = float(minimum_along(surface, np.array([log_depth]), model.points.imax_grid_bits)[0][0])
    return imax_bits, float(log_depth - target.log_depth_over_ubar(np.float64(imax_bits)))


def _levels_needed(levels: Levels, model: ErrorModel, target: Target, law: tuple[float, float], reach: float) -> float:
    spacing = _spacing(levels)
    for count in range(1, MOST_LEVELS + 1):
        finite = levels.depth[np.isfinite(levels.depth)]
        added = finite[-1] * spacing ** np.arange(1, count + 1)
        if _upper_end(np.concatenate([finite, added]), model, target, law) <= reach * added[-1]:
            return float(count)
    return float("inf")


def _upper_end(depth: FloatArray, model: ErrorModel, target: Target, law: tuple[float, float]) -> float:
    """Upper end of the target depth's interval were the law the truth and these levels measured without error."""
    imax_bits, log_ubar = law
    points = Points(depth, noise_law(depth, imax_bits, np.exp(log_ubar)))
    noisy = Optimum(imax_bits, log_ubar, model.residual_variance * (len(depth) - 2), converged=True)
    threshold_model = ErrorModel(points, noisy, model.scatter, model.confidence)
    profile = target_profile(points, Optimum(imax_bits, log_ubar, 0.0, converged=True), target)
    end = profile.interval(threshold_model.threshold(profile.contrast))[1]
    return float(np.inf if end >= profile.bounds[1] else np.exp(end))
