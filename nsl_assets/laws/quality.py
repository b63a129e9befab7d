"""How well a fitted noise law describes its curve: R², residuals, and misfit against pure seed error."""

from dataclasses import dataclass

import numpy as np

from nsl_assets.laws.curve import Levels
from nsl_assets.laws.equations import FloatArray


@dataclass(frozen=True)
class Quality:
    """Figures of merit of one fit; see NoiseLawFit."""

    r2_seed_means: float
    r2_points: float
    residual_autocorrelation: float
    lack_of_fit_p: float | None


def quality_of(levels: Levels, fitted_bits: FloatArray) -> Quality:
    """Figures of merit for the fitted curve at the levels, (n_levels,) in bits."""
    table = levels.by_seed_bits
    measured = np.isfinite(table)
    fitted_table = np.broadcast_to(fitted_bits[:, None], table.shape)
    return Quality(
        r2_seed_means=r_squared(levels.mean_bits, fitted_bits),
        r2_points=r_squared(table[measured], fitted_table[measured]),
        residual_autocorrelation=_lag_one(levels.mean_bits - fitted_bits),
        lack_of_fit_p=_lack_of_fit_p(levels, fitted_bits),
    )


def r_squared(measured: FloatArray, fitted: FloatArray) -> float:
    """1 - residual / total sum of squares; NaN where nothing varies."""
    total = float(((measured - measured.mean()) ** 2).sum())
    residual = float(((measured - fitted) ** 2).sum())
    return 1 - residual / total if total > 0 else float("nan")


def _lag_one(residuals: FloatArray) -> float:
    power = float((residuals**2).sum())
    return float((residuals[1:] * residuals[:-1]).sum()) / power if power > 0 else float("nan")


def _lack_of_fit_p(levels: Levels, fitted_bits: FloatArray) -> float | None:
    """F test of the seed means' misfit against the spread of seeds within levels."""
    from scipy.special import fdtrc

    counts = np.isfinite(levels.by_seed_bits).sum(axis=1)
    free_pure, free_misfit = int((counts - 1).sum()), len(counts) - 2
    pure = np.nansum((levels.by_seed_bits - levels.mean_bits[:, None]) ** 2)
    if free_pure == 0 or pure == 0:
        return None
    misfit = (counts * (levels.mean_bits - fitted_bits) ** 2).sum()
    return float(fdtrc(free_misfit, free_pure, (misfit / free_misfit) / (pure / free_pure)))
