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
from nsl_resources.results import TABLES, MeasurementRow, Results, RunRow

Key = tuple[Any, ...]
KEY = TABLES["measurement"].key


class Recorder:
    """Lands measurements of one study."""

    def __init__(self, results: Results, study: str) -> None:
        self._results, self._study = results, study

    def land(self, rows: Sequence[MeasurementRow]) -> None:
        """Land rows so that each stands in the table, also where a later measurement stands there now."""
        self._results.land("measurement", [self._on_top(row) for row in rows])

    def land_unrecorded(self, rows: Sequence[MeasurementRow]) -> None:
        """The same for rows of stored measurements: those that stand in the table are left alone."""
        self.land([row for row in rows if self._recorded.get(_key(row)) != row.measurement_hash])

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

    def _on_top(self, row: MeasurementRow) -> MeasurementRow:
        is_other = self._recorded.get(_key(row), row.measurement_hash) != row.measurement_hash
        return replace(row, recorded_at=datetime.now(UTC)) if is_other else row

    @cached_property
    def _recorded(self) -> dict[Key, str]:
        """Hash of the measurement that stands in the table, by key, when it is first asked for."""
        found = self._rows(f"SELECT {', '.join(KEY)}, measurement_hash FROM measurement WHERE study = ?")
        return {tuple(key): digest for *key, digest in found}

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


def _key(row: MeasurementRow) -> Key:
    return tuple(getattr(row, name) for name in KEY)
