"""Information of one model by the depth of its training and that of the probe cells, and what a mismatch costs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95
"""Coverage of the intervals of differences."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean over seeds of one value less another of the same seed; with one seed it has no interval."""

    bits: float
    low_bits: float | None
    high_bits: float | None
    n_seeds: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low_bits is not None and self.high_bits is not None and not self.low_bits <= 0 <= self.high_bits


@dataclass(frozen=True)
class NoiseMatrix:
    """One model of one training size: bits by noise level of training, noise level of the probe, and seed."""

    task: str
    model: str
    n_cells: int
    umis_per_cell: Mapping[float, float]
    """Realised depth of the probe cells by noise level, mean over seeds; deepest first."""
    bits: Mapping[tuple[float, float], Mapping[int, float]]
    """By level of training and level of the probe: one value a seed. What was not measured is not there."""

    @property
    def levels(self) -> tuple[float, ...]:
        """Noise levels, deepest first."""
        return tuple(self.umis_per_cell)

    def has(self, train: float, probe: float) -> bool:
        """Whether a model that was trained at one level was probed at another."""
        return bool(self.bits.get((train, probe)))

    def mean_bits(self, train: float, probe: float) -> float:
        """Mean over seeds; NaN where it was not measured."""
        return statistics.fmean(self.bits[train, probe].values()) if self.has(train, probe) else math.nan

    def difference(self, train: float, probe: float) -> PairedDifference | None:
        """Bits less those of the model that was trained at the level of the probe; None without common seeds."""
        crossed, matched = self.bits.get((train, probe), {}), self.bits.get((probe, probe), {})
        common = [crossed[seed] - matched[seed] for seed in sorted(crossed.keys() & matched.keys())]
        return paired_difference(common) if common else None


def paired_difference(differences: Sequence[float]) -> PairedDifference:
    """Mean of the differences of the seeds with its interval of 95 % by Student's t."""
    from scipy.special import stdtrit

    n, mean = len(differences), statistics.fmean(differences)
    if n < 2:
        return PairedDifference(mean, None, None, n)
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(differences) / math.sqrt(n)
    return PairedDifference(mean, mean - half, mean + half, n)
