"""The rows of one study as Parquet files of their own, one a table: written for others, read back, landed here."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results.database import arrow_rows
from nsl_resources.results.landing import DamagedFileError, land_arrow, parquet_bytes, parse_parquet
from nsl_resources.results.reading import connect
from nsl_resources.results.schema import LANDED_FILE, TABLES, Table, TableName

if TYPE_CHECKING:
    import pyarrow as pa

_CALIBRATION: Final = "calibration"


@dataclass(frozen=True)
class TableFile:
    """One table of an exported study."""

    table: TableName
    file: str
    n_rows: int
    size_bytes: int
    blake2b: str
    """Digest of the file, 64 hexadecimal characters."""


def file_digest(content: bytes) -> str:
    """The digest by which an exported file is recognised."""
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def write_tables(root: Path, study: str, calibrations: Iterable[str], folder: Path) -> list[TableFile]:
    """Write the published rows of a study, and of the calibrations of these settings, into a folder."""
    wanted = {table: ("study", [study]) for table in TABLES} | {_CALIBRATION: ("settings_hash", list(calibrations))}
    written = []
    with connect(root) as connection:
        for table in TABLES.values():
            column, values = wanted[table.name]
            found = connection.execute(
                f"SELECT * EXCLUDE {LANDED_FILE.name} FROM {table.name} WHERE {column} IN (SELECT unnest($values)) "
                f"ORDER BY {', '.join(table.key)}",
                {"values": values},
            )
            written.append(_write(arrow_rows(found, table), table, folder))
    return written


def _write(rows: "pa.Table", table: Table, folder: Path) -> TableFile:
    content = parquet_bytes(rows)
    path = folder / f"{table.name}.parquet"
    atomic_write_bytes(path, content)
    return TableFile(table.name, path.name, rows.num_rows, len(content), file_digest(content))


def read_tables(folder: Path, files: Sequence[TableFile]) -> "dict[TableName, pa.Table]":
    """The rows of exported files, all of them checked before any is given.

    Raises:
        StorageError: files are missing, not those that were exported, or of a newer version of nsl; names them all.
    """
    read, problems = {}, []
    for file in files:
        try:
            read[file.table] = _read(folder / file.file, file)
        except (DamagedFileError, OSError) as error:
            problems.append(f"{folder / file.file}: {error}")
    if problems:
        raise StorageError("\n".join([*problems, "Nothing was imported. Copy or export the study again."]))
    return read


def _read(path: Path, file: TableFile) -> "pa.Table":
    content = path.read_bytes()
    if file_digest(content) != file.blake2b:
        raise DamagedFileError(f"its {len(content):,} bytes are not the {file.size_bytes:,} that were exported")
    if file.table not in TABLES:
        raise DamagedFileError(f"there is no table '{file.table}'")
    rows = parse_parquet(content, TABLES[file.table], path)
    if rows.num_rows != file.n_rows:
        raise DamagedFileError(f"it holds {rows.num_rows:,} rows instead of {file.n_rows:,}")
    return rows


def land_tables(root: Path, tables: "Mapping[TableName, pa.Table]", study: str) -> None:
    """Land rows that were read, as rows of the study of this name. The same rows again change nothing."""
    for name, rows in tables.items():
        land_arrow(root, TABLES[name], rows if name == _CALIBRATION else _renamed(rows, study))


def _renamed(rows: "pa.Table", study: str) -> "pa.Table":
    import pyarrow as pa

    position = rows.column_names.index("study")
    names = pa.array([study] * rows.num_rows, pa.string())
    return rows.set_column(position, rows.schema.field(position), names)
