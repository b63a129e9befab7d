"""The InfoNCE bound: what a matrix of scores of all pairs against all pairs proves about the information."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
LARGEST_BLOCK: Final = 2_048
_LARGEST_WEIGHT: Final = 0.5

BASE_WEIGHTS: Final = (0.0, 0.5, 0.75, 0.9, 1.0, 1.1)
NETWORK_WEIGHTS: Final = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5)
WEIGHTS: Final = tuple((base, network) for base in BASE_WEIGHTS for network in NETWORK_WEIGHTS)


def infonce_terms(scores: Scores) -> npt.NDArray[np.float64]:
    """Terms (n,) in nats of the symmetric bound for scores (n, n) of row x with column y; diagonal: true pairs."""
    shares = _log_shares(scores)
    terms: npt.NDArray[np.float64] = np.log(len(scores)) + 0.5 * (shares[0] + shares[1])
    return terms


def contrast_terms(scores: Scores) -> npt.NDArray[np.float64]:
    """What the bound loses (n,) in nats to the finite number of contrasts, to first order in its inverse.

    With the true pair among its contrasts the bound is too low by V/2n, without it too high by as much (V the
    variance of the density ratio): half the difference of the two corrects both. Pairs that outweigh all their
    contrasts together are corrected as if they weighed half, since there the difference has no end.
    """
    n = len(scores)
    weights = [np.minimum(np.exp(share), _LARGEST_WEIGHT) for share in _log_shares(scores)]
    without = [np.log1p(-1.0 / n) - np.log1p(-weight) for weight in weights]
    corrections: npt.NDArray[np.float64] = 0.25 * (without[0] + without[1])
    return corrections


def _log_shares(scores: Scores) -> list[npt.NDArray[np.float64]]:
    """Log of the true pair's share in its row and in its column, (n,) each."""
    truth = np.diagonal(scores).astype(np.float64)
    return [truth - _log_sum_exp(scores, axis) for axis in (1, 0)]


def _log_sum_exp(scores: Scores, axis: int) -> npt.NDArray[np.float64]:
    peak = scores.max(axis=axis, keepdims=True)
    total = np.exp(scores - peak).sum(axis=axis, dtype=np.float64)
    result: npt.NDArray[np.float64] = np.log(total) + peak.squeeze(axis)
    return result


def blocks(rows: npt.NDArray[np.intp], largest: int = LARGEST_BLOCK) -> Iterator[npt.NDArray[np.intp]]:
    """Nearly equal parts of at most ``largest`` rows, so that score matrices stay bounded."""
    yield from np.array_split(rows, -(-len(rows) // largest))
