"""The noise law (Eq. 1), its slopes and its inversion (C4), stable over the whole range of depths.

Depth is in UMIs per cell (or any other power SNR), information in bits. Nothing here is fitted.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
NATS_PER_TWO_BITS: Final = 2 * np.log(2)


def noise_law(depth: npt.ArrayLike, imax_bits: npt.ArrayLike, ubar: npt.ArrayLike) -> FloatArray:
    """Information at a depth by Eq. 1: ``Imax - ½ log2((1 + u/ū) / (u/ū + 2^(-2 Imax)))``, in bits.

    Shapes broadcast. ``depth`` and ``ubar`` are in UMIs per cell, ``imax_bits >= 0``; depth 0 gives 0 bits
    and infinite depth (no noise) gives ``imax_bits``, also where ``2^(2 Imax)`` would overflow.
    """
    with np.errstate(divide="ignore"):
        log_depth = np.log(np.asarray(depth, dtype=np.float64))
        log_ubar = np.log(np.asarray(ubar, dtype=np.float64))
    return law_of_logs(log_depth, np.asarray(imax_bits, dtype=np.float64), log_ubar)


def law_of_logs(log_depth: FloatArray, imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
    """Eq. 1 as ½ log2((1 + r 2^(2 Imax)) / (1 + r)), ln r = ``log_depth - log_ubar``; shapes broadcast."""
    log_ratio = log_depth - log_ubar
    with np.errstate(invalid="ignore"):  # inf - inf, replaced by the limit below
        nats = np.logaddexp(0, log_ratio + NATS_PER_TWO_BITS * imax_bits) - np.logaddexp(0, log_ratio)
    return np.where(np.isposinf(log_ratio), imax_bits, nats / NATS_PER_TWO_BITS)


def law_slopes(log_depth: FloatArray, imax_bits: float, log_ubar: float) -> FloatArray:
    """Derivatives of Eq. 1 by Imax and by ln ū at each depth, shape (n_depths, 2)."""
    log_ratio = log_depth - log_ubar
    signal = _logistic(log_ratio + NATS_PER_TWO_BITS * imax_bits)
    return np.column_stack([signal, (_logistic(log_ratio) - signal) / NATS_PER_TWO_BITS])


def _logistic(value: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(value / 2)))


def depth_for(information_bits: npt.ArrayLike, imax_bits: npt.ArrayLike, ubar: npt.ArrayLike) -> FloatArray:
    """Depth at which the law reaches an information, by C4: ``ū (2^(2I) - 1) / (2^(2 Imax) - 2^(2I))``.

    Shapes broadcast; UMIs per cell. The law never exceeds Imax: the depth is infinite at or above it, and 0
    at or below 0 bits.
    """
    with np.errstate(divide="ignore"):
        log_depth = np.log(np.asarray(ubar, dtype=np.float64)) + log_depth_over_ubar(
            np.asarray(information_bits, dtype=np.float64), np.asarray(imax_bits, dtype=np.float64)
        )
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(log_depth))


def log_depth_over_ubar(information_bits: FloatArray, imax_bits: FloatArray) -> FloatArray:
    """ln(u/ū) at which the law reaches an information; -inf at 0 bits, inf at Imax. Shapes broadcast."""
    reached = np.maximum(NATS_PER_TWO_BITS * information_bits, 0)
    missing = np.maximum(NATS_PER_TWO_BITS * (imax_bits - information_bits), 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(-np.expm1(-reached)) - missing - np.log(-np.expm1(-missing))
    return np.where(missing == 0, np.inf, ratio)
