"""Writes an .h5ad file of counts block by block, so that memory does not grow with the number of cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.datasets.whole_files import replacing
from nsl_assets.errors import InputError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from scipy.sparse import csr_array

CHUNK_ENTRIES: Final = 256 * 1024
LARGEST_COUNT: Final = 2**31 - 1
PROVENANCE: Final = "nsl"


class CountsFile:
    """An .h5ad file under construction: ``X`` as CSR of int32."""

    def __init__(self, file: h5py.File, gene_names: npt.NDArray[Any]) -> None:
        self._file, self._genes = file, gene_names
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        self._matrix = file.create_group("X")
        self._data = _growing(self._matrix, "data", np.dtype(np.int32))
        self._indices = _growing(self._matrix, "indices", np.dtype(np.int32))
        self._lengths = [np.zeros(1, np.int64)]

    @property
    def n_cells(self) -> int:
        """Cells written so far."""
        return sum(lengths.size for lengths in self._lengths) - 1

    def append(self, block: csr_array) -> None:
        """Add cells, (any number, n_genes), integer data. Raises InputError for a count above 2^31 - 1."""
        from scipy.sparse import csr_array

        rows = csr_array(block)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        if rows.nnz and int(rows.data.max()) > LARGEST_COUNT:
            raise InputError(f"a count of {int(rows.data.max()):,} was found; counts up to {LARGEST_COUNT:,} are kept.")
        self._lengths.append(np.diff(rows.indptr).astype(np.int64))
        _extend(self._data, rows.data.astype(np.int32))
        _extend(self._indices, rows.indices.astype(np.int32))

    def finish(
        self,
        obs: pd.DataFrame,
        obsm: Mapping[str, npt.NDArray[Any] | pd.DataFrame] | None = None,
        var: pd.DataFrame | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Write what describes the cells, (n_cells,) rows in the order in which they were appended."""
        import pandas as pd
        from anndata.io import write_elem

        if len(obs) != self.n_cells:
            raise ValueError(f"{len(obs)} names for {self.n_cells} cells")
        indptr = np.cumsum(np.concatenate(self._lengths))
        self._matrix.create_dataset("indptr", data=indptr)
        shape = np.array([self.n_cells, self._genes.size], np.int64)
        self._matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
        genes = pd.DataFrame(index=self._genes) if var is None else var.set_axis(self._genes)
        parts: dict[str, Any] = {
            "obs": obs,
            "var": genes,
            "obsm": dict(obsm or {}),
            "uns": {PROVENANCE: {key: _text(value) for key, value in (provenance or {}).items()}},
        }
        for key, part in parts.items():
            write_elem(self._file, key, part)


@contextmanager
def writing(path: Path, gene_names: npt.NDArray[Any]) -> Iterator[CountsFile]:
    """A file to write counts to, which appears at ``path`` when the block ends well."""
    import h5py
    from anndata.utils import make_index_unique
    from pandas import Index

    path.parent.mkdir(parents=True, exist_ok=True)
    unique = make_index_unique(Index([str(name) for name in gene_names])).to_numpy(dtype=object)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        yield CountsFile(file, unique)


def read_provenance(path: Path) -> dict[str, Any]:
    """What `CountsFile.finish` noted; empty where the file is missing, damaged or of other making."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return {key: json.loads(value.asstr()[()]) for key, value in file[f"uns/{PROVENANCE}"].items()}
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return {}


def _growing(group: h5py.Group, name: str, dtype: np.dtype[Any]) -> h5py.Dataset:
    storage = {"chunks": (CHUNK_ENTRIES,), "compression": "gzip", "compression_opts": 1, "shuffle": True}
    return group.create_dataset(name, (0,), dtype, maxshape=(None,), **storage)


def _extend(dataset: h5py.Dataset, values: npt.NDArray[Any]) -> None:
    start = dataset.shape[0]
    dataset.resize((start + values.size,))
    dataset[start:] = values


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
