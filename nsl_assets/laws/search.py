"""Least squares of the noise law: the sum of squares, its conditional minimum, and the global optimum.

One parameter is minimised on a grid and by golden section while the other is held, for many held values at
once. That finds every valley of the surface, which local searches from a few starts do not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from nsl_assets.laws.equations import NATS_PER_TWO_BITS, FloatArray, law_of_logs, law_slopes, noise_law

FAR: Final = 1e6
"""Depths this many times beyond the deepest level (or below the shallowest) count as infinite (zero)."""
GOLDEN: Final = (np.sqrt(5) - 1) / 2
BEYOND: Final = 100.0
"""How much further than ``FAR`` the parameter that is minimised over may go."""
GRID_POINTS: Final = 48
GOLDEN_STEPS: Final = 12
AT_BOUND: Final = 1e-6
LARGEST_IMAX_BITS: Final = 500.0
"""2^(2 Imax) overflows soon after."""


@dataclass(frozen=True, eq=False)
class Points:
    """What is fitted: depths (n_points,) in UMIs per cell and information (n_points,) in bits."""

    depth: FloatArray
    mi_bits: FloatArray

    @cached_property
    def log_depth(self) -> FloatArray:
        """ln depth; inf for the noiseless level."""
        return np.asarray(np.log(self.depth))

    @cached_property
    def log_depth_bounds(self) -> tuple[float, float]:
        """Bounds of ln ū and of the ln target depth; beyond them they count as 0 and infinite."""
        finite = self.log_depth[np.isfinite(self.log_depth)]
        return float(finite.min() - np.log(FAR)), float(finite.max() + np.log(FAR))

    @cached_property
    def imax_bounds_bits(self) -> tuple[float, float]:
        """Bounds of Imax: beyond the upper one the law is the straight line that it is at the bound of ū."""
        return 0.0, float(max(self.mi_bits.max(), 0) + np.log2(FAR) / 2)

    @cached_property
    def imax_grid_bits(self) -> FloatArray:
        """A grid over Imax, wider than its bounds and denser where it is small."""
        highest = self.imax_bounds_bits[1] + float(np.log2(BEYOND))
        return np.asarray(highest * np.linspace(0, 1, GRID_POINTS) ** 1.5)

    @cached_property
    def log_ubar_grid(self) -> FloatArray:
        """A grid over ln ū, wider than its bounds."""
        low, high = self.log_depth_bounds
        return np.linspace(low - np.log(BEYOND), high + np.log(BEYOND), GRID_POINTS)

    def sum_of_squares(self, imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
        """Squared residuals summed over the points, in bits², for parameters of any (broadcast) shape."""
        # Eq. 1 as ½ log2(1 + (2^(2 Imax) - 1) u / (u + ū)): a tenth of the time, and exact enough for a search.
        share = 1 / (1 + np.exp(log_ubar[..., None] - self.log_depth))
        signal = np.expm1(NATS_PER_TWO_BITS * np.minimum(imax_bits, LARGEST_IMAX_BITS))[..., None]
        residuals = np.log(1 + signal * share) / NATS_PER_TWO_BITS - self.mi_bits
        return np.asarray((residuals**2).sum(axis=-1))

    def sum_of_squares_at_ubar(self, log_ubar: FloatArray, imax_bits: FloatArray) -> FloatArray:
        """The same, with the parameter that is held first."""
        return self.sum_of_squares(imax_bits, log_ubar)


Surface = Callable[[FloatArray, FloatArray], FloatArray]


def minimum_along(surface: Surface, held: FloatArray, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Minimises ``surface(held, free)`` over ``free`` for every held value.

    ``held`` (n,), ``grid`` (g,) increasing. Returns the best free values (n,) and the minima (n,).
    """
    best = surface(held[:, None], grid[None, :]).argmin(axis=1)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    for _ in range(GOLDEN_STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        is_left = surface(held, left) < surface(held, right)
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    return _vertex(surface, held, low, high)


def _vertex(surface: Surface, held: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The best of both ends of a short bracket and of the vertex of the parabola through it."""
    middle = (low + high) / 2
    left, centre, right = surface(held, np.stack([low, middle, high]))
    bend = np.maximum(left - 2 * centre + right, np.finfo(float).eps ** 2)
    share = np.clip((left - right) / (2 * bend), -1, 1)
    candidates = np.stack([low, middle + share * (high - low) / 2, high])
    values = surface(held, candidates)
    chosen = values.argmin(axis=0)[None, :]
    free, minimum = (np.take_along_axis(array, chosen, axis=0)[0] for array in (candidates, values))
    return free, minimum


@dataclass(frozen=True)
class Optimum:
    """The least-squares estimate of Eq. 1."""

    imax_bits: float
    log_ubar: float
    sum_of_squares: float
    converged: bool
    at_bound: bool = False

    @property
    def ubar(self) -> float:
        """ū in UMIs per cell."""
        return float(np.exp(self.log_ubar))

    def at(self, depth: FloatArray) -> FloatArray:
        """The fitted law at depths in UMIs per cell, in bits."""
        return noise_law(depth, self.imax_bits, self.ubar)


def least_squares_optimum(points: Points) -> Optimum:
    """The best fit over all valleys: the lowest local minima of the profile over ū are refined."""
    log_ubar = np.linspace(*points.log_depth_bounds, GRID_POINTS)
    imax_bits, minima = minimum_along(points.sum_of_squares_at_ubar, log_ubar, points.imax_grid_bits)
    starts = [(imax_bits[i], log_ubar[i]) for i in _valleys(minima)]
    best = min((_refine(points, *start) for start in starts), key=lambda found: found.sum_of_squares)
    at_bound = _is_at_bound(best, sum_at_bounds=min(minima[0], minima[-1]))
    return replace(best, at_bound=at_bound)


def _is_at_bound(found: Optimum, sum_at_bounds: float) -> bool:
    """Whether Imax is 0, or a fit with ū at its bound is as good as the best."""
    tied = found.sum_of_squares * (1 + AT_BOUND) + AT_BOUND**2
    return bool(found.imax_bits < AT_BOUND or sum_at_bounds <= tied)


def _valleys(minima: FloatArray) -> list[int]:
    """Positions of the three lowest local minima of a sequence."""
    padded = np.concatenate([[np.inf], minima, [np.inf]])
    local = np.flatnonzero((minima <= padded[:-2]) & (minima <= padded[2:]))
    return [int(i) for i in local[np.argsort(minima[local], kind="stable")][:3]]


def _refine(points: Points, imax_bits: float, log_ubar: float) -> Optimum:
    from scipy.optimize import least_squares

    def residuals(theta: FloatArray) -> FloatArray:
        return law_of_logs(points.log_depth, theta[0], theta[1]) - points.mi_bits

    def slopes(theta: FloatArray) -> FloatArray:
        return law_slopes(points.log_depth, theta[0], theta[1])

    low, high = np.array([(0.0, points.imax_grid_bits[-1]), points.log_depth_bounds]).T
    found = least_squares(
        residuals,
        np.clip([imax_bits, log_ubar], low + 1e-9, high - 1e-9),
        jac=slopes,
        bounds=(low, high),
        xtol=1e-14,
        ftol=1e-14,
        gtol=1e-14,
        max_nfev=400,
    )
    is_settled = found.status > 0 and found.optimality <= 1e-5 * found.cost + 1e-8
    return Optimum(float(found.x[0]), float(found.x[1]), float(2 * found.cost), bool(is_settled))
