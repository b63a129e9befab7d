"""Reading the results: connections that always serve the newest published rows, and one-off queries."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nsl_assets.errors import InputError, StorageError
from nsl_resources.results.database import MEMORY_LIMIT, THREADS, attach_usable, open_duckdb
from nsl_resources.results.generations import database_folder, newest
from nsl_resources.results.json_values import json_value
from nsl_resources.results.publishing import publish
from nsl_resources.results.schema import TABLES, VIEWS

if TYPE_CHECKING:
    import duckdb

_ATTEMPTS: Final = 10
"""So many times a reader looks for the newest database again, when the last was removed meanwhile."""


def connect(root: Path, *, threads: int = THREADS, memory_limit: str = MEMORY_LIMIT) -> "duckdb.DuckDBPyConnection":
    """A connection to the newest published rows, as they are now and for as long as it is open.

    It is an in-memory database of its own with the results attached read-only: tables and views that you make
    live in it (`CREATE TEMP VIEW ...`), and connections held elsewhere in the process do not matter.

    Raises:
        StorageError: nothing has landed there yet, or a newer version of nsl wrote the database.
    """
    root = Path(root)
    for _ in range(_ATTEMPTS):
        connection = _try_connect(root, threads, memory_limit)
        if connection is not None:
            return connection
    raise StorageError(
        f"The results of {root} could not be opened in {_ATTEMPTS} attempts: their database was removed "
        f"or unreadable. Remove {database_folder(root)}; it is built anew from what landed."
    )


def _try_connect(root: Path, threads: int, memory_limit: str) -> "duckdb.DuckDBPyConnection | None":
    """None when it is worth another attempt: the database was superseded meanwhile, or is built anew now."""
    state = newest(root)
    if state is None:
        _publish_first(root, threads, memory_limit)
        return None
    with ExitStack() as closing:
        connection = closing.enter_context(open_duckdb(threads=threads, memory_limit=memory_limit))
        if attach_usable(connection, state.path, "results"):
            connection.execute("USE results")
            closing.pop_all()
            return connection
    if state.path.exists():
        publish(root, rebuild=False, threads=threads, memory_limit=memory_limit)
    return None


def _publish_first(root: Path, threads: int, memory_limit: str) -> None:
    if not (root / "results").is_dir():
        raise StorageError(
            f"There are no results in {root}: nothing was measured with this storage folder yet. "
            "Name another folder, or run a study first (`nsl run`)."
        )
    publish(root, rebuild=False, threads=threads, memory_limit=memory_limit)


def query(root: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of one query as JSON values: times as ISO 8601 UTC, infinities as text, JSON columns parsed.

    The query can neither change the results nor read or write files.

    Raises:
        InputError: the SQL is wrong; the message is DuckDB's, with the tables that there are.
        StorageError: there are no results to read.
    """
    import duckdb

    with connect(root) as connection:
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            cursor = connection.execute(sql)
            names = _unique([str(column[0]) for column in cursor.description or ()])
            kinds = [str(column[1]) for column in cursor.description or ()]
            return [_json_row(names, kinds, row) for row in cursor.fetchall()]
        except duckdb.Error as error:
            raise InputError(
                f"The query cannot be run: {error}\n"
                f"Tables: {', '.join(TABLES)}; views: {', '.join(VIEWS)}; columns: DESCRIBE measurement."
            ) from error


def _unique(names: list[str]) -> list[str]:
    """Names of result columns, where a join has two of one name: the second becomes name_2."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    counts: dict[str, int] = dict.fromkeys(seen, 0)
    return [_numbered(name, counts) for name in names]


def _numbered(name: str, counts: dict[str, int]) -> str:
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}_{counts[name]}"


def _json_row(names: list[str], kinds: list[str], row: tuple[Any, ...]) -> dict[str, Any]:
    return {name: json_value(value, kind) for name, kind, value in zip(names, kinds, row, strict=True)}
