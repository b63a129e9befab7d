"""Misfit of the noise law in a comparison of two models: the error that all seeds share.

Misfit is what the residuals of the level means exceed the independent errors of seeds by. Where both models were
measured at the same levels, what they miss alike cancels from their difference.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.bootstrap import BlockedCurve, NoiseLawBootstrap, Quantity
from nsl_assets.laws.equations import FloatArray, law_of_logs, law_slopes
from nsl_assets.laws.surface import bounded_log

N_PARAMETERS: Final = 2
STEP: Final = 1e-5
SAME_LEVEL: Final = float(np.log(1.1))


@dataclass(frozen=True, eq=False)
class _Misfit:
    residuals: FloatArray
    """Of the level means around the law, (n_levels,) in bits."""
    variance: float
    """Of misfit, beyond the independent errors of seeds; in bits²."""
    influence: FloatArray
    """Change of the quantity per bit of a level mean, (n_levels,)."""
    log_depth: FloatArray


def misfit_half_width(
    quantity: Quantity,
    pair: tuple[BlockedCurve, BlockedCurve],
    fits: tuple[NoiseLawBootstrap, NoiseLawBootstrap],
    confidence: float,
) -> float:
    """Half width of the interval that misfit alone gives the difference of a quantity between two models."""
    from scipy.special import fdtri

    first, second = (_misfit(quantity, curve, fit) for curve, fit in zip(pair, fits, strict=True))
    variance = sum(one.variance * float(one.influence @ one.influence) for one in (first, second))
    variance -= 2 * _shared_variance(first, second)
    free = max(min(len(first.residuals), len(second.residuals)) - N_PARAMETERS, 1)
    return float(np.sqrt(fdtri(1, free, confidence) * max(variance, 0)))


def _misfit(quantity: Quantity, curve: BlockedCurve, fit: NoiseLawBootstrap) -> _Misfit:
    log_depth = bounded_log(curve.depth)
    by_seed = curve.seed_means()
    slopes = law_slopes(log_depth, fit.imax_bits, fit.log_ubar)
    inverse: FloatArray = np.asarray(np.linalg.pinv(slopes))
    law = law_of_logs(log_depth, np.asarray(fit.imax_bits), np.asarray(fit.log_ubar))
    residuals = np.asarray(np.nanmean(by_seed, axis=1) - law)
    free = max(len(residuals) - N_PARAMETERS, 1)
    variance = float(residuals @ residuals) / free - _error_of_means(by_seed, slopes, inverse)
    return _Misfit(residuals, max(variance, 0.0), _gradient(quantity, fit) @ inverse, log_depth)


def _error_of_means(by_seed: FloatArray, slopes: FloatArray, inverse: FloatArray) -> float:
    """Variance of level means from independent errors of seeds: what a seed's own shift of the law leaves."""
    n_levels, n_seeds = by_seed.shape
    free = (n_seeds - 1) * (n_levels - N_PARAMETERS)
    if free < 1:
        return 0.0
    deviations = np.nan_to_num(by_seed - np.nanmean(by_seed, axis=1, keepdims=True))
    unexplained = deviations - slopes @ (inverse @ deviations)
    return float((unexplained**2).sum() / (free * n_seeds))


def _gradient(quantity: Quantity, fit: NoiseLawBootstrap) -> FloatArray:
    """Derivatives of a quantity by Imax and ln ū, (2,)."""
    centre = np.array([fit.imax_bits, fit.log_ubar])
    ends = [[quantity(*(centre + sign * STEP * unit)) for sign in (1, -1)] for unit in np.eye(2)]
    with np.errstate(invalid="ignore"):
        slopes = np.array([float(above - below) / (2 * STEP) for above, below in ends])
    return np.asarray(np.nan_to_num(slopes))


def _shared_variance(first: _Misfit, second: _Misfit) -> float:
    """Covariance of the two quantities from misfit that both models have at the same levels."""
    if len(first.log_depth) != len(second.log_depth):
        return 0.0
    if np.abs(first.log_depth - second.log_depth).max() > SAME_LEVEL:
        return 0.0
    norm = float(np.linalg.norm(first.residuals) * np.linalg.norm(second.residuals))
    correlation = float(first.residuals @ second.residuals) / norm if norm > 0 else 0.0
    sd = float(np.sqrt(first.variance * second.variance))
    both: float = correlation * sd * float(first.influence @ second.influence)
    return both
