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

LARGEST_COUNT: Final = 2**32 - 1
_PARTS_PER_THREAD: Final = 4  # a thread that is held up leaves its parts to the others


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
        return _without_zeros(counts)
    kernel = _Kernel(counts, level, stream_key(seed, level), cell_keys, gene_keys)
    parts = _parts(counts.indptr, 1 if n_threads <= 1 else _PARTS_PER_THREAD * n_threads)
    if n_threads <= 1:
        return kernel.joined(parts, [kernel.thin_part(rows) for rows in parts])
    with ThreadPoolExecutor(n_threads) as pool:
        return kernel.joined(parts, list(pool.map(kernel.thin_part, parts)))


def stream_key(seed: int, level: float) -> np.uint64:
    """64-bit key of the random stream of one seed at one level."""
    return np.uint64(int.from_bytes(key_digest("binomial_thinning", int(seed), float(level)), "little"))


def raw_counts(counts: csr_array) -> csr_array:
    """The same counts as uint32 with sorted, unique indices; copied only where something has to change.

    Raises InputError where a value is not a whole number between 0 and 2^32 - 1.
    """
    from scipy.sparse import csr_array

    rows = counts if isinstance(counts, csr_array) else csr_array(counts)
    if not rows.has_canonical_format:  # the molecules of a duplicate entry would share their random words
        rows = rows.astype(np.float64 if rows.dtype.kind == "f" else np.int64)
        rows.sum_duplicates()
    data = _as_uint32(rows.data)
    if data is rows.data:
        return rows
    rows = csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
    rows.has_canonical_format = True
    return rows


def _without_zeros(counts: csr_array) -> csr_array:
    copy = counts.copy()
    copy.eliminate_zeros()
    return copy


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


def _parts(indptr: npt.NDArray[Any], n_parts: int) -> list[slice]:
    """Ranges of rows that hold about equally many entries; together they are all rows."""
    ends = np.searchsorted(indptr, np.linspace(0, indptr[-1], n_parts + 1)[1:-1])
    bounds = np.unique(np.concatenate([[0], ends, [indptr.size - 1]]))
    return [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]


class _Kernel:
    """One matrix being thinned: what goes into the compiled kernel, and room for what comes out.

    There is room for all entries; what is not needed is never touched, so that it costs no memory.
    """

    def __init__(self, counts: csr_array, level: float, key: np.uint64, cell_keys: Keys, gene_keys: Keys) -> None:
        self._counts = np.ascontiguousarray(counts.data)
        self._genes = np.ascontiguousarray(counts.indices, dtype=np.int32)
        self._starts = counts.indptr.astype(np.int64)
        self._cell_keys = np.ascontiguousarray(cell_keys, dtype=np.uint64)
        self._gene_keys = np.ascontiguousarray(gene_keys, dtype=np.uint64)
        self._shape, self._level, self._key = counts.shape, level, key
        self._kept_counts = np.empty(self._counts.size, np.uint32)
        self._kept_genes = np.empty(self._counts.size, np.int32)
        self._kept_lengths = np.zeros(counts.shape[0], np.int64)

    def thin_part(self, rows: slice) -> int:
        """Thin some rows into the front of their own room; returns the number of entries left."""
        from nsl_assets.noise.kernel import thin_rows

        starts = self._starts[rows.start : rows.stop + 1]
        room = slice(starts[0], starts[-1])
        return thin_rows(
            self._counts[room],
            self._genes[room],
            starts - starts[0],
            self._cell_keys[rows],
            self._gene_keys,
            self._key,
            self._level,
            binomial_thresholds(self._level),
            self._kept_counts[room],
            self._kept_genes[room],
            self._kept_lengths[rows],
        )

    def joined(self, parts: list[slice], n_kept: list[int]) -> csr_array:
        """Move the results of the parts together."""
        from scipy.sparse import csr_array

        end = 0
        for rows, n in zip(parts, n_kept, strict=True):
            start = self._starts[rows.start]
            for array in (self._kept_counts, self._kept_genes):
                array[end : end + n] = array[start : start + n]
            end += n
        indptr = np.concatenate([[0], np.cumsum(self._kept_lengths)])
        indptr = indptr.astype(np.int32 if end <= np.iinfo(np.int32).max else np.int64)
        thinned = csr_array((self._kept_counts[:end], self._kept_genes[:end], indptr), shape=self._shape)
        thinned.has_canonical_format = True
        return thinned
