"""Connections to DuckDB with fixed limits, and the checks on a published database."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_resources.results.landing import newer_schema_error
from nsl_resources.results.schema import SCHEMA_VERSION, Table, fingerprint, quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

THREADS: Final = 2
MEMORY_LIMIT: Final = "1GB"
_LOG: Final = logging.getLogger(__name__)


def open_duckdb(
    path: Path | None = None, *, threads: int = THREADS, memory_limit: str = MEMORY_LIMIT
) -> "duckdb.DuckDBPyConnection":
    """A connection of its own, in memory or to a database that nobody else has open. It never downloads."""
    import duckdb

    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": threads,
        "memory_limit": memory_limit,
        "autoinstall_known_extensions": False,
        "TimeZone": "UTC",
    }
    return duckdb.connect(":memory:" if path is None else str(path), config=limits)


def attach(connection: "duckdb.DuckDBPyConnection", path: Path, name: str) -> None:
    """Attach a database file read-only."""
    connection.execute(f"ATTACH {quoted(str(path))} AS {name} (READ_ONLY)")


def attach_usable(connection: "duckdb.DuckDBPyConnection", path: Path, name: str) -> bool:
    """Attach a results database read-only; False when it must be built anew: damaged, or of an older schema.

    Raises:
        StorageError: a newer version of nsl made it.
    """
    import duckdb

    try:
        attach(connection, path, name)
        return _is_current(connection, path, name)
    except duckdb.Error as error:
        if path.exists():
            _LOG.warning("%s cannot be read and is built anew from the landed files: %s", path, error)
        return False


def _is_current(connection: "duckdb.DuckDBPyConnection", path: Path, name: str) -> bool:
    found = connection.execute(f"SELECT version, fingerprint FROM {name}.internal.schema_version").fetchone()
    version, print_found = found or (0, "")
    if version > SCHEMA_VERSION:
        raise newer_schema_error(path, version)
    return (version, print_found) == (SCHEMA_VERSION, fingerprint())


def arrow_rows(found: "duckdb.DuckDBPyConnection", table: Table) -> "pa.Table":
    """The rows of a query that selects all columns of a table, as they land."""
    import pyarrow as pa

    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return pa.Table.from_pylist(rows, table.arrow_schema)
