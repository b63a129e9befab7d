"""Exact medians of each gene's nonzero expression, in bounded memory: radix selection in four passes.

Each pass settles eight of the 32 bits of the two middle values of every gene. Memory is two tables of 256 numbers a
gene and one block of cells, whatever the number of cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.models.geneformer.kernels import count_digits
from nsl_assets.models.preprocessing import normalised, sorted_parts

if TYPE_CHECKING:
    from nsl_assets.tasks import CountRows

_SHIFTS: Final = (24, 16, 8, 0)


def gene_medians(cells: CountRows) -> npt.NDArray[np.float64]:
    """Median over cells of each gene's nonzero counts per 10,000, (n_genes,); 0 for genes that no cell has.

    Values are rounded to float32 before they are compared. The median of an even number of them is the mean of
    the two in the middle.
    """
    prefixes = np.zeros((2, cells.n_genes), np.uint32)
    ranks = np.zeros((2, cells.n_genes), np.int64)
    for shift in _SHIFTS:
        counts = _digits(cells, prefixes, shift)
        if shift == _SHIFTS[0]:
            n_cells = counts[0].sum(axis=1)
            ranks = np.maximum(np.stack([(n_cells - 1) // 2, n_cells // 2]), 0)
        prefixes, ranks = _settled(counts, prefixes, ranks, shift)
    low, high = prefixes.view(np.float32).astype(np.float64)
    return np.asarray((low + high) / 2)


def _digits(cells: CountRows, prefixes: npt.NDArray[np.uint32], shift: int) -> npt.NDArray[np.int64]:
    """How often each next digit follows the prefix, (2, n_genes, 256)."""
    counts = np.zeros((*prefixes.shape, 256), np.int64)
    for part in sorted_parts(cells):
        values = normalised(part).data.astype(np.float32)
        count_digits(part.indices, values.view(np.uint32), prefixes, shift, counts)
    return counts


def _settled(
    counts: npt.NDArray[np.int64], prefixes: npt.NDArray[np.uint32], ranks: npt.NDArray[np.int64], shift: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The prefixes with one more digit, and the ranks among the values that begin with them."""
    up_to = counts.cumsum(axis=2)
    digit = (up_to <= ranks[:, :, None]).sum(axis=2)
    digit = np.where(up_to[:, :, -1] > 0, digit, 0)
    at = np.take_along_axis(up_to - counts, digit[:, :, None], axis=2)[:, :, 0]
    return prefixes | (digit.astype(np.uint32) << np.uint32(shift)), ranks - at
