"""Measurements into the results tables: what a study asks for now stands there, whatever was measured last.

A measurement that is stored is not made again when a study returns to earlier settings. Its row is then older than
the one of the settings in between, and is recorded anew so that it replaces that.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from nsl_resources.results import TABLES, MeasurementRow, Results

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

    def _on_top(self, row: MeasurementRow) -> MeasurementRow:
        is_other = self._recorded.get(_key(row), row.measurement_hash) != row.measurement_hash
        return replace(row, recorded_at=datetime.now(UTC)) if is_other else row

    @cached_property
    def _recorded(self) -> dict[Key, str]:
        """Hash of the measurement that stands in the table, by key, when it is first asked for."""
        self._results.publish()
        with self._results.connect() as database:
            found = database.execute(
                f"SELECT {', '.join(KEY)}, measurement_hash FROM measurement WHERE study = ?", [self._study]
            ).fetchall()
        return {tuple(key): digest for *key, digest in found}


def _key(row: MeasurementRow) -> Key:
    return tuple(getattr(row, name) for name in KEY)
