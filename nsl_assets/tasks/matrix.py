"""One matrix of an AnnData file, read in blocks of rows and checked to hold counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.count_writing import LARGEST_COUNT
from nsl_assets.tasks.counts import BLOCK_ROWS

if TYPE_CHECKING:
    import h5py
    from scipy.sparse import csr_array

_BLOCK_ENTRIES: Final = 512 * 1024
_PARTS: Final = ("data", "indices", "indptr")


class NotCountsError(InputError):
    """A matrix holds something that is not a count."""


class Matrix:
    """Cells by genes in an .h5ad file: CSR, CSC or dense, whole numbers or not.

    Attributes
    ----------
    label
        How messages name it: "X", "layer 'counts'", "raw.X".
    storage
        "csr", "csc" or "dense". CSC is converted in memory, the others are read in blocks.
    shape
        (n_cells, n_genes).
    n_entries
        Number of stored entries.
    """

    def __init__(
        self,
        node: h5py.Group | h5py.Dataset,
        label: str,
        cell_names: npt.NDArray[Any],
        gene_names: npt.NDArray[Any],
    ) -> None:
        self._node, self.label = node, label
        self.cell_names, self.gene_names = cell_names, gene_names
        self.storage = _storage(node)
        self.shape: tuple[int, int] = _shape(node)
        self.n_entries = int(np.prod(self.shape)) if self.storage == "dense" else _n_stored(node)

    def check(self) -> None:
        """Raises InputError where it is empty or does not fit the names."""
        absent = [] if self.storage == "dense" else [part for part in _PARTS if part not in self._node]
        if absent:
            raise InputError(f"{self.label} lacks its {absent[0]}: the file is damaged. Copy or download it again.")
        names = (self.cell_names.size, self.gene_names.size)
        if self.shape != names:
            raise InputError(
                f"{self.label} is {self.shape[0]:,} x {self.shape[1]:,}, but the file names {names[0]:,} "
                f"cells and {names[1]:,} genes: it is damaged. Write it again with anndata."
            )
        if 0 in self.shape or self.n_entries == 0:
            raise InputError(f"{self.label} is empty ({self.shape[0]:,} cells x {self.shape[1]:,} genes).")

    def block_bounds(self) -> list[tuple[int, int]]:
        """Rows (start, stop) of the blocks: at most BLOCK_ROWS rows and about half a million entries each."""
        ends = self._indptr if self.storage == "csr" else np.arange(self.shape[0] + 1) * self.shape[1]
        bounds, start = [], 0
        while start < self.shape[0]:
            stop = int(np.searchsorted(ends, ends[start] + _BLOCK_ENTRIES, side="right")) - 1
            stop = min(max(stop, start + 1), start + BLOCK_ROWS, self.shape[0])
            bounds.append((start, stop))
            start = stop
        return bounds

    def blocks(self, bounds: list[tuple[int, int]] | None = None) -> Iterator[csr_array]:
        """Blocks of rows as stored, any number type; all of them unless `bounds` names some.

        Raises InputError where the file cannot be decoded.
        """
        for start, stop in self.block_bounds() if bounds is None else bounds:
            try:
                block = self._read(start, stop)
            except (OSError, ValueError, RuntimeError) as error:
                raise self._damaged(f"at cells {start:,} to {stop:,}", error) from error
            yield block

    def count_blocks(self, bounds: list[tuple[int, int]] | None = None) -> Iterator[csr_array]:
        """Blocks of counts, data uint32.

        Raises NotCountsError, naming the cell and gene, at the first value that is not a whole number between
        0 and 2^32 - 1.
        """
        bounds = self.block_bounds() if bounds is None else bounds
        for (start, _), block in zip(bounds, self.blocks(bounds), strict=True):
            bad = first_non_count(block.data)
            if bad is not None:
                raise NotCountsError(self._describe(block, start, bad))
            yield block.astype(np.uint32)

    def holds_counts(self) -> bool:
        """Whether the first block holds counts: a quick look, not a check."""
        return all(first_non_count(block.data) is None for block in self.blocks(self.block_bounds()[:1]))

    def _damaged(self, where: str, error: Exception) -> InputError:
        return InputError(
            f"{self.label} cannot be read {where}: {' '.join(str(error).split())}. "
            "The file is damaged: copy or download it again."
        )

    def _describe(self, block: csr_array, start: int, entry: int) -> str:
        cell = self.cell_names[start + int(np.searchsorted(block.indptr, entry, side="right")) - 1]
        gene = self.gene_names[block.indices[entry]]
        return f"{self.label} holds {block.data[entry]:g} at cell {cell}, gene {gene}: raw integer counts are needed."

    @cached_property
    def _indptr(self) -> npt.NDArray[np.int64]:
        try:
            indptr = np.asarray(self._node["indptr"][:], dtype=np.int64)
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged("in its row pointers", error) from error
        n_major = self.shape[1 if self.storage == "csc" else 0]
        lengths = (int(self._node["indices"].shape[0]), int(indptr[-1]) if indptr.size else 0)
        if lengths != (self.n_entries,) * 2 or indptr.size != n_major + 1 or np.any(np.diff(indptr) < 0):
            raise InputError(
                f"{self.label} is damaged: its index arrays do not fit its {self.n_entries:,} entries. "
                "Write the file again with anndata."
            )
        return indptr

    @cached_property
    def _converted(self) -> csr_array:
        from scipy.sparse import csc_array

        parts = (self._node["data"][:], self._node["indices"][:], self._indptr)
        return csc_array(parts, shape=self.shape).tocsr()

    def _read(self, start: int, stop: int) -> csr_array:
        from scipy.sparse import csr_array

        if self.storage == "dense":
            return csr_array(self._node[start:stop])
        if self.storage == "csc":
            return self._converted[start:stop]
        indptr = self._indptr[start : stop + 1]
        entries = slice(int(indptr[0]), int(indptr[-1]))
        indices = np.asarray(self._node["indices"][entries])
        if indices.size and not (indices.min() >= 0 and indices.max() < self.shape[1]):
            raise ValueError(f"gene numbers {indices.min()} to {indices.max()} of {self.shape[1]}")
        parts = (self._node["data"][entries], indices, indptr - indptr[0])
        return csr_array(parts, shape=(stop - start, self.shape[1]))


def first_non_count(values: npt.NDArray[Any]) -> int | None:
    """Position of the first value that is not a whole number between 0 and 2^32 - 1, or None."""
    if values.dtype.kind in "bu" and values.dtype.itemsize <= 4:
        return None
    good = (values >= 0) & (values <= LARGEST_COUNT)
    if values.dtype.kind == "f":
        good &= values == np.rint(values)
    return None if good.all() else int(np.argmin(good))


def _storage(node: h5py.Group | h5py.Dataset) -> Literal["csr", "csc", "dense"]:
    import h5py

    if isinstance(node, h5py.Dataset):
        return "dense"
    encoding = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "unknown")))
    if encoding.startswith("csr"):
        return "csr"
    if encoding.startswith("csc"):
        return "csc"
    raise InputError(f"{node.name} is stored as {encoding!r}; csr, csc and dense matrices can be read.")


def _n_stored(node: h5py.Group) -> int:
    return int(node["data"].shape[0]) if "data" in node else 0


def _shape(node: h5py.Group | h5py.Dataset) -> tuple[int, int]:
    attributes = node.attrs
    shape = getattr(node, "shape", attributes.get("shape", attributes.get("h5sparse_shape")))
    if shape is None or len(shape) != 2:
        raise InputError(f"{node.name} is not a matrix (shape {shape}): cells x genes are needed.")
    return int(shape[0]), int(shape[1])
