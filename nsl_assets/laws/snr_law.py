"""Eq. 1 as a function of the logarithm of an SNR, with both slopes: the piece that all joint and rival laws share."""

import numpy as np

from nsl_assets.laws.equations import NATS_PER_TWO_BITS, FloatArray


def bits_of_snr(imax_bits: FloatArray, log_snr: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Eq. 1 at ln(u/ū), and its slopes by Imax and by ln(u/ū); shapes broadcast."""
    log_signal = log_snr + NATS_PER_TWO_BITS * imax_bits
    signal = logistic(log_signal)
    bits = (np.logaddexp(0, log_signal) - np.logaddexp(0, log_snr)) / NATS_PER_TWO_BITS
    return bits, signal, (signal - logistic(log_snr)) / NATS_PER_TWO_BITS


def logistic(value: FloatArray) -> FloatArray:
    """1 / (1 + exp(-value)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(value / 2)))
