"""Reads a public .h5ad file in blocks of cells, and checks that it holds counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from scipy.sparse import csr_array

_BLOCK_ENTRIES: Final = 4 * 1024 * 1024
_BLOCK_CELLS: Final = 16_384


class SourceH5ad:
    """An open .h5ad file: raw counts in ``raw.X`` where there is one, else in ``X``."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self.path = file, path
        self._place = "raw/X" if "raw/X" in file else "X"
        self._genes = "raw/var" if self._place == "raw/X" else "var"
        self._require_table("obs")
        self._require_table(self._genes)
        self.cell_names = self._index("obs")
        self.gene_names = self._index(self._genes)
        self._indptr = self._checked_indptr()

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.cell_names.size)

    def obs(self, required: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Columns of obs, (n_cells, n_columns). Raises InputError where a required one is missing."""
        import pandas as pd
        from anndata.io import read_elem

        table = self._file["obs"]
        present = [key for key in (*required, *optional) if key in table]
        for key in required:
            if key not in table:
                columns = ", ".join(sorted(name for name in table if name != "__categories"))
                raise InputError(f"{self.path}: obs has no column {key!r}; it has {columns}. It is another file.")
        if "__categories" in table:  # anndata 0.7 kept categories beside the columns
            return pd.DataFrame(read_elem(table)[present])
        return pd.DataFrame({key: pd.Series(read_elem(table[key])) for key in present}).set_axis(self.cell_names)

    def gene_column(self, key: str) -> npt.NDArray[Any] | None:
        """One column of var, (n_genes,); None where there is none."""
        from anndata.io import read_elem

        table = self._file[self._genes]
        return np.asarray(read_elem(table)[key]) if key in table else None

    def obsm(self, key: str) -> pd.DataFrame:
        """A table of obsm, (n_cells, n_columns). Raises InputError where it is missing or no table with names."""
        import pandas as pd
        from anndata.io import read_elem

        if key not in self._file.get("obsm", ()):
            present = ", ".join(self._file.get("obsm", ())) or "nothing"
            raise InputError(f"{self.path}: obsm has no {key!r}; it has {present}. It is another file.")
        found = read_elem(self._file[f"obsm/{key}"])
        if not isinstance(found, pd.DataFrame) or len(found) != self.n_cells:
            raise InputError(f"{self.path}: obsm {key!r} must be a table with one named row for each cell.")
        return found

    def blocks(self) -> Iterator[tuple[int, csr_array]]:
        """First cell and counts of each block, (n_rows, n_genes), data int64.

        Raises InputError, naming cell and gene, at the first value that is no count.
        """
        start = 0
        while start < self.n_cells:
            limit = self._indptr[start] + _BLOCK_ENTRIES
            stop = int(np.searchsorted(self._indptr, limit, side="right")) - 1
            stop = min(max(stop, start + 1), start + _BLOCK_CELLS, self.n_cells)
            yield start, self._block(start, stop)
            start = stop

    def _block(self, start: int, stop: int) -> csr_array:
        from scipy.sparse import csr_array

        matrix, indptr = self._file[self._place], self._indptr[start : stop + 1]
        span = slice(int(indptr[0]), int(indptr[-1]))
        try:
            data, indices = matrix["data"][span], matrix["indices"][span]
        except OSError as error:
            raise InputError(
                f"{self.path} is damaged: cells {start:,} to {stop:,} cannot be read ({error}). Download it again."
            ) from error
        if indices.size and not 0 <= indices.min() <= indices.max() < self.gene_names.size:
            raise InputError(f"{self.path} is damaged: cells {start:,} to {stop:,} name genes that it does not have.")
        block = csr_array((data, indices, indptr - indptr[0]), shape=(stop - start, self.gene_names.size))
        require_counts(block, self.cell_names[start:stop], self.gene_names, f"{self.path}: {self._place}")
        return block.astype(np.int64)

    def _checked_indptr(self) -> npt.NDArray[np.int64]:
        import h5py

        matrix = self._file.get(self._place)
        attributes: Any = getattr(matrix, "attrs", {})
        encoding = attributes.get("encoding-type", attributes.get("h5sparse_format"))
        if not isinstance(matrix, h5py.Group) or not str(encoding).startswith("csr"):
            raise InputError(f"{self.path}: {self._place} must be a sparse matrix by rows (CSR). It is another file.")
        shape = tuple(int(n) for n in attributes.get("shape", attributes.get("h5sparse_shape")))
        named = (self.n_cells, int(self.gene_names.size))
        if shape != named:
            raise InputError(
                f"{self.path}: {self._place} is {shape[0]:,} x {shape[1]:,}, but the file names {named[0]:,} cells and"
                f" {named[1]:,} genes. It is damaged: download it again."
            )
        indptr = np.asarray(matrix["indptr"][:], np.int64)
        lengths = {int(matrix["data"].shape[0]), int(matrix["indices"].shape[0]), int(indptr[-1])}
        if indptr.size != shape[0] + 1 or len(lengths) != 1 or np.any(np.diff(indptr) < 0):
            raise InputError(f"{self.path}: the arrays of {self._place} do not fit together. It is damaged.")
        return indptr

    def _require_table(self, place: str) -> None:
        if "_index" not in getattr(self._file.get(place), "attrs", ()):
            raise InputError(f"{self.path} is HDF5 but has no table {place}: it is no .h5ad file.")

    def _index(self, place: str) -> npt.NDArray[Any]:
        from anndata.io import read_elem

        table = self._file[place]
        return np.asarray(read_elem(table[table.attrs["_index"]]), dtype=object)


@contextmanager
def open_source_h5ad(path: Path) -> Iterator[SourceH5ad]:
    """An open file. Raises InputError where it is cut short or is something else."""
    import h5py

    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(f"{path} cannot be opened as .h5ad ({error}). Download it again.") from error
    with file:
        yield SourceH5ad(file, path)


def require_counts(block: csr_array, cell_names: npt.NDArray[Any], gene_names: npt.NDArray[Any], where: str) -> None:
    """Raises InputError, naming the cell and gene, at the first value that is no whole number of 0 or more."""
    values = block.data
    is_count = (values >= 0) & (values == np.rint(values))
    if is_count.all():
        return
    entry = int(np.argmin(is_count))
    cell = cell_names[int(np.searchsorted(block.indptr, entry, side="right")) - 1]
    gene = gene_names[block.indices[entry]]
    raise InputError(f"{where} holds {values[entry]:g} at cell {cell}, gene {gene}: raw counts are needed.")
