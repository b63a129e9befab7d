"""Reading the user's embeddings and aligning them with cells: by name, or by row where there are no names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256

if TYPE_CHECKING:
    import pandas as pd

    from nsl_assets.tasks import CountRows

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
    readers = {".npy": _read_npy, ".parquet": _read_parquet, ".csv": _read_csv, ".h5ad": _read_h5ad}
    reader = readers.get(source.path.suffix)
    if reader is None or (source.path.suffix == ".h5ad") != (source.obsm_key is not None):
        raise InputError(f"{source} is not a form of embeddings that can be read. Give {_FORMS}.")
    rows = reader(source)
    if rows.values.ndim != 2 or rows.values.dtype.kind not in "fiu":
        raise InputError(
            f"{source} holds {rows.values.dtype} values of shape {rows.values.shape}; numbers of shape "
            "(n_cells, n_dimensions) are needed."
        )
    return rows


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


def _read_npy(source: Source) -> NamedRows:
    try:
        return NamedRows(np.load(source.path, mmap_mode="r", allow_pickle=False), None)
    except ValueError as error:
        raise InputError(f"{source} cannot be read: {error}. Save a plain array with numpy.save.") from error


def _read_parquet(source: Source) -> NamedRows:
    import pandas as pd

    table = pd.read_parquet(source.path)
    named = table.set_index(table.columns[0]) if isinstance(table.index, pd.RangeIndex) else table
    return _from_table(named)


def _read_csv(source: Source) -> NamedRows:
    import pandas as pd

    first = pd.read_csv(source.path, nrows=0).columns[0]
    return _from_table(pd.read_csv(source.path, dtype={first: str}).set_index(first))


def _from_table(table: pd.DataFrame) -> NamedRows:
    return NamedRows(table.to_numpy(), table.index.to_numpy().astype(str))


def _read_h5ad(source: Source) -> NamedRows:
    import h5py
    import pandas as pd
    from anndata.io import read_elem

    with h5py.File(source.path) as file:
        keys = sorted(file["obsm"]) if "obsm" in file else []
        if source.obsm_key not in keys:
            raise InputError(f"{source.path} has no obsm[{source.obsm_key!r}]. Its keys: {', '.join(keys) or 'none'}.")
        element: Any = read_elem(file["obsm"][source.obsm_key])
        names = np.asarray(read_elem(file["obs"]).index).astype(str)
    if isinstance(element, pd.DataFrame):
        return NamedRows(element.to_numpy(), names)
    return NamedRows(element.toarray() if hasattr(element, "toarray") else np.asarray(element), names)
