"""Fewer landed files: those without a valid row are removed, many small ones become one. No valid row is ever missing.

A killed compaction leaves rows twice or superseded rows, never fewer rows. Rows are twice with the same values, so it
does not matter which copy stands in the database. Of rows of one key and one moment that with the greater file name is
valid; removing in ascending order of names keeps it so until the last superseded row is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_resources.results.database import arrow_rows, attach_usable, open_duckdb
from nsl_resources.results.generations import Generation, generations, newest, superseded
from nsl_resources.results.landing import land_arrow, landed_folder
from nsl_resources.results.publishing import publication_lock
from nsl_resources.results.schema import LANDED_FILE, TABLES, Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

FEWEST_TO_MERGE: Final = 100
"""Landed files of one table that are worth merging."""


@dataclass(frozen=True)
class Spare:
    """Landed files of one table that can go."""

    table: Table
    superseded: tuple[Path, ...]
    """Files without a valid row."""
    merged: tuple[Path, ...]
    """Files with valid rows, which will be in one file; empty where they are too few to be worth it."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, in the order in which they may be removed."""
        return tuple(sorted((*self.superseded, *self.merged)))


def spare_files(root: Path) -> list[Spare]:
    """What `compact` would remove, by table; as of the last publication."""
    state = newest(root)
    if state is None:
        return []
    with open_duckdb() as connection:
        if not attach_usable(connection, state.path, "last"):
            return []
        return [_spare(connection, root, table) for table in TABLES.values()]


def compact(root: Path) -> list[Spare]:
    """Remove landed files without valid rows, and merge the rest where there are many. What lands meanwhile stays.

    Publish before, so that much is known, and rebuild after, so that rows name the files that they are in now.
    """
    with publication_lock(root):
        state = newest(root)
        if state is None:
            return []
        found = spare_files(root)
        for spare in found:
            if spare.merged:
                land_arrow(root, spare.table, _valid_rows(state, spare.table, spare.merged))
            for path in spare.paths:
                path.unlink(missing_ok=True)
    return found


def old_databases(root: Path) -> list[Path]:
    """Published states that readers have had time to leave."""
    return [state.path for state in superseded(generations(root))]


def _spare(connection: "duckdb.DuckDBPyConnection", root: Path, table: Table) -> Spare:
    """Files that landed after the publication are in neither list."""
    valid = _names(connection, f"SELECT DISTINCT {LANDED_FILE.name} FROM last.{table.name}")
    merged = _names(connection, f"SELECT file_name FROM last.internal.landed_file WHERE table_name = '{table.name}'")
    paths = [path for path in sorted(landed_folder(root, table).glob("[!.]*.parquet")) if path.name in merged]
    holding = tuple(path for path in paths if path.name in valid)
    is_worth_it = len(holding) >= FEWEST_TO_MERGE
    return Spare(table, tuple(path for path in paths if path.name not in valid), holding if is_worth_it else ())


def _names(connection: "duckdb.DuckDBPyConnection", query: str) -> frozenset[str]:
    return frozenset(name for (name,) in connection.execute(query).fetchall())


def _valid_rows(state: Generation, table: Table, paths: Sequence[Path]) -> "pa.Table":
    """The valid rows of these files, as they land."""
    with open_duckdb() as connection:
        attach_usable(connection, state.path, "last")
        found = connection.execute(
            f"SELECT * EXCLUDE {LANDED_FILE.name} FROM last.{table.name} WHERE {LANDED_FILE.name} IN "
            "(SELECT unnest($names))",
            {"names": [path.name for path in paths]},
        )
        return arrow_rows(found, table)
