"""The user's embeddings aligned with cells: by name, or by row where there are no names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256
from nsl_assets.tables import Address, read_npy, read_table

if TYPE_CHECKING:
    from nsl_assets.tasks import CountRows

_SUFFIXES = (".npy", ".parquet", ".csv", ".h5ad")
_FORMS = ".npy (one row a cell of the source file), .parquet, .csv (cell names first) or file.h5ad:obsm:KEY"


@dataclass(frozen=True)
class Source:
    """Where one array of embeddings lies: a file, and a key of obsm where the file is an .h5ad."""

    path: Path
    obsm_key: str | None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Split "file.h5ad:obsm:KEY"; any other text is a path."""
        path, separator, key = text.partition(":obsm:")
        return cls(Path(path).expanduser(), key if separator else None)

    def __str__(self) -> str:
        return f"{self.path}:obsm:{self.obsm_key}" if self.obsm_key else str(self.path)

    def sha256(self) -> str:
        """Hash of the file's bytes. Raises InputError where there is no such file."""
        if not self.path.is_file():
            raise InputError(f"There is no file {self.path} (looked for in {Path.cwd()}). Correct its path.")
        return file_sha256(self.path.resolve())


@dataclass(frozen=True)
class NamedRows:
    """Embeddings (n_rows, n_dimensions) and the name of each row's cell; None: rows of the source file."""

    values: npt.NDArray[Any]
    cell_names: npt.NDArray[np.str_] | None


def read_embeddings(source: Source) -> NamedRows:
    """Read one array. Raises InputError for unknown forms, missing keys and values that are not numbers."""
    source.sha256()
    suffix = source.path.suffix
    if suffix not in _SUFFIXES or (suffix == ".h5ad") != (source.obsm_key is not None):
        raise InputError(f"{source} is not a form of embeddings that can be read. Give {_FORMS}.")
    rows = NamedRows(read_npy(source.path), None) if suffix == ".npy" else _read_table(source)
    if rows.values.ndim != 2 or rows.values.dtype.kind not in "fiu":
        raise InputError(
            f"{source} holds {rows.values.dtype} values of shape {rows.values.shape}; numbers of shape "
            "(n_cells, n_dimensions) are needed."
        )
    return rows


def _read_table(source: Source) -> NamedRows:
    address = Address(source.path, f"obsm:{source.obsm_key}" if source.obsm_key else None)
    table = read_table(address, first_column_is_names=True)
    table.require_numbers(address)
    return NamedRows(table.columns.to_numpy(), table.row_names)


def align(rows: NamedRows, cells: CountRows, n_source_cells: int, source: Source) -> npt.NDArray[np.float32]:
    """The embeddings of these cells, (n_cells, n_dimensions), in their order. Raises InputError."""
    found = cells.rows if rows.cell_names is None else _rows_by_name(rows.cell_names, cells, source)
    if rows.cell_names is None and len(rows.values) != n_source_cells:
        raise InputError(
            f"{source} has {len(rows.values)} rows, but the source file has {n_source_cells} cells. A .npy "
            "needs one row for every cell of the source file, in its order; or give a table with cell names."
        )
    embedding = np.asarray(rows.values[found], dtype=np.float32)
    _check_finite(embedding, cells, source)
    return embedding


def _rows_by_name(names: npt.NDArray[np.str_], cells: CountRows, source: Source) -> npt.NDArray[np.intp]:
    import pandas as pd

    index = pd.Index(names)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise InputError(f"{source} names {len(twice)} cells twice, e.g. {twice[0]!r}. Keep one row a cell.")
    found = index.get_indexer(pd.Index(cells.cell_names.astype(str)))
    missing = np.flatnonzero(found < 0)
    if missing.size:
        examples = ", ".join(map(str, cells.cell_names[missing[:3]]))
        raise InputError(
            f"{source} has no embedding of {missing.size} of {cells.n_cells} cells, e.g. {examples}; "
            f"its first names are {', '.join(names[:3])}. Embed all cells of the task, under the names of obs_names."
        )
    return np.asarray(found, dtype=np.intp)


def _check_finite(embedding: npt.NDArray[np.float32], cells: CountRows, source: Source) -> None:
    bad = np.flatnonzero(~np.isfinite(embedding).all(axis=1))
    if bad.size:
        raise InputError(
            f"{source} holds NaN or infinity for {bad.size} of {cells.n_cells} cells, e.g. "
            f"{cells.cell_names[bad[0]]}. Give every cell, also one without counts, a finite embedding."
        )
