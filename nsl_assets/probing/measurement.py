"""What every estimator hands back, and the sampling error of a mean of terms."""

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


def standard_error_bits(deviations: Terms, group: npt.NDArray[np.intp] | None) -> float:
    """Standard error of a mean from each pair's deviation (n_pairs,); pairs of one group move together."""
    sums = deviations if group is None else np.bincount(group, weights=deviations)
    correction = len(sums) / max(len(sums) - 1, 1)
    return float(np.sqrt(np.square(sums).sum() * correction) / len(deviations))
