"""How uncertain a fitted noise law is: the error model of a curve and what it allows a profile to rise by.

Error model. A seed mean at a level deviates from the law by an independent error (misfit, thinning and
training noise; one common variance, estimated from the residuals of the seed means). On top, every seed has its
own Imax and ū: its subsample, initialisation and probe serve all its levels, so its residuals are correlated,
and no residual of the seed means shows it. How far seeds differ follows from linearised fits of each seed, less
what independent errors explain (at least 0).

An interval holds the values of a parameter whose profile sum of squares exceeds the minimum by at most
``s² (F(1, n_levels - 2) + ratio F(1, n_seeds - 1))``: F are quantiles of the F distribution, and ratio is the
parameter's variance from seeds over that from independent errors (Cochran's combination of two variances).
With one seed, differences between seeds cannot be seen: the ratio is 0.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from nsl_assets.laws.curve import Levels
from nsl_assets.laws.equations import FloatArray, law_slopes
from nsl_assets.laws.search import Optimum, Points

SMALLEST_SD_BITS: Final = 1e-6
"""Residuals below this are rounding errors."""


@dataclass(frozen=True, eq=False)
class SeedScatter:
    """How far the seeds' own (Imax, ln ū) differ, beyond independent errors."""

    covariance: FloatArray
    """Method-of-moments covariance between seeds, (2, 2); a direction may come out negative: then it counts 0."""
    n_seeds: int

    def variance_of_mean(self, contrast: FloatArray) -> float:
        """Variance, from seeds, of the mean over seeds of a quantity with this gradient (2,)."""
        return max(float(contrast @ self.covariance @ contrast), 0.0) / self.n_seeds


NO_SCATTER: Final = SeedScatter(np.zeros((2, 2)), 1)


def seed_scatter(levels: Levels, slopes: FloatArray) -> SeedScatter:
    """Differences between seeds by linearised fits of each; ``slopes`` (n_levels, 2) are those of the fitted law.

    Levels with one seed and seeds with fewer than three such levels tell nothing and are left out.
    """
    parts = _seed_parts(levels, slopes)
    if parts is None:
        return NO_SCATTER
    shifts, inverses, variance, _ = parts
    by_chance = np.mean([inverse @ inverse.T for inverse in inverses], axis=0) * variance
    return SeedScatter(np.cov(shifts) - by_chance, shifts.shape[1])


def seed_noise(levels: Levels, slopes: FloatArray) -> tuple[float, int]:
    """Variance (bits²) of independent errors of a point, from what seeds deviate beyond their own Imax and ū.

    Returns it with its degrees of freedom; (0, 0) where seeds cannot be compared. ``slopes`` as in ``seed_scatter``.
    """
    parts = _seed_parts(levels, slopes)
    return (0.0, 0) if parts is None else (parts[2], parts[3])


def _seed_parts(levels: Levels, slopes: FloatArray) -> tuple[FloatArray, list[FloatArray], float, int] | None:
    """Shifts of the seeds' (Imax, ln ū), (2, n_seeds); what made them; the variance left over and its freedom."""
    deviations = _deviations(levels.by_seed_bits)
    measured = np.isfinite(deviations)
    n_seeds = deviations.shape[1]
    free = int(measured.sum() - measured.any(axis=1).sum()) - 2 * (n_seeds - 1)
    if n_seeds < 2 or free < 1:
        return None
    inverses = [np.linalg.pinv(slopes[rows]) for rows in measured.T]
    shifts = np.transpose(
        [
            inverse @ deviations[rows, seed]
            for seed, (inverse, rows) in enumerate(zip(inverses, measured.T, strict=True))
        ]
    )
    unexplained = deviations - slopes @ shifts
    return shifts, inverses, float(np.nansum(unexplained**2)) / free, free


def _deviations(by_seed_bits: FloatArray) -> FloatArray:
    """Deviations of the seeds from the mean of their level, (n_levels, n_comparable_seeds); NaN where untold."""
    is_shared = np.isfinite(by_seed_bits).sum(axis=1) > 1
    table = np.where(is_shared[:, None], by_seed_bits, np.nan)
    table = table[:, np.isfinite(table).sum(axis=0) > 2]
    counts = np.isfinite(table).sum(axis=1)
    means = np.nansum(table, axis=1) / np.maximum(counts, 1)
    return np.asarray(table - means[:, None])


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Variance of the estimate of (Imax, ln ū) by linearisation, and the thresholds of its profiles."""

    points: Points
    optimum: Optimum
    scatter: SeedScatter
    confidence: float

    @cached_property
    def slopes(self) -> FloatArray:
        """Derivatives of the fitted curve by (Imax, ln ū), (n_points, 2)."""
        return law_slopes(self.points.log_depth, self.optimum.imax_bits, self.optimum.log_ubar)

    @property
    def degrees_of_freedom(self) -> int:
        """Points less two parameters."""
        return len(self.points.depth) - 2

    @cached_property
    def residual_variance(self) -> float:
        """Variance of the independent errors in bits²; not below rounding."""
        return max(self.optimum.sum_of_squares / self.degrees_of_freedom, SMALLEST_SD_BITS**2)

    @cached_property
    def residual_covariance(self) -> FloatArray:
        """Covariance of (Imax, ln ū) from independent errors alone; inf where the data leave one free."""
        information = self.slopes.T @ self.slopes
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return np.full((2, 2), np.inf)
        return np.asarray(self.residual_variance * np.linalg.inv(information))

    @property
    def covariance(self) -> FloatArray:
        """Covariance of (Imax, ln ū) from independent errors and from seeds, (2, 2)."""
        return np.asarray(self.residual_covariance + _positive_part(self.scatter.covariance) / self.scatter.n_seeds)

    def threshold(self, contrast: FloatArray) -> float:
        """Allowed excess of the profile sum of squares, bits², for a parameter with this gradient (2,)."""
        from scipy.special import fdtri

        allowed = fdtri(1, self.degrees_of_freedom, self.confidence)
        ratio = self._seed_over_residual_variance(contrast)
        if ratio > 0:
            allowed += ratio * fdtri(1, self.scatter.n_seeds - 1, self.confidence)
        return float(self.residual_variance * allowed)

    def _seed_over_residual_variance(self, contrast: FloatArray) -> float:
        inverse = np.linalg.pinv(self.slopes.T @ self.slopes)
        residual = self.residual_variance * float(contrast @ inverse @ contrast)
        return self.scatter.variance_of_mean(contrast) / residual if residual > 0 else 0.0


def _positive_part(covariance: FloatArray) -> FloatArray:
    """The nearest covariance without negative variances, (2, 2)."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)
