"""Intervals of the cell-number law: profile likelihood with differences between seeds, or ± 1 σ as published."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from nsl_assets.laws.cell_number_law import EXPONENT_BOUNDS, SizeOptimum, SizePoints, cell_number_slopes
from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.error_model import SMALLEST_SD_BITS, SeedScatter
from nsl_assets.laws.intervals import Ends
from nsl_assets.laws.profile import Profile
from nsl_assets.laws.search import Surface, minimum_along
from nsl_assets.laws.settings import Interval

N_PARAMETERS: Final = 3
MOST_BITS_BEYOND: Final = 40.0
"""I∞ this far above what was measured counts as infinite."""


@dataclass(frozen=True)
class CellNumberIntervals:
    """Lower and upper ends; 0 or inf where the data leave a side open."""

    i_inf_bits: Ends
    n_sat: Ends
    exponent: Ends


@dataclass(frozen=True, eq=False)
class SizeErrors:
    """Errors of a fitted cell-number law; see ``error_model`` for the idea."""

    points: SizePoints
    optimum: SizeOptimum
    scatter: SeedScatter | None
    """Differences between seeds; None where they cannot be seen."""
    confidence: float

    @cached_property
    def slopes(self) -> FloatArray:
        """Derivatives of the fitted curve by (I∞, ln Nsat, ln s), (n_points, 3)."""
        if self.optimum.n_sat == 0:
            return np.column_stack([np.ones_like(self.points.n_cells), np.zeros((len(self.points.n_cells), 2))])
        return cell_number_slopes(self.points.n_cells, self.optimum.n_sat, self.optimum.exponent)

    @cached_property
    def residual_variance(self) -> float:
        """Variance of the independent errors in bits²; not below rounding."""
        free = max(len(self.points.n_cells) - N_PARAMETERS, 1)
        return max(self.optimum.sum_of_squares / free, SMALLEST_SD_BITS**2)

    @cached_property
    def covariance(self) -> FloatArray:
        """Covariance of (I∞, ln Nsat, ln s), (3, 3); inf where the data leave one of them free."""
        information = self.slopes.T @ self.slopes
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return np.full((N_PARAMETERS, N_PARAMETERS), np.inf)
        between = np.zeros_like(information)
        if self.scatter is not None:
            values, vectors = np.linalg.eigh(self.scatter.covariance)
            between = (vectors * np.maximum(values, 0)) @ vectors.T / self.scatter.n_seeds
        return np.asarray(self.residual_variance * np.linalg.inv(information) + between)

    def threshold(self, contrast: FloatArray) -> float:
        """Allowed excess of the profile sum of squares, bits², for a parameter with this gradient (3,)."""
        from scipy.special import fdtri

        allowed = fdtri(1, max(len(self.points.n_cells) - N_PARAMETERS, 1), self.confidence)
        residual = self.residual_variance * float(contrast @ np.linalg.pinv(self.slopes.T @ self.slopes) @ contrast)
        if self.scatter is not None and residual > 0:
            ratio = self.scatter.variance_of_mean(contrast) / residual
            allowed += ratio * fdtri(1, self.scatter.n_seeds - 1, self.confidence)
        return float(self.residual_variance * allowed)


def cell_number_intervals(kind: Interval, errors: SizeErrors) -> CellNumberIntervals:
    """The intervals of the kind that the settings ask for."""
    if kind == "one_sigma_published":
        return _one_sigma(errors)
    return CellNumberIntervals(
        i_inf_bits=_open_ended(_i_inf_profile(errors), errors, low=-np.inf),
        n_sat=_exponentials(_open_ended(_n_sat_profile(errors), errors, low=-np.inf)),
        exponent=_exponentials(_open_ended(_exponent_profile(errors), errors, low=-np.inf)),
    )


def _i_inf_profile(errors: SizeErrors) -> Profile:
    points = errors.points
    bounds = float(points.mi_bits.min() - MOST_BITS_BEYOND), float(points.mi_bits.max() + MOST_BITS_BEYOND)
    return _profile(errors, points.sum_at_i_inf, errors.optimum.i_inf_bits, bounds, parameter=0)


def _n_sat_profile(errors: SizeErrors) -> Profile:
    bounds = errors.points.log_n_sat_bounds
    with np.errstate(divide="ignore"):
        estimate = float(np.clip(np.log(errors.optimum.n_sat), *bounds))
    return _profile(errors, errors.points.sum_at_n_sat, estimate, bounds, parameter=1)


def _exponent_profile(errors: SizeErrors) -> Profile:
    def deviance(log_exponent: FloatArray) -> FloatArray:
        return np.asarray(errors.points.sum_at_exponent(log_exponent) - errors.optimum.sum_of_squares)

    low, high = np.log(EXPONENT_BOUNDS)
    return Profile(deviance, float(np.log(errors.optimum.exponent)), (float(low), float(high)), _unit(2))


def _profile(
    errors: SizeErrors, surface: Surface, estimate: float, bounds: tuple[float, float], parameter: int
) -> Profile:
    def deviance(values: FloatArray) -> FloatArray:
        minima = minimum_along(surface, values, errors.points.log_exponent_grid)[1]
        return minima - errors.optimum.sum_of_squares

    return Profile(deviance, estimate, bounds, _unit(parameter))


def _unit(parameter: int) -> FloatArray:
    return np.asarray(np.eye(N_PARAMETERS)[parameter])


def _open_ended(profile: Profile, errors: SizeErrors, low: float) -> Ends:
    ends = profile.interval(errors.threshold(profile.contrast))
    return (
        low if ends[0] <= profile.bounds[0] else ends[0],
        np.inf if ends[1] >= profile.bounds[1] else ends[1],
    )


def _exponentials(log_ends: Ends) -> Ends:
    return float(np.exp(log_ends[0])), float(np.exp(log_ends[1]))


def _one_sigma(errors: SizeErrors) -> CellNumberIntervals:
    optimum, sd = errors.optimum, np.sqrt(np.diag(errors.covariance))
    return CellNumberIntervals(
        i_inf_bits=(float(optimum.i_inf_bits - sd[0]), float(optimum.i_inf_bits + sd[0])),
        n_sat=_relative(optimum.n_sat, sd[1]),
        exponent=_relative(optimum.exponent, sd[2]),
    )


def _relative(estimate: float, relative_sd: float) -> Ends:
    half = estimate * relative_sd if estimate > 0 else 0.0
    return max(estimate - half, 0.0), estimate + half
