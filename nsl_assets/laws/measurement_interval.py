"""What each measurement by itself leaves open, and how that reaches the information at unlimited depth.

All levels and seeds of a curve are measured on the same probe cells. What few probe cells, or an estimator that has
not learnt everything, do to one level they do to all: the curve scatters little around its law, and yet stands too
high or too low as a whole. Scatter cannot show that; the intervals of the measurements do.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.curve import SAME_LEVEL, Curve
from nsl_assets.laws.equations import FloatArray

WEAK_SHARE: Final = 0.5
WEAK_MEANS: Final = (
    "the measurements themselves leave more than half of what they found open: too few probe cells or pairs; more seeds"
    " do not help"
)
"""What the flag `weak_measurements` says."""


@dataclass(frozen=True)
class OwnUncertainty:
    """How far the measurements where most is known reach below and above their values, in bits, at least 0."""

    below_bits: float = 0.0
    above_bits: float = 0.0
    found_bits: float = 0.0
    """The mean of those measurements."""

    @property
    def is_weak(self) -> bool:
        """Whether the interval reaches down to half of what was found, or lower."""
        return self.below_bits > WEAK_SHARE * max(self.found_bits, 0.0)

    def widened(self, ends: tuple[float, float]) -> tuple[float, float]:
        """An interval of information at unlimited depth or cells, each end moved out by this; not below 0 bits.

        Added, not in quadrature: the measurements may stand too high or too low together, and part of their reach
        is no chance but what the estimator may have missed.
        """
        low, high = ends
        return min(low, max(0.0, low - self.below_bits)), high + self.above_bits


NOTHING_OPEN: Final = OwnUncertainty()


def own_uncertainty(curve: Curve) -> OwnUncertainty:
    """Mean reach of the intervals of the measurements at the deepest level (or with most cells).

    Not divided by the number of seeds, which share their probe cells. Nothing where no intervals are known.
    """
    if curve.low_bits is None or curve.high_bits is None:
        return NOTHING_OPEN
    rows = _deepest(curve) & ~np.isnan(curve.low_bits) & ~np.isnan(curve.high_bits)
    if not rows.any():
        return NOTHING_OPEN
    return OwnUncertainty(
        below_bits=_mean_reach(curve.mi_bits[rows] - curve.low_bits[rows]),
        above_bits=_mean_reach(curve.high_bits[rows] - curve.mi_bits[rows]),
        found_bits=float(curve.mi_bits[rows].mean()),
    )


def _mean_reach(reach: FloatArray) -> float:
    return float(np.maximum(reach, 0.0).mean())


def _deepest(curve: Curve) -> npt.NDArray[np.bool_]:
    """Whether each point is of the deepest level."""
    if curve.level is None:
        return np.asarray(curve.depth * np.exp(SAME_LEVEL) >= curve.depth.max(), dtype=bool)
    return np.asarray(curve.level == curve.level[np.argmax(curve.depth)], dtype=bool)
