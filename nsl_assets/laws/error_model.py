"""How uncertain a fitted noise law is: the error model of a curve and what it allows a profile to rise by.

Error model. A seed mean at a level deviates from the law by an independent error (misfit, thinning and
training noise; one common variance, estimated from the residuals of the seed means) and by the mean of seed
gains: every seed multiplies its whole curve by a factor, which no residual of the seed means can show. The
variance of the gains comes from the differences between seeds (two-way decomposition, floored at zero).

An interval holds the values of a parameter whose profile sum of squares exceeds the minimum by at most
``s² (F(1, n_levels - 2) + ratio F(1, n_seeds - 1))``: F are quantiles of the F distribution, and ratio is the
parameter's variance from seed gains over that from independent errors (Cochran's combination of two variances;
Satterthwaite's held 85-93 %). With one seed, gains cannot be seen: the ratio is 0.
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


@dataclass(frozen=True)
class Gain:
    """Between-seed factor on the whole curve."""

    variance: float
    """Variance of the factor between seeds, relative to the curve; 0 where it cannot be seen."""
    n_seeds: int

    @property
    def variance_of_mean(self) -> float:
        """Variance of the mean factor over the seeds."""
        return self.variance / self.n_seeds


NO_GAIN: Final = Gain(0.0, 1)


def seed_gain(levels: Levels, fitted_bits: FloatArray) -> Gain:
    """Variance component of seeds that multiply their curve by a factor (method of moments, at least 0)."""
    deviations = (levels.by_seed_bits - levels.mean_bits[:, None]).T
    deviations = deviations[np.isfinite(deviations).sum(axis=1) > 1]
    measured = np.isfinite(deviations)
    shape = np.where(measured, fitted_bits, 0.0)
    power = (shape**2).sum(axis=1)
    n_seeds, free = len(deviations), int(measured.sum() - measured.any(axis=0).sum() - len(deviations) + 1)
    if n_seeds < 2 or free < 1 or not (power > 0).all():
        return NO_GAIN
    gains = (shape * np.nan_to_num(deviations)).sum(axis=1) / power
    within = (np.nan_to_num(deviations - gains[:, None] * shape) ** 2).sum() / free
    between = (power * gains**2).sum() / (n_seeds - 1)
    return Gain(float(max(between - within, 0.0) / power.mean()), n_seeds)


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Variance of the estimate of (Imax, ln ū) by linearisation, and the thresholds of its profiles."""

    points: Points
    optimum: Optimum
    gain: Gain
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

    @cached_property
    def shift_per_gain(self) -> FloatArray:
        """By how much (Imax, ln ū) move when the whole curve is multiplied by 1 + gain, per gain; (2,)."""
        return np.asarray(np.linalg.pinv(self.slopes) @ self.optimum.at(self.points.depth))

    @property
    def covariance(self) -> FloatArray:
        """Covariance of (Imax, ln ū) from independent errors and seed gains, (2, 2)."""
        from_gains = self.gain.variance_of_mean * np.outer(self.shift_per_gain, self.shift_per_gain)
        return np.asarray(self.residual_covariance + from_gains)

    def threshold(self, contrast: FloatArray) -> float:
        """Allowed excess of the profile sum of squares, bits², for a parameter with this gradient (2,)."""
        from scipy.special import fdtri

        allowed = fdtri(1, self.degrees_of_freedom, self.confidence)
        ratio = self._gain_over_residual_variance(contrast)
        if ratio > 0:
            allowed += ratio * fdtri(1, self.gain.n_seeds - 1, self.confidence)
        return float(self.residual_variance * allowed)

    def _gain_over_residual_variance(self, contrast: FloatArray) -> float:
        inverse = np.linalg.pinv(self.slopes.T @ self.slopes)
        residual = self.residual_variance * float(contrast @ inverse @ contrast)
        between = self.gain.variance_of_mean * float(contrast @ self.shift_per_gain) ** 2
        return between / residual if residual > 0 else 0.0
