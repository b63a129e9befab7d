"""Binomial thinning of counts in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.noise.levels import require_level
from nsl_assets.noise.thresholds import binomial_thresholds
from nsl_assets.randomness import key_digest

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Keys = npt.NDArray[np.uint64]
Part = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32], npt.NDArray[np.int64]]

LARGEST_COUNT: Final = 2**32 - 1
_PART_ENTRIES: Final = 256 * 1024  # of one call of the kernel: its scratch arrays stay in the cache


def thin(
    counts: csr_array, *, level: float, seed: int, cell_keys: Keys, gene_keys: Keys, n_threads: int = 1
) -> csr_array:
    """Keep each molecule with probability `level`, independently of all others (science, section 2).

    The draw of one entry follows from the seed, the level and the keys of its cell and its gene alone: other
    cells and genes, their order, blocks and threads change nothing.

    Parameters
    ----------
    counts
        Raw counts, (n_cells, n_genes): integers from 0 to 2^32 - 1.
    level
        Probability q of keeping a molecule, in (0, 1]. 1 keeps all of them.
    seed
        Replicate. Different seeds, and different levels of one seed, are independent.
    cell_keys, gene_keys
        64-bit identities (n_cells,) and (n_genes,), from `randomness.identity_keys` of the names.
    n_threads
        Threads that share the rows.

    Returns
    -------
    (n_cells, n_genes), data uint32, sorted indices, no explicit zeros; a cell without molecules stays as an
    empty row.

    Raises
    ------
    InputError
        A level outside (0, 1], counts that are not whole numbers in range, or keys of the wrong length.
    """
    level = require_level(level)
    _require_keys(counts.shape, cell_keys, gene_keys)
    counts = raw_counts(counts)
    if level == 1.0:
        return counts.copy()
    key = np.uint64(int.from_bytes(key_digest("binomial_thinning", int(seed), level), "little"))

    def thin_part(rows: slice) -> Part:
        return _thin_rows(counts, rows, level=level, key=key, cell_keys=cell_keys[rows], gene_keys=gene_keys)

    parts = _parts(counts.indptr)
    if n_threads <= 1:
        return _joined([thin_part(rows) for rows in parts], counts.shape)
    with ThreadPoolExecutor(n_threads) as pool:
        return _joined(list(pool.map(thin_part, parts)), counts.shape)


def raw_counts(counts: csr_array) -> csr_array:
    """A copy-on-need of counts as uint32 with sorted, unique indices and no explicit zeros.

    Raises InputError where a value is not a whole number between 0 and 2^32 - 1.
    """
    from scipy.sparse import csr_array

    rows = counts if isinstance(counts, csr_array) else csr_array(counts)
    if not rows.has_canonical_format:  # the molecules of a duplicate entry would share their random words
        rows = rows.astype(np.float64 if rows.dtype.kind == "f" else np.int64)
        rows.sum_duplicates()
    data = _as_uint32(rows.data)
    if data is rows.data and (data.size == 0 or data.min() > 0):
        return rows
    rows = csr_array((data, rows.indices, rows.indptr), shape=rows.shape, copy=True)
    rows.eliminate_zeros()
    rows.has_canonical_format = True
    return rows


def _as_uint32(data: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    if data.dtype == np.uint32:
        return data
    bad = ~((data >= 0) & (data <= LARGEST_COUNT))  # a NaN is bad too
    if data.dtype.kind == "f":
        bad |= data != np.floor(data)
    if bad.any():
        raise InputError(
            f"The counts hold {data[bad][0]}: raw counts are needed, whole numbers from 0 to {LARGEST_COUNT}. "
            "Pass counts that were not normalised."
        )
    return data.astype(np.uint32)


def _require_keys(shape: tuple[int, int], cell_keys: Keys, gene_keys: Keys) -> None:
    found = (cell_keys.size, gene_keys.size)
    if found != tuple(shape):
        raise InputError(
            f"{found[0]} cell keys and {found[1]} gene keys were given for counts of {shape[0]} cells and "
            f"{shape[1]} genes: one key each is needed."
        )


def _parts(indptr: npt.NDArray[Any]) -> list[slice]:
    """Ranges of rows that hold about equally many entries; together they are all rows."""
    ends = np.searchsorted(indptr, np.arange(_PART_ENTRIES, indptr[-1], _PART_ENTRIES))
    bounds = np.unique(np.concatenate([[0], ends, [indptr.size - 1]]))
    return [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]


def _thin_rows(
    counts: csr_array, rows: slice, *, level: float, key: np.uint64, cell_keys: Keys, gene_keys: Keys
) -> Part:
    from nsl_assets.noise.kernel import thin_rows

    first, last = counts.indptr[rows.start], counts.indptr[rows.stop]
    kept_counts, kept_genes = np.empty(last - first, np.uint32), np.empty(last - first, np.int32)
    kept_lengths = np.empty(rows.stop - rows.start, np.int64)
    n_kept = thin_rows(
        counts.data[first:last],
        counts.indices[first:last].astype(np.int32, copy=False),
        (counts.indptr[rows.start : rows.stop + 1] - first).astype(np.int64),
        cell_keys,
        gene_keys,
        key,
        level,
        binomial_thresholds(level),
        kept_counts,
        kept_genes,
        kept_lengths,
    )
    return kept_counts[:n_kept].copy(), kept_genes[:n_kept].copy(), kept_lengths


def _joined(parts: list[Part], shape: tuple[int, int]) -> csr_array:
    from scipy.sparse import csr_array

    kept_counts, kept_genes, lengths = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(
        np.int64 if kept_counts.size > 2**31 - 1 else np.int32
    )
    thinned = csr_array((kept_counts, kept_genes, indptr), shape=shape)
    thinned.has_canonical_format = True
    return thinned
