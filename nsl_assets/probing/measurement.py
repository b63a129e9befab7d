"""What an estimator hands back, and how held-out terms of folds become a value, an interval and a gap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Terms = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """An estimate in bits before the room adds what does not depend on the estimator."""

    value_bits: float
    low_bits: float
    high_bits: float
    floor_bits: float
    flags: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldOut:
    """Terms of one fold's test pairs, bound on training pairs, and whether validation found no information."""

    rows: npt.NDArray[np.intp]
    terms_bits: Terms
    train_bits: float
    is_zero: bool
    weights: tuple[float, float]

    @property
    def bound_bits(self) -> float:
        """The held-out bound of this fold."""
        return 0.0 if self.is_zero else float(self.terms_bits.mean())

    @property
    def gap_bits(self) -> float:
        """Training minus test bound."""
        return 0.0 if self.is_zero else self.train_bits - self.bound_bits


def standard_error_bits(deviations: Terms, group: npt.NDArray[np.intp] | None) -> float:
    """Standard error of a mean from each pair's deviation (n_pairs,); pairs of one group move together."""
    sums = deviations if group is None else np.bincount(group, weights=deviations)
    correction = len(sums) / max(len(sums) - 1, 1)
    return float(np.sqrt(np.square(sums).sum() * correction) / len(deviations))


def held_out_measurement(
    folds: Sequence[HeldOut],
    *,
    floor: HeldOut,
    group: npt.NDArray[np.intp] | None,
    gaussian_copula_bits: float | None,
    steps: Sequence[int],
    n_contrasts: int | None,
) -> Measurement:
    """Pools folds: value = held-out bound, interval = [bound - 1.96 SE, bound + gap + 1.96 SE].

    A fold in which validation found no information counts as zero bits; the spread of its best candidate's
    terms still widens the interval. ``n_contrasts`` is the number of pairs that every pair is contrasted with,
    where the bound cannot exceed its logarithm.
    """
    n_pairs = sum(len(fold.rows) for fold in folds)
    deviations = np.empty(n_pairs)
    for fold in folds:
        deviations[fold.rows] = fold.terms_bits - fold.terms_bits.mean()
    value = sum(fold.bound_bits * len(fold.rows) for fold in folds) / n_pairs
    gap = max(0.0, sum(fold.gap_bits * len(fold.rows) for fold in folds) / n_pairs)
    error = standard_error_bits(deviations, group)
    return Measurement(
        value_bits=value,
        low_bits=value - 1.96 * error,
        high_bits=value + gap + 1.96 * error,
        floor_bits=floor.bound_bits,
        flags=_flags(value, gap, n_contrasts),
        diagnostics={
            "gap_bits": gap,
            "standard_error_bits": error,
            "gaussian_copula_bits": gaussian_copula_bits,
            "pooled_bits": pooled_bits(value, gap, gaussian_copula_bits),
            "n_contrasts": n_contrasts,
            "n_folds": len(folds),
            "steps": list(steps),
            "fold_bits": [fold.bound_bits for fold in folds],
            "weights_base_network": [[0.0, 0.0] if fold.is_zero else list(fold.weights) for fold in folds],
        },
    )


def pooled_bits(bound: float, gap: float, gaussian_copula: float | None) -> float:
    """The Gaussian copula's information clipped to [bound + gap/2, bound + gap]; bound + gap/2 without one."""
    if gaussian_copula is None:
        return bound + gap / 2
    return float(np.clip(gaussian_copula, bound + gap / 2, bound + gap))


def _flags(value: float, gap: float, n_contrasts: int | None) -> tuple[str, ...]:
    is_unreliable = gap > 0.5 or gap > 0.3 * max(value, 0.0)
    is_near = n_contrasts is not None and value > math.log2(n_contrasts) - 1.0
    return ("unreliable",) * is_unreliable + ("near_log_k",) * is_near
