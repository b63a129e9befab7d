"""One way to read each kind of file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tables.address import FORMS, Address, missing
from nsl_assets.tables.csv_files import read_csv
from nsl_assets.tables.table import Table, has_row_names, names_of

if TYPE_CHECKING:
    import h5py
    import pandas as pd


def read_table(address: Address, *, first_column_is_names: bool = False) -> Table:
    """Read the table at an address.

    Parameters
    ----------
    address
        File and place. The rows of a .npy have no names, those of an .h5ad have the names of its cells. A .csv
        or .parquet has names in its index, or in its first column: one headed like names ("", "cell",
        "barcode", ...), or text that hardly ever repeats.
    first_column_is_names
        The first column of a .csv (with its header line), and of a .parquet without index, names the rows
        whatever it looks like.

    Raises InputError, in one line, for files that are missing, damaged, empty or hold something else.
    """
    if not address.path.is_file():
        raise InputError(f"There is no file {address.path} (looked for in {Path.cwd()}). Correct its path.")
    with _readable(address.path):
        table = _read(address, first_column_is_names)
    if 0 in table.columns.shape:
        n_rows, n_columns = table.columns.shape
        raise InputError(f"{address} is empty: {n_rows} rows and {n_columns} columns of values.")
    return table


def read_columns(path: Path) -> pd.DataFrame:
    """All columns of a .csv, .tsv (also .gz) or .parquet with a header, as they are: none is taken as names of rows.

    Raises InputError, in one line, for files that are missing, damaged, empty or of another kind.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"There is no file {path} (looked for in {Path.cwd()}). Correct its path.")
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    kind = suffixes[-1] if suffixes else ""
    if kind not in (".csv", ".tsv", ".parquet"):
        raise InputError(f"{path} is no table of measurements: a .csv, .tsv or .parquet with a header is needed.")
    with _readable(path):
        try:
            if kind == ".parquet":
                frame = pd.read_parquet(path)
                frame = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
            else:
                frame = pd.read_csv(path, sep="\t" if kind == ".tsv" else ",", float_precision="round_trip")
        except ValueError as error:  # the errors of pyarrow and of pandas' parser are ValueErrors
            raise InputError(f"{path} cannot be read as {kind}: {_first_line(error)}.") from error
    if not len(frame):
        raise InputError(f"{path} is empty: it has no row of measurements.")
    return frame.set_axis([str(name).strip() for name in frame.columns], axis=1)


def read_npy(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy, mapped and not loaded. Raises InputError for pickled or damaged ones."""
    with _readable(path):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            message = f"{path} cannot be read: it is damaged, pickled or no .npy. Save a plain array with numpy.save."
            raise InputError(message) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of several arrays. Save a plain array with numpy.save.")
    return array


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(address: Address, first_column_is_names: bool) -> Table:
    suffix = address.path.suffix
    if suffix == ".npy":
        return Table(_as_columns(read_npy(address.path), address), None)
    if suffix == ".csv":
        frame, note = read_csv(address.path, first_column_is_names=first_column_is_names)
        return _from_columns(frame, address, first_column_is_names, note)
    if suffix == ".parquet":
        return _read_parquet(address, first_column_is_names)
    if suffix == ".h5ad":
        return _read_h5ad(address)
    raise InputError(f"{address} is no table that can be read. Give {FORMS}.")


def _as_columns(array: npt.NDArray[Any], address: Address) -> pd.DataFrame:
    import pandas as pd

    if array.ndim not in (1, 2) or array.dtype.kind not in "biufUS":
        raise InputError(
            f"{address} holds {array.dtype} values of shape {array.shape}; numbers or text of shape (n_rows,) or "
            "(n_rows, n_columns) are needed."
        )
    columns = array[:, None] if array.ndim == 1 else array
    if array.dtype.kind == "S":
        columns = np.char.decode(columns, "utf-8")
    return pd.DataFrame(columns, columns=_numbered(columns.shape[1]), copy=False)


def _numbered(n_columns: int) -> list[str]:
    return [str(i) for i in range(n_columns)]


def _read_parquet(address: Address, first_column_is_names: bool) -> Table:
    import pandas as pd

    try:
        frame = pd.read_parquet(address.path)
    except ValueError as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{address.path} cannot be read as .parquet: {_first_line(error)}.") from error
    index = frame.index
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if isinstance(index, pd.RangeIndex):
        return _from_columns(frame, address, first_column_is_names)
    return Table(frame[address.chosen(list(frame.columns))], names_of(index, address))


def _from_columns(frame: pd.DataFrame, address: Address, is_named: bool, note: str = "") -> Table:
    """The chosen columns, named by the first column where that names the rows and is not chosen itself."""
    first = frame.columns[:1]
    if address.place is not None:
        chosen = address.chosen(list(frame.columns))
        is_named = first[0] not in chosen and has_row_names(frame)
    else:
        is_named = is_named or has_row_names(frame)
        chosen = list(frame.columns[is_named:])
    return Table(frame[chosen], names_of(frame[first[0]], address) if is_named else None, note)


def _read_h5ad(address: Address) -> Table:
    import pandas as pd
    from anndata.io import read_elem

    where, key = address.h5ad_place()
    with _open_h5ad(address.path) as file:
        obs = file["obs"]
        kept_out = {"__categories", obs.attrs["_index"]} if where == "obs" else set()
        keys = sorted(set(file.get(where, ())) - kept_out)
        if key not in keys:
            raise missing(address.path, f"{where}[{key!r}]", "keys", keys)
        names = names_of(pd.Index(read_elem(obs[obs.attrs["_index"]])), address)
        if where == "obs":
            # anndata 0.7 kept categories beside the columns
            column = read_elem(obs)[key].array if "__categories" in obs else read_elem(obs[key])
            return Table(pd.DataFrame({key: column}), names)
        element: Any = read_elem(file[where][key])
    if isinstance(element, pd.DataFrame):
        labels = [str(name) for name in element.columns]
        return Table(element.reset_index(drop=True).set_axis(labels, axis=1), names)
    dense = np.asarray(element.toarray() if hasattr(element, "toarray") else element)
    return Table(_as_columns(dense, address), names)


@contextmanager
def _open_h5ad(path: Path) -> Iterator[h5py.File]:
    import h5py

    try:
        file = h5py.File(path, "r", locking=False)  # shared file systems often refuse locks; we only read
    except OSError as error:
        message = f"{path} cannot be opened as .h5ad: {_first_line(error)}. Write it with adata.write_h5ad(...)."
        raise InputError(message) from error
    with file:
        if not isinstance(file.get("obs"), h5py.Group) or "_index" not in file["obs"].attrs:
            raise InputError(f"{path} is HDF5 but not AnnData (it has no obs). Write it with adata.write_h5ad(...).")
        yield file


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
