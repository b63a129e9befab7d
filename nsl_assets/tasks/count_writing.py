"""Writes a store of counts from a stream of blocks of rows, shard by shard."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.errors import InputError
from nsl_assets.tasks.counts import FORMAT, CountStore

if TYPE_CHECKING:
    import numpy.typing as npt
    import zarr
    from scipy.sparse import csr_array

CHUNK_ENTRIES: Final = 256 * 1024
CHUNKS_PER_SHARD: Final = 32
LARGEST_COUNT: Final = 2**32 - 1


def write_counts(
    path: Path, blocks: Iterable[csr_array], n_genes: int, *, chunk_entries: int = CHUNK_ENTRIES
) -> CountStore:
    """Write blocks of rows, in order, as one store; what was at `path` is replaced.

    Memory is bounded by one shard (32 chunks) and one block. Unsorted indices are sorted and explicit zeros
    dropped, so the same matrix gives the same values however it is cut. `open_counts` recognises an
    interrupted write: the attributes that complete a store are written last.

    Parameters
    ----------
    blocks
        Matrices (any number of rows, n_genes) of integers between 0 and 2^32 - 1.
    chunk_entries
        Entries of a compressed chunk; it decides speed, never values.

    Raises InputError for a count outside that range or a block with another number of genes.
    """
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=3)
    indices = _Appender(path, "indices", np.dtype(np.int32), chunk_entries)
    data = _Appender(path, "data", np.dtype(np.uint16), chunk_entries)
    lengths = [np.zeros(1, np.int64)]
    for block in blocks:
        rows = _canonical(block, n_genes)
        lengths.append(np.diff(rows.indptr).astype(np.int64))
        if rows.nnz and rows.data.max() > np.iinfo(data.dtype).max:
            data = data.widened(np.dtype(np.uint32))
        indices.append(rows.indices)
        data.append(rows.data)
    indptr = np.cumsum(np.concatenate(lengths))
    indices.finish()
    data.finish()
    _create(path, "indptr", indptr.dtype, chunk_entries, indptr.size)[:] = indptr
    n_cells, n_nonzero = indptr.size - 1, int(indptr[-1])
    group.update_attributes(
        {"format": FORMAT, "n_cells": n_cells, "n_genes": n_genes, "n_nonzero": n_nonzero, "complete": True}
    )
    return CountStore(path)


class _Appender:
    """A one-dimensional zarr array that grows by whole shards."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype[Any], chunk_entries: int) -> None:
        self._folder, self._name, self._chunk_entries = folder, name, chunk_entries
        self.dtype = dtype
        self._buffer = np.empty(chunk_entries * CHUNKS_PER_SHARD, dtype)
        self._filled = 0
        self._array = _create(folder, name, dtype, chunk_entries, 0)

    def append(self, values: npt.NDArray[Any]) -> None:
        while values.size:
            room = self._buffer[self._filled : self._filled + values.size]
            room[:] = values[: room.size]
            self._filled += room.size
            values = values[room.size :]
            if self._filled == self._buffer.size:
                self._flush()

    def finish(self) -> None:
        if self._filled:
            self._flush()

    def widened(self, dtype: np.dtype[Any]) -> _Appender:
        """The same values in a wider type; what is on disk already is copied shard by shard."""
        import zarr

        aside = self._folder / f"narrow_{self._name}"
        (self._folder / self._name).rename(aside)
        written = zarr.open_array(aside, mode="r")
        wide = _Appender(self._folder, self._name, dtype, self._chunk_entries)
        for start in range(0, written.shape[0], self._buffer.size):
            wide.append(np.asarray(written[start : start + self._buffer.size]))
        wide.append(self._buffer[: self._filled])
        shutil.rmtree(aside)
        return wide

    def _flush(self) -> None:
        start = self._array.shape[0]
        self._array.resize((start + self._filled,))
        self._array[start:] = self._buffer[: self._filled]
        self._filled = 0


def _create(folder: Path, name: str, dtype: np.dtype[Any], chunk_entries: int, size: int) -> zarr.Array[Any]:
    import zarr
    from zarr.codecs import BloscCodec

    return zarr.create_array(
        folder,
        name=name,
        shape=(size,),
        dtype=dtype,
        chunks=(chunk_entries,),
        shards=(chunk_entries * CHUNKS_PER_SHARD,),
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=dtype.itemsize),
        fill_value=0,
        overwrite=True,
    )


def _canonical(block: csr_array, n_genes: int) -> csr_array:
    """Sorted, without zeros or duplicates, checked; the caller's block is left as it is."""
    from scipy.sparse import csr_array

    rows = csr_array(block)
    if rows.shape[1] != n_genes:
        raise InputError(f"A block of counts has {rows.shape[1]} genes; {n_genes} were expected.")
    if rows.data.dtype.kind not in "ui":
        raise InputError(f"A block of counts has type {rows.data.dtype}; integers are needed.")
    if rows.nnz and (rows.data.min() < 0 or rows.data.max() > LARGEST_COUNT):
        raise InputError(
            f"Counts between {rows.data.min()} and {rows.data.max()} were found; 0 to {LARGEST_COUNT} can be stored."
        )
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    if rows.nnz and rows.data.min() == 0:
        rows = rows.copy()
        rows.eliminate_zeros()
    return rows
