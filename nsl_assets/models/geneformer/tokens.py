"""Rank-value tokens: of each cell its genes by falling expression, written to a memory-mapped file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.models.geneformer.kernels import rank_rows
from nsl_assets.models.geneformer.vocabulary import GeneTable
from nsl_assets.randomness import identity_keys

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.tasks import CountRows


Tokens = npt.NDArray[np.uint32]
Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenRows:
    """Genes of cells as tokens. Row i is ``tokens[starts[i]:starts[i + 1]]``; a cell without tokens has an empty row.

    ``tokens`` (n_tokens,) is uint16 or uint32 on disk, ``starts`` (n_cells + 1,), and ``keys`` (n_cells,) tells
    cells apart by their names, wherever they stand.
    """

    tokens: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each cell, (n_cells,)."""
        return np.diff(self.starts)

    def is_lone(self, token: int) -> npt.NDArray[np.bool_]:
        """Whether a row is this one token and nothing else, (n_cells,)."""
        is_lone: npt.NDArray[np.bool_] = self.lengths == 1
        is_lone[is_lone] = self.tokens[self.starts[:-1][is_lone]] == token
        return is_lone

    def nonempty(self) -> npt.NDArray[np.intp]:
        """Rows with at least one token, ascending."""
        return np.flatnonzero(self.lengths)

    def padded(self, rows: npt.NDArray[np.intp], pad: int, frame: tuple[int, ...] = ()) -> npt.NDArray[np.int64]:
        """These cells' tokens, filled up at the end: (n_rows, longest). A frame stands around each cell's genes."""
        n_before = len(frame) // 2
        padded = np.full((rows.size, int(self.lengths[rows].max(initial=0)) + len(frame)), pad, dtype=np.int64)
        for line, row in zip(padded, rows, strict=True):
            genes = self.tokens[self.starts[row] : self.starts[row + 1]]
            line[n_before : n_before + genes.size] = genes
            if frame:
                line[0], line[n_before + genes.size] = frame
        return padded


def rank_tokens(part: csr_array, table: GeneTable, max_length: int) -> tuple[Tokens, Lengths]:
    """Tokens of some cells, one after the other, and the number of each cell, (n_cells,).

    Genes stand by falling count / median. The cell's library size scales all of its values alike, so it changes no
    rank. Values are compared as float32; of equal ones the smaller token comes first.
    """
    inverse = np.divide(1.0, table.medians, out=np.zeros_like(table.medians), where=table.medians > 0)
    starts = part.indptr.astype(np.int64)
    ranked = np.empty(int(np.minimum(np.diff(starts), max_length).sum()), np.uint32)
    lengths = np.empty(part.shape[0], np.int64)
    n_ranked = rank_rows(part.data, part.indices, starts, inverse, table.tokens, max_length, ranked, lengths)
    return ranked[:n_ranked], lengths


def write_tokens(
    cells: CountRows, table: GeneTable, path: Path, *, max_length: int, of_empty: int | None = None
) -> TokenRows:
    """Tokens of the cells in a new file, in the order given: best that of the store, which is then read once.

    One block of counts is in memory at a time. ``of_empty``: the one token of a cell that would have none; None: it
    has an empty row.
    """
    is_short = max(int(table.tokens.max(initial=0)), of_empty or 0) < 2**16
    dtype = np.dtype(np.uint16 if is_short else np.uint32)
    lengths = [np.zeros(1, np.int64)]
    with path.open("wb") as file:
        for block in cells.blocks():
            tokens, block_lengths = rank_tokens(block, table, max_length)
            if of_empty is not None:
                tokens, block_lengths = _with_empty(tokens, block_lengths, of_empty)
            tokens.astype(dtype).tofile(file)
            lengths.append(block_lengths)
    starts = np.cumsum(np.concatenate(lengths))
    return TokenRows(_mapped(path, dtype, int(starts[-1])), starts, identity_keys(map(str, cells.cell_names)))


def _with_empty(tokens: Tokens, lengths: Lengths, of_empty: int) -> tuple[Tokens, Lengths]:
    empty = lengths == 0
    return np.insert(tokens, np.cumsum(lengths)[empty], of_empty), np.where(empty, 1, lengths)


def _mapped(path: Path, dtype: np.dtype[Any], n_tokens: int) -> npt.NDArray[Any]:
    if n_tokens == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r", shape=(n_tokens,))
