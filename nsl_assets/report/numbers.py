"""How numbers and intervals are written for people: thousands separators, open ends, no false digits."""

from collections.abc import Callable

import numpy as np

from nsl_assets.laws import NoiseLawFit

Writer = Callable[[float], str]


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


def with_interval(estimate: float, low: float, high: float, write: Writer) -> str:
    """An estimate with its interval, ``1,840 (1,480-2,300)``; an open end is written as a bound, ``≥ 1,660``."""
    is_open_below, is_open_above = low <= 0, not np.isfinite(high)
    if is_open_below and is_open_above:
        return "not determined"
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
