"""Counts on disk: a store of compressed sparse rows in a zarr group, and a choice of its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import StorageError

if TYPE_CHECKING:
    import zarr
    from scipy.sparse import csr_array

BLOCK_ROWS: Final = 4096
"""Rows of a block. Fixed, so that floating-point sums over blocks never depend on how counts are stored."""

FORMAT: Final = "nsl counts 1"
_SPAN_ENTRIES: Final = 2 * 1024 * 1024  # entries decoded at once when rows are taken: bounds the memory


class CountStore:
    """Counts of cells (rows) by genes (columns) on disk, as CSR arrays in a zarr v3 group.

    Arrays: ``indptr`` int64 (n_cells + 1,), ``indices`` int32 and ``data`` uint16, or uint32 where a count
    needs it, both (n_nonzero,). Indices ascend within a row and no zero is stored.

    Attributes
    ----------
    shape
        (n_cells, n_genes).
    n_nonzero
        Number of stored entries.
    """

    def __init__(self, path: Path) -> None:
        import zarr

        self.path = path
        attributes = _complete_attributes(path)
        self.shape: tuple[int, int] = (attributes["n_cells"], attributes["n_genes"])
        self.n_nonzero: int = attributes["n_nonzero"]
        group = zarr.open_group(path, mode="r")
        self._indptr = np.asarray(_array(group, "indptr")[:], dtype=np.int64)
        self._indices, self._data = _array(group, "indices"), _array(group, "data")
        self._chunk_entries = self._data.chunks[0]
        self._check_lengths()

    def __repr__(self) -> str:
        return f"CountStore({str(self.path)!r}, shape={self.shape}, n_nonzero={self.n_nonzero})"

    def rows(self, start: int, stop: int) -> csr_array:
        """Consecutive rows, (stop - start, n_genes), data uint32.

        Raises IndexError where not 0 <= start <= stop <= n_cells.
        """
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"rows {start}:{stop} of a store with {self.shape[0]} rows")
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        return _csr(
            np.asarray(self._data[first:last]).astype(np.uint32),
            np.asarray(self._indices[first:last]),
            self._indptr[start : stop + 1] - first,
            self.shape[1],
        )

    def take(self, rows: npt.NDArray[np.intp]) -> csr_array:
        """Any rows, repeats allowed, in the order asked: (len(rows), n_genes), data uint32.

        Raises IndexError where a row lies outside 0..n_cells-1.
        """
        rows = np.asarray(rows, dtype=np.intp)
        if rows.size and not (rows.min() >= 0 and rows.max() < self.shape[0]):
            raise IndexError(f"rows {rows.min()}..{rows.max()} of a store with {self.shape[0]} rows")
        if rows.size and np.all(np.diff(rows) == 1):
            return self.rows(int(rows[0]), int(rows[-1]) + 1)
        return self._gather(rows)

    def _gather(self, rows: npt.NDArray[np.intp]) -> csr_array:
        indptr = np.concatenate([[0], np.cumsum(self._indptr[rows + 1] - self._indptr[rows])])
        indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.uint32)
        order = np.argsort(rows, kind="stable")
        for places in self._spans(order, rows):
            wanted = rows[places]
            first = int(wanted[0])
            part = self.rows(first, int(wanted[-1]) + 1)[wanted - first]
            target = _positions(indptr[places], np.diff(part.indptr))
            indices[target], data[target] = part.indices, part.data
        return _csr(data, indices, indptr, self.shape[1])

    def _spans(self, order: npt.NDArray[np.intp], rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
        """Cut ascending rows where the gap skips a chunk and where a span would decode too much."""
        starts, stops = self._indptr[rows[order]], self._indptr[rows[order] + 1]
        begin = 0
        for i in range(1, order.size + 1):
            if (
                i == order.size
                or starts[i] - stops[i - 1] > self._chunk_entries
                or stops[i] - starts[begin] > _SPAN_ENTRIES
            ):
                yield order[begin:i]
                begin = i

    def _check_lengths(self) -> None:
        lengths = (self._indptr.size - 1, int(self._indptr[-1]), self._indices.shape[0], self._data.shape[0])
        if lengths != (self.shape[0], self.n_nonzero, self.n_nonzero, self.n_nonzero):
            raise StorageError(
                f"{self.path} is damaged: its arrays have lengths {lengths}, but {self.shape[0]} cells and "
                f"{self.n_nonzero} entries were written. Delete the folder and run again."
            )


@dataclass(frozen=True)
class CountRows:
    """What a model sees: some cells of a store, in a given order.

    ``rows`` and ``cell_names`` are (n_cells,), ``gene_names`` (n_genes,).
    """

    store: CountStore
    rows: npt.NDArray[np.intp]
    cell_names: npt.NDArray[Any]
    gene_names: npt.NDArray[Any]

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.rows.size)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.store.shape[1]

    def blocks(self) -> Iterator[csr_array]:
        """The cells in blocks of BLOCK_ROWS, each (<= BLOCK_ROWS, n_genes), data uint32."""
        for start in range(0, self.n_cells, BLOCK_ROWS):
            yield self.store.take(self.rows[start : start + BLOCK_ROWS])

    def read(self) -> csr_array:
        """All cells in memory, (n_cells, n_genes), data uint32."""
        return self.store.take(self.rows)


def open_counts(path: Path) -> CountStore:
    """Open a store that `write_counts` has finished. Raises StorageError for anything else."""
    return CountStore(path)


def _complete_attributes(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads((path / "zarr.json").read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} is not a store of counts: {error}. Delete it and run again.") from error
    attributes: dict[str, Any] = metadata.get("attributes", {})
    if attributes.get("format") != FORMAT or attributes.get("complete") is not True:
        raise StorageError(f"{path} holds an unfinished or foreign store. Delete the folder and run again.")
    return attributes


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise StorageError(f"{group.store_path} is damaged: it has no array {name!r}. Delete it and run again.")
    return array


def _csr(
    data: npt.NDArray[np.uint32], indices: npt.NDArray[np.int32], indptr: npt.NDArray[np.int64], n_genes: int
) -> csr_array:
    from scipy.sparse import csr_array

    if data.size <= np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    rows = csr_array((data, indices, indptr), shape=(indptr.size - 1, n_genes))
    rows.has_canonical_format = True
    return rows


def _positions(starts: npt.NDArray[np.int64], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """starts[0], starts[0] + 1, ... of each run of the given length, one after the other."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
