"""Whether a curve contradicts Eq. 1: its residuals against noise, as a whole and along the slope of the law.

Noise is what remains of the seeds' deviations after each seed has had its own Imax and ū, so that differences between
seeds do not hide misfit. Along the slope: the residuals' part that a law with a free slope, Eq1((u/ū)^γ), would take
up first; that shows with one seed too, against the other residuals. Linearised; nothing is fitted again.
"""

import numpy as np

from nsl_assets.laws.curve import Levels
from nsl_assets.laws.equations import FloatArray, law_slopes
from nsl_assets.laws.error_model import SMALLEST_SD_BITS, seed_noise
from nsl_assets.laws.search import Optimum


def misfit_p_values(levels: Levels, optimum: Optimum) -> tuple[float, ...]:
    """p-values of the F tests that a curve allows: misfit as a whole (several seeds), misfit along the slope.

    Empty where the residuals are rounding errors or no degrees of freedom are left.
    """
    from scipy.special import fdtrc

    log_depth = np.log(levels.depth)
    slopes = law_slopes(log_depth, optimum.imax_bits, optimum.log_ubar)
    counts = np.isfinite(levels.by_seed_bits).sum(axis=1)
    residuals = np.sqrt(counts) * (levels.mean_bits - optimum.at(levels.depth))
    if residuals @ residuals <= len(residuals) * SMALLEST_SD_BITS**2:
        return ()
    direction = _slope_direction(log_depth, slopes, optimum.log_ubar, np.sqrt(counts))
    along, whole = float(direction @ residuals) ** 2, float(residuals @ residuals)
    variance, free = seed_noise(levels, slopes)
    if free > 0 and variance > SMALLEST_SD_BITS**2:
        n_rest = len(residuals) - 2
        return float(fdtrc(n_rest, free, whole / n_rest / variance)), float(fdtrc(1, free, along / variance))
    n_rest = len(residuals) - 3
    if n_rest < 1 or whole - along <= 0:
        return ()
    return (float(fdtrc(1, n_rest, along / ((whole - along) / n_rest))),)


def _slope_direction(log_depth: FloatArray, slopes: FloatArray, log_ubar: float, weight: FloatArray) -> FloatArray:
    """Unit vector along the derivative of Eq. 1 by γ at γ = 1, free of what Imax and ū can do, (n_levels,)."""
    log_ratio = np.where(np.isfinite(log_depth), log_depth - log_ubar, 0)
    columns = weight[:, None] * np.column_stack([slopes, -log_ratio * slopes[:, 1]])
    return np.asarray(np.linalg.qr(columns)[0][:, 2])
