"""The InfoNCE bound: what a matrix of scores of all pairs against all pairs proves about the information."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
LARGEST_BLOCK: Final = 2_048

BASE_WEIGHTS: Final = (0.0, 0.5, 0.75, 0.9, 1.0, 1.1)
NETWORK_WEIGHTS: Final = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)
WEIGHTS: Final = tuple((base, network) for base in BASE_WEIGHTS for network in NETWORK_WEIGHTS)


def infonce_terms(scores: Scores) -> npt.NDArray[np.float64]:
    """Terms (n,) in nats of the symmetric bound for scores (n, n) of row x with column y; diagonal: true pairs."""
    by_row = _log_sum_exp(scores, axis=1)
    by_column = _log_sum_exp(scores, axis=0)
    terms: npt.NDArray[np.float64] = np.diagonal(scores) - 0.5 * (by_row + by_column) + np.log(len(scores))
    return terms


def _log_sum_exp(scores: Scores, axis: int) -> npt.NDArray[np.float64]:
    peak = scores.max(axis=axis, keepdims=True)
    total = np.exp(scores - peak).sum(axis=axis, dtype=np.float64)
    result: npt.NDArray[np.float64] = np.log(total) + peak.squeeze(axis)
    return result


def blocks(rows: npt.NDArray[np.intp], largest: int = LARGEST_BLOCK) -> Iterator[npt.NDArray[np.intp]]:
    """Nearly equal parts of at most ``largest`` rows, so that score matrices stay bounded."""
    yield from np.array_split(rows, -(-len(rows) // largest))
