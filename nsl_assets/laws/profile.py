"""Profile likelihood: how well the law fits when one quantity is held, and the interval that follows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.search import Optimum, Points, minimum_along
from nsl_assets.laws.settings import Target

OUTWARD_POINTS: Final = 32
ZOOMS: Final = 2
ZOOM_POINTS: Final = 12


@dataclass(frozen=True, eq=False)
class Profile:
    """The sum of squares as a function of one quantity, minimised over the other parameter."""

    deviance: Callable[[FloatArray], FloatArray]
    """Minimum of the sum of squares at each value (n,), less the overall minimum; bits²."""
    estimate: float
    bounds: tuple[float, float]
    contrast: FloatArray
    """Gradient of the quantity by (Imax, ln ū), (2,)."""

    def interval(self, threshold: float) -> tuple[float, float]:
        """The outermost values within the threshold; a bound where the profile never crosses it."""
        low, high = (self._end(bound, threshold) for bound in self.bounds)
        return low, high

    def _end(self, bound: float, threshold: float) -> float:
        """Steps outwards to the bound, then zooms into the outermost bracket that crosses the threshold."""
        steps = np.geomspace(1e-4, 1, OUTWARD_POINTS)[:-1]
        outwards = self.estimate + (bound - self.estimate) * steps
        values = np.concatenate([[self.estimate], outwards, [bound]])
        deviance = self._outward_deviance(values)
        for _ in range(ZOOMS):
            last = _last_within(deviance, threshold)
            if last == len(values) - 1:
                return float(values[-1])
            values = np.linspace(values[last], values[last + 1], ZOOM_POINTS)
            deviance = self._outward_deviance(values)
        return _crossing(values, deviance, threshold)

    def _outward_deviance(self, values: FloatArray) -> FloatArray:
        """The deviance; the first value (the estimate, or a bracket's inner end) is within by definition."""
        return np.concatenate([[0.0], self.deviance(values[1:])])


def _last_within(deviance: FloatArray, threshold: float) -> int:
    return int(np.flatnonzero(deviance <= threshold)[-1])


def _crossing(values: FloatArray, deviance: FloatArray, threshold: float) -> float:
    last = _last_within(deviance, threshold)
    if last == len(values) - 1:
        return float(values[-1])
    return float(np.interp(threshold, deviance[last : last + 2], values[last : last + 2]))


def imax_profile(points: Points, optimum: Optimum) -> Profile:
    """Profile of Imax in bits, minimised over ū."""

    def deviance(imax_bits: FloatArray) -> FloatArray:
        minima = minimum_along(points.sum_of_squares, imax_bits, points.log_ubar_grid)[1]
        return minima - optimum.sum_of_squares

    return Profile(deviance, optimum.imax_bits, points.imax_bounds_bits, np.array([1.0, 0.0]))


def ubar_profile(points: Points, optimum: Optimum) -> Profile:
    """Profile of ln ū, minimised over Imax."""

    def deviance(log_ubar: FloatArray) -> FloatArray:
        minima = minimum_along(points.sum_of_squares_at_ubar, log_ubar, points.imax_grid_bits)[1]
        return minima - optimum.sum_of_squares

    return Profile(deviance, optimum.log_ubar, points.log_depth_bounds, np.array([0.0, 1.0]))


def target_profile(points: Points, optimum: Optimum, target: Target) -> Profile:
    """Profile of ln(target depth), minimised over Imax: ū follows from the two by C4."""
    # A depth at its upper bound needs an Imax that lies beyond the bound of Imax by 1/q.
    grid = points.imax_grid_bits / (target.fraction or 1.0)

    def surface(log_depth: FloatArray, imax_bits: FloatArray) -> FloatArray:
        return points.sum_of_squares(imax_bits, log_depth - target.log_depth_over_ubar(imax_bits))

    def deviance(log_depth: FloatArray) -> FloatArray:
        return minimum_along(surface, log_depth, grid)[1] - optimum.sum_of_squares

    low, high = points.log_depth_bounds
    estimate = float(np.clip(optimum.log_ubar + log_ratio(optimum.imax_bits, target), low, high))
    contrast = np.array([log_ratio_slope(optimum.imax_bits, target), 1.0])
    return Profile(deviance, estimate, (low, high), contrast)


def log_ratio(imax_bits: float, target: Target) -> float:
    """ln(target depth / ū) at one Imax."""
    return float(target.log_depth_over_ubar(np.float64(imax_bits)))


def log_ratio_slope(imax_bits: float, target: Target) -> float:
    """Derivative of ln(target depth / ū) by Imax, per bit."""
    step = 1e-5 * max(imax_bits, 1e-3)
    with np.errstate(invalid="ignore"):
        slope = (log_ratio(imax_bits + step, target) - log_ratio(imax_bits - step, target)) / (2 * step)
    return slope if np.isfinite(slope) else 0.0
