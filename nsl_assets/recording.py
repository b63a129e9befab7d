"""Measurements into the results tables: what a study asks for now stands there, whatever was measured last.

A measurement that is stored is not made again when a study returns to earlier settings. Its row is then older than
the one of the settings in between, and is recorded anew so that it replaces that.
"""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from nsl_assets.study import GridCell
from nsl_resources.results import TABLES, CrossNoiseMeasurementRow, MeasurementRow, Results, RunRow, TableName

Key = tuple[Any, ...]
Measured = MeasurementRow | CrossNoiseMeasurementRow


class Recorder:
    """Lands measurements of one study."""

    def __init__(self, results: Results, study: str) -> None:
        self._results, self._study = results, study
        self._known: dict[TableName, dict[Key, str]] = {}

    def land(self, table: TableName, rows: Sequence[Measured]) -> None:
        """Land rows so that each stands in its table, also where a later measurement stands there now."""
        self._results.land(table, [self._on_top(table, row) for row in rows])

    def land_unrecorded(self, table: TableName, rows: Sequence[Measured]) -> None:
        """The same for rows of stored measurements: those that stand in the table are left alone."""
        missing = [row for row in rows if self._recorded(table).get(_key(table, row)) != row.measurement_hash]
        self.land(table, missing)

    def settle(self, cell: GridCell, dagster_run_id: str | None) -> None:
        """Record that a cell is stored whose last attempt failed: its worker was killed after its work, for example."""
        if _point(cell) in self._failed:
            row = RunRow(
                run_id=uuid.uuid4().hex,
                study=self._study,
                **cell.model_dump(),
                status="reused",
                reason="stored already",
                finished_at=datetime.now(UTC),
                dagster_run_id=dagster_run_id,
            )
            self._results.land("run", [row])

    def n_attempts(self, cell: GridCell) -> int:
        """How often a cell has been tried, the attempt that ended now among them."""
        return self._attempts.get(_point(cell), 0) + 1

    def _on_top(self, table: TableName, row: Measured) -> Measured:
        is_other = self._recorded(table).get(_key(table, row), row.measurement_hash) != row.measurement_hash
        return replace(row, recorded_at=datetime.now(UTC)) if is_other else row

    def _recorded(self, table: TableName) -> dict[Key, str]:
        """Hash of the measurement that stands in a table, by key, when it is first asked for."""
        if table not in self._known:
            columns = ", ".join(TABLES[table].key)
            found = self._rows(f"SELECT {columns}, measurement_hash FROM {table} WHERE study = ?")
            self._known[table] = {tuple(key): digest for *key, digest in found}
        return self._known[table]

    @cached_property
    def _failed(self) -> frozenset[Key]:
        """Cells of the grid whose last attempt failed."""
        return frozenset(self._rows("SELECT task, model, n_cells, level, seed FROM failed_run WHERE study = ?"))

    @cached_property
    def _attempts(self) -> dict[Key, int]:
        """Attempts of earlier runs by cell of the grid."""
        found = self._rows("SELECT task, model, n_cells, level, seed, count(*) FROM run WHERE study = ? GROUP BY ALL")
        return {tuple(point): n_attempts for *point, n_attempts in found}

    def _rows(self, query: str) -> list[Key]:
        self._results.publish()
        with self._results.connect() as database:
            return database.execute(query, [self._study]).fetchall()


def _point(cell: GridCell) -> Key:
    return cell.task, cell.model, cell.n_cells, cell.level, cell.seed


def _key(table: TableName, row: Measured) -> Key:
    return tuple(getattr(row, name) for name in TABLES[table].key)
