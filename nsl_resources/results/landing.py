"""Landed rows: small immutable Parquet files, each named by the digest of its bytes.

The name makes landing idempotent, lets any number of processes land at once without locks, and tells a
damaged file from a good one.
"""

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results.encoding import encode
from nsl_resources.results.rows import Row
from nsl_resources.results.schema import LANDED_FILE, SCHEMA_VERSION, TABLES, Table, TableName

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION_KEY: Final = b"nsl_schema_version"
MEASUREMENTS: Final[tuple[TableName, ...]] = ("measurement", "cross_noise_measurement")
"""Tables whose rows name artifacts."""


class DamagedFileError(Exception):
    """A landed file is not what was written."""


@dataclass(frozen=True)
class Damaged:
    """A landed file that was moved aside."""

    path: Path
    """Where it is now."""
    problem: str


def landed_folder(root: Path, table: Table) -> Path:
    """Where the rows of a table land."""
    return root / "results" / "landed" / table.name


def land(root: Path, table: Table, rows: Sequence[Row]) -> Path | None:
    """Write rows to one new Parquet file; None without rows. The same rows again are the same file."""
    import pyarrow as pa

    return land_arrow(root, table, pa.Table.from_pylist([encode(table, row) for row in rows], table.arrow_schema))


def land_arrow(root: Path, table: Table, rows: "pa.Table") -> Path | None:
    """`land` of rows that have the columns of the table."""
    if rows.num_rows == 0:
        return None
    content = parquet_bytes(rows)
    path = landed_folder(root, table) / f"{_digest(content)}.parquet"
    if not path.exists():
        atomic_write_bytes(path, content)
    return path


def parquet_bytes(rows: "pa.Table") -> bytes:
    """A Parquet file of rows of a table, with the schema version."""
    import pyarrow.parquet as pq

    rows = rows.replace_schema_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})
    content = io.BytesIO()
    # Statistics and dictionaries cost half of the time and a third of the bytes of so small a file.
    pq.write_table(rows, content, compression="zstd", use_dictionary=False, write_statistics=False)
    return bytes(content.getvalue())


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_landed(path: Path, table: Table) -> "pa.Table":
    """The rows of one landed file, with its name as last column.

    Raises:
        DamagedFileError: its bytes are not those that were written, or it holds no rows of this table.
        StorageError: a newer version of nsl landed it.
    """
    import pyarrow as pa

    content = path.read_bytes()
    if _digest(content) != path.stem:
        raise DamagedFileError(f"its {len(content)} bytes are not those that were written")
    rows = parse_parquet(content, table, path)
    if rows.num_rows == 0:
        raise DamagedFileError("it holds no rows")
    names = pa.array([path.name] * rows.num_rows, pa.string())
    return rows.append_column(landed_schema(table).field(LANDED_FILE.name), names)


def parse_parquet(content: bytes, table: Table, path: Path) -> "pa.Table":
    """Rows of a Parquet file as the table has them today; ``path`` is for messages.

    Raises:
        DamagedFileError: it is no Parquet file, or of other columns.
        StorageError: a newer version of nsl wrote it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        version = int((rows.schema.metadata or {}).get(_VERSION_KEY, b"0"))
    except (pa.ArrowException, ValueError) as error:
        raise DamagedFileError(f"it is no Parquet file: {error}") from error
    if version > SCHEMA_VERSION:
        raise newer_schema_error(path, version)
    return _conformed(rows, table)


def landed_schema(table: Table) -> "pa.Schema":
    """Columns of rows that were read: those of the table, and the file that they came from."""
    import pyarrow as pa

    return table.arrow_schema.append(pa.field(LANDED_FILE.name, pa.string(), nullable=False))


def _conformed(rows: "pa.Table", table: Table) -> "pa.Table":
    """Columns as the table has them today; those that an older version did not know are NULL."""
    import pyarrow as pa

    schema = table.arrow_schema
    if rows.schema.equals(schema):
        return rows.replace_schema_metadata(None)
    missing = [field.name for field in schema if field.name not in rows.column_names and not field.nullable]
    if missing:
        raise DamagedFileError(f"it has no column {', '.join(missing)}")
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    try:
        return rows.select(schema.names).replace_schema_metadata(None).cast(schema)
    except pa.ArrowException as error:
        raise DamagedFileError(f"its columns are of other types: {error}") from error


def newer_schema_error(path: Path, version: int) -> StorageError:
    """The message for a file of a later version of nsl."""
    return StorageError(
        f"{path} was written by a newer nsl: its results schema is {version}, this one knows "
        f"{SCHEMA_VERSION}. Upgrade nsl here, or use another storage folder with this one."
    )


def move_aside(root: Path, table: Table, path: Path, problem: str) -> Damaged:
    """Take a damaged file out of the way of publication; it is kept in results/damaged."""
    target = root / "results" / "damaged" / table.name / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
    return Damaged(target, problem)


def recorded_artifacts(root: Path, study: str) -> frozenset[str]:
    """Content hashes that the landed measurements of a study name; damaged files have none."""
    return frozenset().union(*(_named_artifacts(root, TABLES[name], study) for name in MEASUREMENTS))


def _named_artifacts(root: Path, table: Table, study: str) -> set[str]:
    names = [column.name for column in table.columns if column.name.endswith("_hash")]
    found: set[str] = set()
    for path in landed_folder(root, table).glob("[!.]*.parquet"):
        with contextlib.suppress(DamagedFileError, FileNotFoundError):
            for row in read_landed(path, table).select(["study", *names]).to_pylist():
                found.update(row[name] for name in names if row["study"] == study)
    return found
