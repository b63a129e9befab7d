"""The results of one storage folder: rows land, are published, and are read."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsl_assets.errors import StorageError
from nsl_resources.results import landing, publishing, reading
from nsl_resources.results.compaction import Spare, compact, old_databases, spare_files
from nsl_resources.results.database import MEMORY_LIMIT, THREADS
from nsl_resources.results.landing import recorded_artifacts
from nsl_resources.results.public import public_path
from nsl_resources.results.rows import Row
from nsl_resources.results.schema import TABLES, TableName
from nsl_resources.results.transfer import TableFile, land_tables, read_tables, write_tables

if TYPE_CHECKING:
    import duckdb


class Results:
    """Measurements, fitted laws, runs and studies of one storage folder.

    Any number of processes may land, publish and read at once.
    """

    def __init__(self, root: Path, *, threads: int = THREADS, memory_limit: str = MEMORY_LIMIT) -> None:
        self.root = Path(root)
        self._threads = threads
        self._memory_limit = memory_limit

    @property
    def public_path(self) -> Path:
        """The public database file, for the DuckDB shell and ATTACH."""
        return public_path(self.root)

    def land(self, table: TableName, rows: Sequence[Row]) -> Path | None:
        """Write rows durably to one new file, which the next publication merges; returns it.

        Landing the same rows twice changes nothing. Without rows nothing is written.

        Raises:
            StorageError: a value that its column cannot hold, rows of another table, an unusable folder.
        """
        if table not in TABLES:
            raise StorageError(f"'{table}' is no results table; there are: {', '.join(TABLES)}.")
        return landing.land(self.root, TABLES[table], rows)

    def publish(self, *, rebuild: bool = False) -> publishing.Publication:
        """Merge everything that landed into the database, and refresh the public copy.

        Of two rows with the same key the later measured one stays, whatever the order of landing. Without
        news nothing is written. ``rebuild`` reads all landed files again.

        Raises:
            StorageError: the storage is full or unwritable, or holds files of a newer version of nsl.
        """
        return publishing.publish(self.root, rebuild=rebuild, threads=self._threads, memory_limit=self._memory_limit)

    def spare_files(self) -> list[Spare]:
        """Landed files that `compact` would remove: without a valid row, or to be merged with others."""
        return spare_files(self.root)

    def compact(self) -> list[Spare]:
        """Remove landed files without valid rows and merge the rest where there are many; publish. Returns what went.

        Killed at any moment, it loses no valid row. Superseded rows are gone for good.
        """
        self.publish()
        found = compact(self.root)
        if any(spare.paths for spare in found):
            self.publish(rebuild=True)
        return found

    def old_databases(self) -> list[Path]:
        """Private database files of earlier publications; each publication removes them too."""
        return old_databases(self.root)

    def recorded_artifacts(self, study: str) -> frozenset[str]:
        """Content hashes of all artifacts that landed measurements of a study name, superseded ones too."""
        return recorded_artifacts(self.root, study)

    def export_study(self, study: str, calibrations: Iterable[str], folder: Path) -> list[TableFile]:
        """Write the rows of a study, one Parquet file a table, and the calibrations of these settings (hashes)."""
        self.publish()
        return write_tables(self.root, study, calibrations, folder)

    def import_study(self, study: str, folder: Path, files: Sequence[TableFile]) -> None:
        """Land exported rows as those of a study of this name, and publish. All files are checked before.

        Raises:
            StorageError: files are missing, damaged, or of a newer version of nsl; nothing has landed then.
        """
        land_tables(self.root, read_tables(folder, files), study)
        self.publish()

    def connect(self) -> "duckdb.DuckDBPyConnection":
        """`connect` to these results: read-only, the newest published rows."""
        return reading.connect(self.root, threads=self._threads, memory_limit=self._memory_limit)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """`query` on these results: rows as JSON values."""
        return reading.query(self.root, sql)

    def row_counts(self) -> dict[TableName, int]:
        """Published rows by table."""
        with self.connect() as connection:
            return {table: _count(connection, table) for table in TABLES}


def _count(connection: "duckdb.DuckDBPyConnection", table: TableName) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
