"""Counts as scVI takes them: sparse in memory, one batch at a time on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nsl_assets.randomness import generator

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.models.preprocessing import IndexArray
    from nsl_assets.tasks import CountRows

_SPARSE_BELOW: Final = 0.12
"""Fraction of nonzero entries below which the first layer multiplies sparsely on a CPU: about the break-even."""


@dataclass(frozen=True)
class ByGene:
    """The same entries, gene by gene: ``offsets`` (n_genes,), ``cells`` and ``counts`` (n_nonzero,)."""

    offsets: Tensor
    cells: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Batch:
    """Counts of a few cells on a device, row by row.

    ``offsets`` (n_cells + 1,) on the CPU, ``genes`` int64 and ``counts`` (n_nonzero,), ``library`` (n_cells,) the
    counts of each cell. ``by_gene`` stands where the first layer is to multiply sparsely.
    """

    n_genes: int
    offsets: Tensor
    genes: Tensor
    counts: Tensor
    library: Tensor
    by_gene: ByGene | None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.library.numel()

    def places(self) -> Tensor:
        """Position of each entry in the flattened (n_cells, n_genes) matrix, int64."""
        lengths = self.offsets.diff().to(self.genes.device)
        cells = torch.arange(self.n_cells, device=self.genes.device)
        return torch.repeat_interleave(cells * self.n_genes, lengths, output_size=self.genes.numel()) + self.genes

    def log_expression(self) -> Tensor:
        """log(1 + counts) as a dense matrix, (n_cells, n_genes)."""
        dense = self.counts.new_zeros(self.n_cells * self.n_genes)
        return dense.index_copy_(0, self.places(), torch.log1p(self.counts)).view(self.n_cells, self.n_genes)


def batch_of(
    counts: csr_array, device: str = "cpu", dtype: torch.dtype = torch.float32, *, is_sparse: bool | None = None
) -> Batch:
    """Put some rows on a device. Counts up to 2^24 are exact in float32.

    is_sparse: whether the first layer multiplies sparsely; None: where that is quicker.
    """
    values = torch.from_numpy(counts.data).to(device=device, dtype=dtype)
    library = torch.from_numpy(np.asarray(counts.sum(axis=1), dtype=np.float64).ravel())
    n_entries = counts.shape[0] * counts.shape[1]
    if is_sparse is None:
        is_sparse = device == "cpu" and counts.nnz < _SPARSE_BELOW * n_entries
    return Batch(
        n_genes=counts.shape[1],
        offsets=torch.from_numpy(counts.indptr.astype(np.int64)),
        genes=torch.from_numpy(counts.indices).to(device=device, dtype=torch.int64),
        counts=values,
        library=library.to(device=device, dtype=dtype),
        by_gene=_by_gene(counts, dtype) if is_sparse else None,
    )


def _by_gene(counts: csr_array, dtype: torch.dtype) -> ByGene:
    columns = counts.tocsc()
    return ByGene(
        offsets=torch.from_numpy(columns.indptr[:-1].astype(np.int64)),
        cells=torch.from_numpy(columns.indices.astype(np.int64)),
        counts=torch.from_numpy(columns.data).to(dtype),
    )


def read_counts(cells: CountRows, columns: IndexArray | None = None, n_columns: int = 0) -> csr_array:
    """All counts in memory, float32, (n_cells, n_genes).

    With columns, (n_genes,), each gene goes to that column of n_columns, or is left out where it is -1.
    """
    from scipy.sparse import csr_array

    counts = cells.read()
    values = counts.data.astype(np.float32)
    if columns is None:
        return csr_array((values, counts.indices, counts.indptr), shape=counts.shape)
    places = columns[counts.indices]
    is_kept = places >= 0
    offsets = np.concatenate([[0], np.cumsum(is_kept, dtype=np.int64)])[counts.indptr]
    kept = csr_array((values[is_kept], places[is_kept], offsets), shape=(cells.n_cells, n_columns))
    kept.sort_indices()
    return kept


def filled_up(counts: csr_array, n_cells: int) -> csr_array:
    """The same rows with empty ones after them, (n_cells, n_genes)."""
    offsets = np.concatenate([counts.indptr, np.full(n_cells - counts.shape[0], counts.indptr[-1])])
    return type(counts)((counts.data, counts.indices, offsets), shape=(n_cells, counts.shape[1]))


def totals(counts: csr_array) -> npt.NDArray[np.float64]:
    """Counts of each cell, (n_cells,)."""
    return np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()


def shuffled_batches(n_cells: int, batch_size: int, *keys: Any) -> Iterator[IndexArray]:
    """Rows of each batch of an epoch, in an order that follows from the keys.

    A last cell that would be alone joins the batch before it: batch normalisation needs two.
    """
    order = generator("scvi batches", *keys).permutation(n_cells)
    for start in range(0, n_cells, batch_size):
        left = n_cells - start
        if left == 1 and start > 0:
            return
        yield order[start : n_cells if left == batch_size + 1 else start + batch_size]


def slices(n_cells: int, batch_size: int) -> Iterator[slice]:
    """Consecutive batches."""
    for start in range(0, n_cells, batch_size):
        yield slice(start, min(start + batch_size, n_cells))
