"""The cell-number law (B3) and its least squares: linear in two of three parameters, so one search over the exponent.

``I(N) = I∞ - (N/Nsat)^(-s)``: information in bits, N in training cells. Nsat is where 1 bit is missing.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.equations import FloatArray

MOST_CELLS: Final = 1e12
"""Nsat beyond this counts as infinite: the curve rises like the logarithm of N, without a plateau."""
FEWEST_CELLS: Final = 1e-6
"""Nsat below this counts as zero: no dependence on N."""
EXPONENT_BOUNDS: Final = (1e-3, 20.0)
"""Below, the law is a logarithm; above, a step at the smallest size."""
GRID_POINTS: Final = 200
AT_BOUND: Final = 1e-6


def cell_number_law(
    n_cells: npt.ArrayLike, i_inf_bits: npt.ArrayLike, n_sat: npt.ArrayLike, exponent: npt.ArrayLike
) -> FloatArray:
    """Information at a number of training cells by B3, in bits; shapes broadcast.

    Unbounded below for few cells; infinite N gives ``i_inf_bits``.
    """
    log_ratio = np.log(np.asarray(n_cells, dtype=np.float64)) - np.log(np.asarray(n_sat, dtype=np.float64))
    return np.asarray(i_inf_bits - np.exp(-np.asarray(exponent) * log_ratio))


def cell_number_slopes(n_cells: FloatArray, n_sat: float, exponent: float) -> FloatArray:
    """Derivatives of B3 by (I∞, ln Nsat, ln s) at each number of cells, (n, 3)."""
    log_ratio = np.log(n_cells / n_sat)
    missing = np.exp(-exponent * log_ratio)
    return np.column_stack([np.ones_like(missing), -exponent * missing, exponent * log_ratio * missing])


@dataclass(frozen=True, eq=False)
class SizePoints:
    """What is fitted: training cells (n_points,) and information (n_points,) in bits."""

    n_cells: FloatArray
    mi_bits: FloatArray

    @cached_property
    def log_cells(self) -> FloatArray:
        """ln N over the smallest N, so that powers of it stay small."""
        return np.asarray(np.log(self.n_cells / self.n_cells.min()))

    @cached_property
    def log_n_sat_bounds(self) -> tuple[float, float]:
        """Bounds of ln Nsat."""
        return float(np.log(FEWEST_CELLS)), float(np.log(MOST_CELLS))

    @property
    def log_exponent_grid(self) -> FloatArray:
        """A grid over ln s."""
        low, high = EXPONENT_BOUNDS
        return np.asarray(np.log(np.geomspace(low, high, GRID_POINTS)))

    def powers(self, log_exponent: FloatArray) -> FloatArray:
        """(N / smallest N)^(-s), one more axis (n_points) than the exponents."""
        return np.asarray(np.exp(-np.exp(log_exponent)[..., None] * self.log_cells))

    def amplitude(self, powers: FloatArray, largest: FloatArray | float = np.inf) -> FloatArray:
        """The best bits missing at the smallest N, when I∞ is free too: between 0 and ``largest``."""
        centred = powers - powers.mean(axis=-1, keepdims=True)
        slope = -(centred @ (self.mi_bits - self.mi_bits.mean())) / (centred**2).sum(axis=-1)
        return np.asarray(np.clip(slope, 0, largest))

    def bounded_amplitude(self, log_exponent: FloatArray) -> FloatArray:
        """The best bits missing at the smallest N with Nsat within its bound."""
        room = self.log_n_sat_bounds[1] - np.log(self.n_cells.min())
        return self.amplitude(self.powers(log_exponent), np.exp(np.minimum(np.exp(log_exponent) * room, 500)))

    def sum_of_squares(self, log_exponent: FloatArray) -> FloatArray:
        """Squared residuals at the best I∞ and Nsat for each ln s, in bits²."""
        rise = self.mi_bits + self.bounded_amplitude(log_exponent)[..., None] * self.powers(log_exponent)
        return np.asarray(((rise - rise.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))

    def sum_at_exponent(self, log_exponent: FloatArray) -> FloatArray:
        """The same without a bound of Nsat: the profile of ln s."""
        powers = self.powers(log_exponent)
        rise = self.mi_bits + self.amplitude(powers)[..., None] * powers
        return np.asarray(((rise - rise.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))

    def sum_at_i_inf(self, i_inf_bits: FloatArray, log_exponent: FloatArray) -> FloatArray:
        """Squared residuals with I∞ held, at the best Nsat for each ln s; shapes broadcast."""
        powers = self.powers(log_exponent)
        missing = i_inf_bits[..., None] - self.mi_bits
        amplitude = np.maximum((powers * missing).sum(axis=-1) / (powers**2).sum(axis=-1), 0)
        return np.asarray(((missing - amplitude[..., None] * powers) ** 2).sum(axis=-1))

    def sum_at_n_sat(self, log_n_sat: FloatArray, log_exponent: FloatArray) -> FloatArray:
        """Squared residuals with ln Nsat held, at the best I∞ for each ln s; shapes broadcast."""
        log_missing = np.exp(log_exponent) * (log_n_sat - np.log(self.n_cells.min()))
        rise = self.mi_bits + np.exp(np.minimum(log_missing, 300))[..., None] * self.powers(log_exponent)
        return np.asarray(((rise - rise.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


@dataclass(frozen=True)
class SizeOptimum:
    """The least-squares estimate of B3."""

    i_inf_bits: float
    n_sat: float
    exponent: float
    sum_of_squares: float
    converged: bool
    at_bound: bool

    def at(self, n_cells: FloatArray) -> FloatArray:
        """The fitted law at numbers of cells, in bits."""
        if self.n_sat == 0:
            return np.full(np.shape(n_cells), self.i_inf_bits)
        return cell_number_law(n_cells, self.i_inf_bits, self.n_sat, self.exponent)


def cell_number_optimum(points: SizePoints) -> SizeOptimum:
    """The best fit over the whole range of exponents."""
    from scipy.optimize import minimize_scalar

    grid = points.log_exponent_grid
    sums = points.sum_of_squares(grid)
    best = int(sums.argmin())
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(
        lambda value: float(points.sum_of_squares(np.array([value]))[0]),
        bounds=around,
        method="bounded",
        options={"xatol": 1e-9},
    )
    return _optimum(points, float(found.x), bool(found.success))


def _optimum(points: SizePoints, log_exponent: float, converged: bool) -> SizeOptimum:
    held = np.array([log_exponent])
    amplitude, exponent = float(points.bounded_amplitude(held)[0]), float(np.exp(log_exponent))
    n_sat = float(points.n_cells.min() * amplitude ** (1 / exponent))
    at_bound = (
        amplitude < AT_BOUND
        or n_sat > MOST_CELLS * (1 - AT_BOUND)
        or not np.log(EXPONENT_BOUNDS[0]) + AT_BOUND < log_exponent < np.log(EXPONENT_BOUNDS[1]) - AT_BOUND
    )
    return SizeOptimum(
        i_inf_bits=float((points.mi_bits + amplitude * points.powers(held)[0]).mean()),
        n_sat=n_sat,
        exponent=exponent,
        sum_of_squares=float(points.sum_of_squares(held)[0]),
        converged=converged,
        at_bound=at_bound,
    )
