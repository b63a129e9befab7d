"""Which cells make up each optimiser step: batches of cells of similar length, in a keyed order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.randomness import generator, keyed_order

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.tokens import TokenRows

Rows = npt.NDArray[np.intp]

_BATCHES_SORTED: Final = 50
_LEAST_GROUPS: Final = 4


def epoch_batches(tokens: TokenRows, batch_size: int, *, seed: int, epoch: int) -> list[Rows]:
    """All rows with tokens, in batches of batch_size (the last one may be smaller); longest cells of a batch first.

    Cells are shuffled and sorted by length within groups of at most 50 batches, as the length-grouped sampler of
    the Hugging Face Trainer does. Batches then follow in a shuffled order too. All depends on the names of the
    cells, not on where they stand.
    """
    rows = tokens.nonempty()
    shuffled = rows[keyed_order(tokens.keys[rows], "geneformer cells", seed, epoch)]
    group = batch_size * max(1, min(rows.size // (batch_size * _LEAST_GROUPS), _BATCHES_SORTED))
    groups = (shuffled[i : i + group] for i in range(0, rows.size, group))
    grouped = np.concatenate([by_length(tokens, group) for group in groups])
    batches = [grouped[i : i + batch_size] for i in range(0, rows.size, batch_size)]
    order = generator("geneformer batches", seed, epoch).permutation(len(batches))
    return [batches[i] for i in order]


def by_length(tokens: TokenRows, rows: Rows) -> Rows:
    """The same rows, longest cells first, else in the same order."""
    return rows[np.argsort(-tokens.lengths[rows], kind="stable")]


def portions(tokens: TokenRows, rows: Rows, max_tokens: int) -> Iterator[Rows]:
    """Cut rows, longest first, into portions that hold at most max_tokens when padded, or one cell."""
    begin = 0
    while begin < rows.size:
        longest = max(int(tokens.lengths[rows[begin]]), 1)
        end = begin + max(1, max_tokens // longest)
        yield rows[begin:end]
        begin = end


def sample(tokens: TokenRows, n_rows: int | None, seed: int) -> Rows:
    """Rows with tokens, longest first: all of them, or n_rows that follow from the seed and the cells' names."""
    rows = tokens.nonempty()
    order = keyed_order(tokens.keys[rows], "geneformer sample", seed)
    return by_length(tokens, rows[order[:n_rows]])
