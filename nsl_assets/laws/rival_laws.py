"""Laws that compete with Eq. 1 for the same curve, with their slopes, bounds and starts.

With u the depth: law + floor ``f + Eq1(u)``; law + free slope ``Eq1((u/ū)^γ)``; Hill ``A u^h/(u^h + K^h)``;
Michaelis-Menten ``A u/(u + K)``; log-linear ``A + B ln u``. Information in bits. Amplitudes, scales and exponents
are searched as logarithms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.snr_law import bits_of_snr, logistic

RivalFunction = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Bits (n_levels, n) and slopes (n_parameters, n_levels, n) at theta (n_parameters, n) and ln depth (n_levels, n)."""

FAR: Final = float(np.log(1e6))
SCALE_STARTS: Final = 5


@dataclass(frozen=True)
class Range:
    """Where a parameter is searched, and where the searches start."""

    low: float
    high: float
    starts: tuple[float, ...]


def _amplitude(top_bits: float) -> Range:
    return Range(float(np.log(1e-4)), float(np.log(100 * top_bits)), (float(np.log(1.2 * top_bits)),))


def _scale(log_depth: FloatArray) -> Range:
    low, high = float(log_depth.min()), float(log_depth.max())
    return Range(low - FAR, high + FAR, tuple(np.linspace(low - 1, high + 3, SCALE_STARTS).tolist()))


def _exponent() -> Range:
    return Range(float(np.log(0.05)), float(np.log(20)), (0.0, float(np.log(2))))


def _noise_law(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    imax_bits = np.exp(theta[0])
    bits, by_imax, by_snr = bits_of_snr(imax_bits, log_depth - theta[1])
    return bits, np.stack([by_imax * imax_bits, -by_snr])


def _law_with_floor(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    bits, slopes = _noise_law(theta[:2], log_depth)
    return bits + theta[2], np.concatenate([slopes, np.ones((1, *bits.shape))])


def _law_with_free_slope(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    imax_bits, slope = np.exp(theta[0]), np.exp(theta[2])
    log_snr = slope * (log_depth - theta[1])
    bits, by_imax, by_snr = bits_of_snr(imax_bits, log_snr)
    return bits, np.stack([by_imax * imax_bits, -slope * by_snr, log_snr * by_snr])


def _hill(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    amplitude, slope = np.exp(theta[0]), np.exp(theta[2])
    log_ratio = slope * (log_depth - theta[1])
    share = logistic(log_ratio)
    bend = amplitude * share * (1 - share)
    return amplitude * share, np.stack([amplitude * share, -slope * bend, log_ratio * bend])


def _michaelis_menten(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    bits, slopes = _hill(np.concatenate([theta, np.zeros((1, theta.shape[1]))]), log_depth)
    return bits, slopes[:2]


def _log_linear(theta: FloatArray, log_depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    return theta[0] + theta[1] * log_depth, np.stack([np.ones_like(log_depth), log_depth])


@dataclass(frozen=True)
class CurveLaw:
    """A law of one curve that can be compared with others."""

    name: str
    law: RivalFunction
    ranges: Callable[[FloatArray, float], tuple[Range, ...]]
    """Ranges of the parameters for finite ln depths and the largest information in bits."""


def _law_ranges(log_depth: FloatArray, top_bits: float) -> tuple[Range, ...]:
    return _amplitude(top_bits), _scale(log_depth)


def _floor_ranges(log_depth: FloatArray, top_bits: float) -> tuple[Range, ...]:
    return *_law_ranges(log_depth, top_bits), Range(-top_bits, top_bits, (0.0, 0.2 * top_bits))


def _slope_ranges(log_depth: FloatArray, top_bits: float) -> tuple[Range, ...]:
    return *_law_ranges(log_depth, top_bits), _exponent()


def _line_ranges(_: FloatArray, top_bits: float) -> tuple[Range, ...]:
    return Range(-1e3 * top_bits, 1e3 * top_bits, (0.0,)), Range(-1e2 * top_bits, 1e2 * top_bits, (0.1 * top_bits,))


NOISE_LAW: Final = "noise_law"
CURVE_LAWS: Final = (
    CurveLaw(NOISE_LAW, _noise_law, _law_ranges),
    CurveLaw("law_with_floor", _law_with_floor, _floor_ranges),
    CurveLaw("law_with_free_slope", _law_with_free_slope, _slope_ranges),
    CurveLaw("hill", _hill, _slope_ranges),
    CurveLaw("michaelis_menten", _michaelis_menten, _law_ranges),
    CurveLaw("log_linear", _log_linear, _line_ranges),
)
