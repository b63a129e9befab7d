"""The next database: the rows of the last one and of the new landed files, the latest row of each key.

It is written from scratch: no row is updated in place, and the file is sorted by key and compact.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import StorageError
from nsl_resources.results.database import attach, open_duckdb
from nsl_resources.results.generations import Generation
from nsl_resources.results.landing import (
    Damaged,
    DamagedFileError,
    landed_folder,
    landed_schema,
    move_aside,
    read_landed,
)
from nsl_resources.results.schema import (
    LANDED_FILE,
    SCHEMA_VERSION,
    TABLES,
    Table,
    TableName,
    ddl,
    fingerprint,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH_FILES: Final = 1000
"""Files that are read before their rows are put in one piece."""
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Last:
    """The last published state, whose rows the next one takes over."""

    generation: Generation
    merged: Mapping[TableName, frozenset[str]]
    """Names of the landed files that are in it."""


@dataclass
class Merge:
    """One next database in the making; the last one is attached as `last`."""

    root: Path
    connection: "duckdb.DuckDBPyConnection" = field(repr=False)
    last: Last | None
    n_merged_files: int = 0
    damaged: list[Damaged] = field(default_factory=list)


def build(path: Path, root: Path, last: Last | None, *, threads: int, memory_limit: str) -> Merge:
    """Write the next database to a path: checkpointed, closed, without a `.wal`."""
    with open_duckdb(path, threads=threads, memory_limit=memory_limit) as connection:
        if last is not None:
            attach(connection, last.generation.path, "last")
        merge = Merge(root, connection, last)
        connection.begin()  # one transaction: a hundred statements that each sync the disk take ten times longer
        connection.execute(ddl())
        connection.execute("INSERT INTO internal.schema_version VALUES (?, ?)", [SCHEMA_VERSION, fingerprint()])
        for table in TABLES.values():
            _merge_table(merge, table)
        connection.commit()
        connection.execute("CHECKPOINT")
    _require_no_wal(path)
    return merge


def unmerged(root: Path, table: Table, last: Last | None) -> list[Path]:
    """Landed files of a table that the last database does not hold, in order of their names."""
    merged = last.merged[table.name] if last else frozenset()
    paths = landed_folder(root, table).glob("[!.]*.parquet")
    return sorted(path for path in paths if path.name not in merged)


def _merge_table(merge: Merge, table: Table) -> None:
    """Fill a table from the last database and the unmerged files: the latest row of each key."""
    connection = merge.connection
    connection.register("incoming", _incoming(merge, table))
    last_rows = f"FROM last.{table.name} UNION ALL BY NAME" if merge.last else ""
    connection.execute(
        f"""INSERT INTO {table.name} BY NAME
        SELECT * FROM ({last_rows} FROM incoming)
        QUALIFY row_number() OVER (
            PARTITION BY {", ".join(table.key)} ORDER BY {table.recency} DESC, {LANDED_FILE.name} DESC) = 1
        ORDER BY {", ".join(table.key)}"""
    )
    last_files = f"FROM last.internal.landed_file WHERE table_name = '{table.name}' UNION ALL" if merge.last else ""
    connection.execute(
        f"""INSERT INTO internal.landed_file
        {last_files} SELECT DISTINCT '{table.name}', {LANDED_FILE.name} FROM incoming"""
    )
    connection.unregister("incoming")


def _incoming(merge: Merge, table: Table) -> "pa.Table":
    """The rows of all unmerged files of a table."""
    import pyarrow as pa

    paths = unmerged(merge.root, table, merge.last)
    batches = [_batch(merge, table, paths[at : at + BATCH_FILES]) for at in range(0, len(paths), BATCH_FILES)]
    return pa.concat_tables([landed_schema(table).empty_table(), *batches])


def _batch(merge: Merge, table: Table, paths: Sequence[Path]) -> "pa.Table":
    """The rows of some files in one piece: thousands of pieces take memory and slow DuckDB down."""
    import pyarrow as pa

    read = [rows for path in paths if (rows := _read(merge, table, path)) is not None]
    merge.n_merged_files += len(read)
    return pa.concat_tables([landed_schema(table).empty_table(), *read]).combine_chunks()


def _read(merge: Merge, table: Table, path: Path) -> "pa.Table | None":
    try:
        return read_landed(path, table)
    except DamagedFileError as error:
        damaged = move_aside(merge.root, table, path, str(error))
        _LOG.warning("%s is damaged (%s) and was moved to %s", path, error, damaged.path)
        merge.damaged.append(damaged)
        return None


def _require_no_wal(database: Path) -> None:
    wal = database.with_name(f"{database.name}.wal")
    if wal.exists():
        raise StorageError(f"DuckDB left {wal} after a checkpoint; nothing was published. Run again.")
