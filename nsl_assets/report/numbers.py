"""How numbers and intervals are written for people: thousands separators, open ends, no false digits."""

from collections.abc import Callable
from typing import Final

import numpy as np

from nsl_assets.laws import NoiseLawFit

Writer = Callable[[float], str]
NOT_DETERMINED: Final = "not determined"
DEPTH_UNIT: Final = "UMIs per cell"


def depth_text(depth: float) -> str:
    """A depth in UMIs per cell with three significant digits: 1,840; 73.5; 0.012."""
    if not np.isfinite(depth):
        return "∞"
    if depth == 0:
        return "0"
    digits = max(2 - int(np.floor(np.log10(abs(depth)))), -12)
    return f"{round(depth, digits):,.{max(digits, 0)}f}"


def bits_text(bits: float) -> str:
    """Information in bits with two decimals."""
    return f"{bits:.2f}" if np.isfinite(bits) else "∞"


def with_interval(estimate: float, low: float, high: float, write: Writer, unit: str = "") -> str:
    """An estimate with its interval, ``1,840 (1,480-2,300)``; an open end is written as a bound, ``≥ 1,660``."""
    text = _with_interval(estimate, low, high, write)
    return f"{text} {unit}" if unit and text != NOT_DETERMINED else text


def _with_interval(estimate: float, low: float, high: float, write: Writer) -> str:
    is_open_below, is_open_above = low <= 0, not np.isfinite(high)
    if is_open_below and is_open_above:
        return NOT_DETERMINED
    if is_open_above:
        return f"≥ {write(low)}"
    if is_open_below:
        return f"≤ {write(high)}"
    return f"{write(estimate)} ({write(low)}–{write(high)})"


def interval_label(fit: NoiseLawFit) -> str:
    """What the fit's intervals are, in words."""
    if fit.interval == "one_sigma_published":
        return "± 1 σ without covariance (as published)"
    return f"{100 * fit.confidence:.3g} %"


def count_text(count: float) -> str:
    """A whole number with thousands separators."""
    return f"{count:,.0f}"


def signed_bits_text(bits: float) -> str:
    """A difference in bits with its sign."""
    if not np.isfinite(bits):
        return "∞" if bits > 0 else "−∞"
    text = f"{bits:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def factor_text(factor: float) -> str:
    """A ratio: 0.42, 3.1, 120."""
    if not np.isfinite(factor):
        return "∞"
    return f"{factor:.2f}" if factor < 9.95 else depth_text(factor)


def probability_text(p: float) -> str:
    """A p-value: 0.34, 0.002, < 0.001."""
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.095 else f"{p:.3f}"


def duration_text(seconds: float) -> str:
    """A duration: 0.4 s, 12 s, 3.5 min, 2.1 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"
