"""Numbers in the sentences of advice."""

from collections.abc import Callable

import numpy as np

from nsl_assets.laws import Difference
from nsl_assets.planning.advice import Estimate

Interval = Estimate | Difference


def count_text(value: float) -> str:
    """A depth or a number of cells with three significant digits: 1,230."""
    if not np.isfinite(value):
        return "infinity"
    if value <= 0:
        return "0"
    digits = max(2 - int(np.floor(np.log10(value))), -12)
    text = f"{round(value, digits):,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if digits > 0 else text


def bits_text(value: float) -> str:
    """Information with two digits."""
    return f"{value:z.2f}"


def percent_text(share: float) -> str:
    """A share in percent, without digits."""
    return f"{100 * share:.0f} %"


def money_text(amount: float, currency: str) -> str:
    """An amount of money with three significant digits, and its currency."""
    return f"{count_text(amount)} {currency}".strip()


def budget_text(budget: float, currency: str) -> str:
    """A budget as it was given, and its currency."""
    return f"{budget:,.{0 if float(budget).is_integer() else 2}f} {currency}".strip()


def counts_with_interval(estimate: Interval) -> str:
    """640 (540 to 780)."""
    return f"{count_text(estimate.value)} {_range(estimate, count_text)}"


def bits_with_interval(estimate: Interval) -> str:
    """0.12 bits (0.05 to 0.24)."""
    return f"{bits_text(estimate.value)} bits {_range(estimate, bits_text)}"


def _range(estimate: Interval, text: Callable[[float], str]) -> str:
    if np.isinf(estimate.low) and np.isinf(estimate.high):
        return "(no interval)"
    if np.isinf(estimate.high):
        return f"(at least {text(estimate.low)})"
    if np.isinf(estimate.low):
        return f"(at most {text(estimate.high)})"
    return f"({text(estimate.low)} to {text(estimate.high)})"
