"""Reads an AnnData file in place: names, columns and matrices, without loading what is not asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.matrix import Matrix

if TYPE_CHECKING:
    import h5py
    import pandas as pd


@contextmanager
def open_h5ad(path: Path) -> Iterator[H5adFile]:
    """An open .h5ad file. Raises InputError where it is missing, damaged or something else."""
    import h5py

    if path.is_dir():
        raise InputError(f"{path} is a folder: name the .h5ad file itself.{_files_in(path)}")
    if not path.is_file():
        raise InputError(f"There is no file {path}.{_nearby_files(path)}")
    try:
        file = h5py.File(path, "r", locking=False)  # shared file systems often refuse locks; we only read
    except OSError as error:
        raise InputError(f"{path} cannot be opened as .h5ad: {_reason(error)}") from error
    with file:
        with readable(path, "its tables"):
            _check_anndata(file, path)
        yield H5adFile(file, path)


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Makes an InputError, naming the file and what was read of it, of what damaged files make HDF5 and anndata say."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: {what} cannot be read ({_in_one_line(error)}): the file is damaged, or newer than this anndata."
            " Copy or download it again, or write it again with anndata."
        ) from error


class H5adFile:
    """An AnnData file that is open for reading."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self.path = file, path
        self._names: dict[str, npt.NDArray[Any]] = {}

    @property
    def obs_keys(self) -> list[str]:
        """Columns of obs, without its index."""
        with readable(self.path, "obs"):
            obs = self._file["obs"]
            return [key for key in obs if key not in ("__categories", obs.attrs["_index"])]

    @property
    def obsm_keys(self) -> list[str]:
        """Keys of obsm."""
        with readable(self.path, "obsm"):
            return list(self._file.get("obsm", ()))

    @property
    def matrix_names(self) -> list[str | None]:
        """What `matrix` accepts: None for X, the names of the layers, and "raw" where raw.X exists."""
        with readable(self.path, "layers"):
            places: list[str | None] = [None] if "X" in self._file else []
            layers = [str(name) for name in self._file.get("layers", ())]
            return places + layers + ["raw"] * ("raw/X" in self._file and "raw" not in layers)

    def cell_names(self) -> npt.NDArray[Any]:
        """Names of the cells (n_cells,), str objects."""
        return self._index("obs")

    def matrix(self, layer: str | None) -> Matrix:
        """X (None), a layer, or raw.X ("raw"), with the names of its genes. Raises InputError if missing."""
        address = self._address(layer)
        genes = self._index("raw/var" if address == "raw/X" else "var")
        with readable(self.path, matrix_label(layer)):
            matrix = Matrix(self._file[address], matrix_label(layer), self.cell_names(), genes)
            matrix.check()
        return matrix

    def obs(self, key: str) -> pd.Series[Any]:
        """One column of obs, (n_cells,). Raises InputError, naming the closest, where it is missing."""
        import pandas as pd
        from anndata.io import read_elem

        if key not in self.obs_keys:
            raise InputError(missing(f"column {key!r} in obs", key, self.obs_keys))
        obs = self._file["obs"]
        with readable(self.path, f"obs:{key}"):
            # anndata 0.7 kept categories beside the columns
            values = read_elem(obs)[key].array if "__categories" in obs else read_elem(obs[key])
            column = pd.Series(values, name=key)
        self._require_all_cells(f"obs:{key}", len(column))
        return column

    def obsm(self, key: str) -> pd.DataFrame:
        """One matrix of obsm as a table (n_cells, n_columns). Raises InputError where it is missing."""
        import pandas as pd
        from anndata.io import read_elem

        if key not in self.obsm_keys:
            raise InputError(missing(f"key {key!r} in obsm", key, self.obsm_keys))
        with readable(self.path, f"obsm:{key}"):
            values = read_elem(self._file[f"obsm/{key}"])
        self._require_all_cells(f"obsm:{key}", values.shape[0])
        if isinstance(values, pd.DataFrame):
            return values.reset_index(drop=True)
        dense = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
        dense = dense.reshape(dense.shape[0], -1)
        return pd.DataFrame(dense, columns=[f"{key} {i + 1}" for i in range(dense.shape[1])])

    def _index(self, place: str) -> npt.NDArray[Any]:
        from anndata.io import read_elem

        if place not in self._names:
            with readable(self.path, f"the names of {place}"):
                table = self._file[place]
                names = read_elem(table[table.attrs["_index"]])
            self._names[place] = np.array([str(name) for name in names], dtype=object)
        return self._names[place]

    def _require_all_cells(self, what: str, n_found: int) -> None:
        n_cells = self.cell_names().size
        if n_found != n_cells:
            raise InputError(
                f"{self.path}: {what} has {n_found:,} values, but the file names {n_cells:,} cells: it is damaged."
                " Copy or download it again, or write it again with anndata."
            )

    def _address(self, layer: str | None) -> str:
        if layer not in self.matrix_names:
            present = [name or "X" for name in self.matrix_names]
            raise InputError(missing(matrix_label(layer), layer or "X", present))
        if layer is None:
            return "X"
        return "raw/X" if layer == "raw" and "raw" not in self._file.get("layers", ()) else f"layers/{layer}"


def matrix_label(layer: str | None) -> str:
    """How messages name a matrix of the file."""
    return {None: "X", "raw": "raw.X"}.get(layer, f"layer {layer!r}")


def missing(what: str, key: str, present: Iterable[str]) -> str:
    """Message that something is not in the file, with the closest name and all that are."""
    names = list(present)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    there = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"There is no {what}.{hint} Present: {there or 'none'}."


def _check_anndata(file: h5py.File, path: Path) -> None:
    import h5py

    tables = (file.get("obs"), file.get("var"))
    if all(isinstance(table, h5py.Group) and "_index" in table.attrs for table in tables):
        return
    if any(isinstance(table, h5py.Dataset) for table in tables):
        raise InputError(f"{path} was written by anndata before 0.7: read it and write it with a recent one.")
    kind = "a 10x Genomics matrix: convert it with scanpy.read_10x_h5(...).write_h5ad(...)"
    raise InputError(
        f"{path} is HDF5 but not AnnData (it lacks obs and var)"
        + (f"; it looks like {kind}" if "matrix" in file else f": it holds {', '.join(file) or 'nothing'}")
        + "."
    )


def _reason(error: OSError) -> str:
    text = str(error)
    if "truncated" in text:
        return "it is cut short. Copy or download it again."
    if "signature not found" in text:
        return "it is not an HDF5 file. An .h5ad file is what adata.write_h5ad(...) makes."
    return f"{text}."


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _nearby_files(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either."
    return _files_in(path.parent)


def _files_in(folder: Path) -> str:
    files = sorted(file.name for file in folder.glob("*.h5ad") if file.is_file())[:10]
    return f" In that folder: {', '.join(files)}." if files else ""
