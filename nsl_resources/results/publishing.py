"""Publication: what landed becomes the next database, under one lock, and the public copy follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import StorageError
from nsl_resources.artifacts.space import full_storage_errors, is_full, require_writable
from nsl_resources.results.database import attach_usable, open_duckdb
from nsl_resources.results.generations import (
    Generation,
    database_folder,
    first,
    newest,
    remove_old,
    reveal,
    sweep_temporary,
    temporary_database,
)
from nsl_resources.results.landing import Damaged
from nsl_resources.results.merging import Last, build, unmerged
from nsl_resources.results.public import refresh_public
from nsl_resources.results.schema import TABLES, TableName

if TYPE_CHECKING:
    import duckdb

LOCK_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True)
class Publication:
    """What one publication did."""

    n_merged_files: int = 0
    damaged: tuple[Damaged, ...] = ()
    """Landed files that could not be read, and where they are now."""
    kept_foreign: Path | None = None
    """A database of another program that stood in the place of results.duckdb, where it was kept."""


def publish(root: Path, *, rebuild: bool, threads: int, memory_limit: str) -> Publication:
    """Merge all landed files into the database and refresh the public copy; see `Results.publish`."""
    with publication_lock(root):
        state = newest(root)
        last = None if state is None else _inspect(state)
        if last is not None and not rebuild and not _has_news(root, last):
            publication, current = Publication(), last.generation
        else:
            current = (state or first(root)).next()
            publication = _publish_next(root, None if rebuild else last, current, threads, memory_limit)
        kept = refresh_public(root, current.path)
        remove_old(root)
    return replace(publication, kept_foreign=kept)


@contextmanager
def publication_lock(root: Path) -> Iterator[None]:
    """Only one process at a time publishes; the lock of a killed one is free at once.

    Raises:
        StorageError: another process has been publishing for ten minutes, or the storage is unwritable.
    """
    from filelock import FileLock, Timeout

    require_writable(database_folder(root))
    path = root / "results" / "publish.lock"
    try:
        with FileLock(path, timeout=LOCK_TIMEOUT_S, mode=0o666), full_storage_errors(root):
            sweep_temporary(root)
            try:
                yield
            finally:
                sweep_temporary(root)
    except Timeout:
        raise StorageError(
            f"Another process has been publishing results for {LOCK_TIMEOUT_S:.0f} s (lock {path}). "
            "Look for a hanging nsl process, end it and run again; landed rows are safe."
        ) from None


def _has_news(root: Path, last: Last) -> bool:
    return any(unmerged(root, table, last) for table in TABLES.values())


def _publish_next(root: Path, last: Last | None, current: Generation, threads: int, memory_limit: str) -> Publication:
    """Build the next database and let it appear."""
    temporary = temporary_database(current)
    with _duckdb_errors(temporary):
        merge = build(temporary, root, last, threads=threads, memory_limit=memory_limit)
    reveal(temporary, current)
    return Publication(merge.n_merged_files, tuple(merge.damaged))


def _inspect(state: Generation) -> Last | None:
    """What a published state holds; None when it must be built anew."""
    with open_duckdb() as connection:
        if not attach_usable(connection, state.path, "last"):
            return None
        return Last(state, {table: _merged_names(connection, table) for table in TABLES})


def _merged_names(connection: "duckdb.DuckDBPyConnection", table: TableName) -> frozenset[str]:
    query = "SELECT file_name FROM last.internal.landed_file WHERE table_name = ?"
    return frozenset(name for (name,) in connection.execute(query, [table]).fetchall())


@contextmanager
def _duckdb_errors(path: Path) -> Iterator[None]:
    """DuckDB's errors as StorageError, a full disk excepted, which has its own message."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if is_full(error):
            raise
        raise StorageError(
            f"The next results database {path} cannot be written: {error}. Landed rows are safe: remove the "
            f"folder {path.parent} and publish again, which builds the database anew."
        ) from error
