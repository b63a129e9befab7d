"""The calibration map: which problems of known information a measurement looks like, and so what bias to expect of it.

It rests on what a measurement of unknown truth shows too: number of pairs, estimate, gap, and what lies beyond the
Gaussian. Two problems that look alike may have different biases; the spread of the nearest ones says how much.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.probing.calibration.trials import ProblemSummary

N_NEAREST: Final = 5
FARTHEST: Final = 2.0
"""From this distance of the nearest problem on, a measurement is off the map."""
LARGE_BIAS_BITS: Final = 0.1
"""Expected biases beyond this are warned of."""
_SCALES: Final = {"n_doublings": 1.0, "value_bits": 0.5, "gap_bits": 0.25, "beyond_gaussian_bits": 0.25}


@dataclass(frozen=True)
class Features:
    """What a measurement and a calibration problem can be compared by; None where the estimator knows no such thing."""

    is_categorical: bool
    n_pairs: float
    value_bits: float
    gap_bits: float | None
    beyond_gaussian_bits: float | None

    @classmethod
    def of(cls, summary: ProblemSummary) -> "Features":
        """Those of a calibration problem: means over its seeds."""
        return cls(
            is_categorical=summary.is_categorical,
            n_pairs=summary.n_pairs,
            value_bits=summary.value_bits,
            gap_bits=summary.gap_bits,
            beyond_gaussian_bits=summary.beyond_gaussian_bits,
        )

    def distance(self, other: "Features") -> float:
        """1 for one doubling of the pairs, 0.5 bit of estimate, 0.25 bit of gap or of what is beyond the Gaussian.

        What either side does not know counts for nothing; classes and columns are infinitely far apart.
        """
        if self.is_categorical != other.is_categorical:
            return math.inf
        differences = {
            "n_doublings": math.log2(self.n_pairs / other.n_pairs),
            "value_bits": self.value_bits - other.value_bits,
            "gap_bits": _difference(self.gap_bits, other.gap_bits),
            "beyond_gaussian_bits": _difference(self.beyond_gaussian_bits, other.beyond_gaussian_bits),
        }
        return math.hypot(*(difference / _SCALES[name] for name, difference in differences.items()))


def _difference(one: float | None, other: float | None) -> float:
    return 0.0 if one is None or other is None else one - other


@dataclass(frozen=True)
class ExpectedBias:
    """What the nearest calibration problems say of a measurement; without any of its kind the bias is NaN."""

    features: Features
    bias_bits: float
    """Estimate minus truth to be expected: mean over the nearest problems, weighted by exp(-distance²/2)."""
    spread_bits: float
    """Standard deviation of the biases of those problems, with the same weights."""
    nearest: tuple[ProblemSummary, ...]
    """Nearest first."""
    distance: float
    """To the nearest of them."""

    @property
    def is_off_map(self) -> bool:
        """Whether even the nearest problem is too far to say anything."""
        return self.distance > FARTHEST

    @property
    def is_large(self) -> bool:
        """Whether a bias of more than 0.1 bit is expected."""
        return not self.is_off_map and abs(self.bias_bits) > LARGE_BIAS_BITS


@dataclass(frozen=True)
class CalibrationMap:
    """The summaries of one estimator with one set of settings."""

    summaries: Sequence[ProblemSummary]

    def expected_bias(self, features: Features) -> ExpectedBias:
        """The bias of the five problems of the same kind (classes or columns) that look most like a measurement."""
        distances = [(features.distance(Features.of(summary)), summary) for summary in self.summaries]
        nearest = sorted((one for one in distances if math.isfinite(one[0])), key=lambda one: one[0])[:N_NEAREST]
        if not nearest:
            return ExpectedBias(features, math.nan, math.nan, (), math.inf)
        distance = np.array([one for one, _ in nearest])
        weight = np.exp(-0.5 * (distance**2 - distance[0] ** 2))
        biases = np.array([summary.bias_bits for _, summary in nearest])
        mean = float(np.average(biases, weights=weight))
        spread = math.sqrt(float(np.average(np.square(biases - mean), weights=weight)))
        return ExpectedBias(features, mean, spread, tuple(summary for _, summary in nearest), nearest[0][0])
