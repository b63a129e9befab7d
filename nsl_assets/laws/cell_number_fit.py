"""Fits the cell-number law (B3) to information measured at several training sizes, and says how far to trust it."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws.cell_number_intervals import (
    N_PARAMETERS,
    CellNumberIntervals,
    SizeErrors,
    cell_number_intervals,
)
from nsl_assets.laws.cell_number_law import SizeOptimum, SizePoints, cell_number_optimum
from nsl_assets.laws.curve import Curve, Levels, levels_of
from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.error_model import NO_SCATTER, seed_scatter
from nsl_assets.laws.flags import PLATEAU_WIDTH_BITS, _falls_with_depth
from nsl_assets.laws.measurement_interval import NOTHING_OPEN, WEAK_MEANS, OwnUncertainty, own_uncertainty
from nsl_assets.laws.misfit import lack_of_fit_p
from nsl_assets.laws.quality import quality_of
from nsl_assets.laws.settings import Interval, LawSettings

FEW_SIZES: Final = 5

CELL_NUMBER_FLAGS: Final = {
    "no_plateau": "the curve does not bend enough within the measured sizes to fix I∞",
    "at_bound": "the best fit lies at the edge of the possible: no rise, no plateau, or a step",
    "above_ceiling": "I∞ exceeds the entropy of the auxiliary signal, which is impossible",
    "few_sizes": "fewer than 5 distinct training sizes",
    "one_seed": "one seed: differences between seeds cannot be seen, and the intervals leave them out",
    "not_monotone": "information falls with more cells by more than seeds and noise explain",
    "not_replicated": "seeds repeat the same numbers: they are counted once",
    "weak_measurements": WEAK_MEANS,
    "not_converged": "the least-squares search did not settle",
}
"""Every flag of this law with its meaning."""


def curve_over_cells(
    n_cells: npt.ArrayLike,
    mi_bits: npt.ArrayLike,
    seed: npt.ArrayLike,
    *,
    low_bits: FloatArray | None = None,
    high_bits: FloatArray | None = None,
) -> Curve:
    """A curve over training sizes, (n_points,) each: its ``depth`` and ``level`` hold numbers of cells.

    Raises InputError for numbers of cells that are not positive and finite.
    """
    cells = np.asarray(n_cells, dtype=np.float64)
    wrong = ~((cells > 0) & np.isfinite(cells))
    if wrong.any():
        raise InputError(f"a curve has {cells[wrong][0]:g} training cells: positive, finite numbers are expected.")
    return Curve(cells, np.asarray(mi_bits), np.asarray(seed), cells, low_bits, high_bits)


@dataclass(frozen=True)
class CellNumberLawFit:
    """B3 fitted to one curve: bits, and numbers of training cells; open intervals end at 0 or ± inf."""

    i_inf_bits: float
    """Information with infinitely many cells."""
    i_inf_low_bits: float
    i_inf_high_bits: float
    n_sat: float
    """Cells at which 1 bit is missing; 0 where information does not rise with cells."""
    n_sat_low: float
    n_sat_high: float
    exponent: float
    """s: how fast the missing information falls with cells."""
    exponent_low: float
    exponent_high: float
    interval: Interval
    confidence: float
    """Coverage of the profile-likelihood intervals."""
    covariance: tuple[tuple[float, ...], ...]
    """Covariance of (I∞ in bits, ln Nsat, ln s), linearised; inf where the data leave one of them free."""
    r2_seed_means: float
    r2_points: float
    residual_sd_bits: float
    residual_autocorrelation: float
    """Lag-1 autocorrelation of the residuals of the seed means, smallest size first."""
    lack_of_fit_p: float | None
    """p-value of misfit against pure seed error; None with one seed."""
    n_points: int
    """Distinct measurements: a number that only repeats over seeds counts once."""
    n_sizes: int
    n_seeds: int
    most_cells: float
    """The largest measured training size."""
    converged: bool
    flags: tuple[str, ...]
    """What is doubtful: keys of ``CELL_NUMBER_FLAGS``."""


def fit_cell_number_law(curve: Curve, settings: LawSettings, *, ceiling_bits: float | None = None) -> CellNumberLawFit:
    """Fits B3 by least squares over all exponents to a curve from ``curve_over_cells``.

    Corrected: every size counts once, by its seed mean; profile-likelihood intervals, widened where seeds differ.
    Published: raw points pooled as independent, ± 1 σ. ``ceiling_bits`` is H(Y). Nsat beyond 10¹² cells counts as
    infinite. Doubtful fits are flagged, never refused; raises MeasurementError with fewer than 4 sizes.
    """
    _check_sizes(curve)
    pooled = settings.used_interval == "one_sigma_published"
    levels = levels_of(curve, keep_repeats=pooled)
    points = SizePoints(curve.depth, curve.mi_bits) if pooled else SizePoints(levels.depth, levels.mean_bits)
    errors = SizeErrors(points, cell_number_optimum(points), None, settings.confidence)
    if not pooled:
        scatter = seed_scatter(levels, errors.slopes)
        errors = SizeErrors(points, errors.optimum, None if scatter is NO_SCATTER else scatter, settings.confidence)
    own = NOTHING_OPEN if pooled else own_uncertainty(curve)
    return _summary(levels, errors, settings, ceiling_bits, own)


def _check_sizes(curve: Curve) -> None:
    sizes = np.unique(curve.depth)
    if len(sizes) <= N_PARAMETERS:
        found = ", ".join(f"{size:g}" for size in sizes) or "none"
        raise MeasurementError(
            f"a curve has {len(sizes)} training sizes ({found}): at least {N_PARAMETERS + 1} are needed to fit three "
            "parameters. Measure more sizes, or wait until they have finished."
        )


def _summary(
    levels: Levels, errors: SizeErrors, settings: LawSettings, ceiling_bits: float | None, own: OwnUncertainty
) -> CellNumberLawFit:
    optimum = errors.optimum
    fitted = optimum.at(levels.depth)
    intervals = cell_number_intervals(settings.used_interval, errors)
    quality = quality_of(levels, fitted)
    i_inf_low_bits, i_inf_high_bits = own.widened(intervals.i_inf_bits)
    return CellNumberLawFit(
        i_inf_bits=optimum.i_inf_bits,
        i_inf_low_bits=i_inf_low_bits,
        i_inf_high_bits=i_inf_high_bits,
        n_sat=optimum.n_sat,
        n_sat_low=intervals.n_sat[0],
        n_sat_high=intervals.n_sat[1],
        exponent=optimum.exponent,
        exponent_low=intervals.exponent[0],
        exponent_high=intervals.exponent[1],
        interval=settings.used_interval,
        confidence=settings.confidence,
        covariance=tuple(tuple(row) for row in errors.covariance.tolist()),
        r2_seed_means=quality.r2_seed_means,
        r2_points=quality.r2_points,
        residual_sd_bits=float(np.sqrt(errors.residual_variance)),
        residual_autocorrelation=quality.residual_autocorrelation,
        lack_of_fit_p=lack_of_fit_p(levels, fitted, N_PARAMETERS),
        n_points=levels.n_points,
        n_sizes=len(levels.depth),
        n_seeds=levels.n_seeds,
        most_cells=levels.deepest,
        converged=optimum.converged,
        flags=_flags(levels, optimum, intervals, ceiling_bits, own),
    )


def _flags(
    levels: Levels,
    optimum: SizeOptimum,
    intervals: CellNumberIntervals,
    ceiling_bits: float | None,
    own: OwnUncertainty,
) -> tuple[str, ...]:
    low, high = intervals.i_inf_bits
    earned = {
        "no_plateau": high - low > PLATEAU_WIDTH_BITS,
        "at_bound": optimum.at_bound,
        "above_ceiling": ceiling_bits is not None and optimum.i_inf_bits > ceiling_bits,
        "few_sizes": len(levels.depth) < FEW_SIZES,
        "one_seed": levels.n_seeds < 2,
        "not_monotone": _falls_with_depth(levels),
        "not_replicated": not levels.is_replicated,
        "weak_measurements": own.is_weak,
        "not_converged": not optimum.converged,
    }
    return tuple(flag for flag in CELL_NUMBER_FLAGS if earned[flag])
