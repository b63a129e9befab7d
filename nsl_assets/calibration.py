"""What is known of the estimators' biases: rows of table `calibration`, and the CSV shipped with nsl.

The rows of a storage come first; the CSV holds the same columns for the default settings. Rows of other settings or of
another version of the code have another `settings_hash` and are never looked at.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from nsl_assets.identity import calibration_hash
from nsl_assets.probing import EstimatorName, ProbingSettings, ProblemSummary
from nsl_resources.artifacts import atomic_write_bytes
from nsl_resources.results import TABLES, CalibrationRow, Results

SHIPPED: Final = files("nsl_assets.probing.calibration") / "default_settings.csv"
"""Written by `nsl calibrate --csv`; there may be none."""
_COLUMN_OF_FIELD: Final = {"true_bits": "truth_bits", "value_bits": "mi_bits"}
"""Where a column of the table is named otherwise than the field of a summary."""
_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "VARCHAR": str,
    "BIGINT": int,
    "DOUBLE": float,
    "BOOLEAN": lambda text: text == "True",
    "TIMESTAMP": datetime.fromisoformat,
}


def land_summaries(results: Results, settings: ProbingSettings, summaries: Sequence[ProblemSummary]) -> None:
    """Land what was just measured with these settings; the next publication shows it."""
    now = datetime.now(UTC)
    results.land("calibration", [_row(summary, settings, now) for summary in summaries])


def _row(summary: ProblemSummary, settings: ProbingSettings, calibrated_at: datetime) -> CalibrationRow:
    columns = {_COLUMN_OF_FIELD.get(name, name): value for name, value in asdict(summary).items()}
    digest = calibration_hash(settings, summary.estimator)
    return CalibrationRow(settings_hash=digest, calibrated_at=calibrated_at, **columns)


def summary_of(row: CalibrationRow) -> ProblemSummary:
    """The summary that a row was made from."""
    names = (field.name for field in fields(ProblemSummary))
    return ProblemSummary(**{name: getattr(row, _COLUMN_OF_FIELD.get(name, name)) for name in names})


def stored_rows(
    results: Results, settings: ProbingSettings, estimators: Iterable[EstimatorName]
) -> list[CalibrationRow]:
    """Rows of the storage that hold for these settings."""
    digests = [calibration_hash(settings, estimator) for estimator in estimators]
    results.publish()
    with results.connect() as database:
        found = database.execute(
            "select * exclude (landed_file) from calibration where list_contains(?, settings_hash) order by all",
            [digests],
        )
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, values, strict=True)) for values in found.fetchall()]
    return [CalibrationRow(**{**row, "calibrated_at": row["calibrated_at"].replace(tzinfo=UTC)}) for row in rows]


def known_summaries(results: Results, settings: ProbingSettings, estimator: EstimatorName) -> list[ProblemSummary]:
    """All that is known of an estimator with these settings; none where it is not calibrated.

    Of a problem that was shipped and measured here too, what rests on more seeds; at equal seeds what was measured.
    """
    digest = calibration_hash(settings, estimator)
    shipped = [row for row in shipped_rows() if row.settings_hash == digest]
    best: dict[tuple[str, int], CalibrationRow] = {}
    for row in [*shipped, *stored_rows(results, settings, [estimator])]:
        key = (row.problem, row.n_pairs)
        if key not in best or row.n_seeds >= best[key].n_seeds:
            best[key] = row
    return [summary_of(row) for row in best.values()]


def shipped_rows() -> list[CalibrationRow]:
    """The calibration that nsl brings along, whatever its settings; empty where it brings none."""
    return rows_from_csv(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.is_file() else []


def write_csv(path: Path, rows: Sequence[CalibrationRow]) -> None:
    """Write rows with the columns of the table, numbers to six digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(CalibrationRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in asdict(row).items()} for row in rows)
    atomic_write_bytes(path, text.getvalue().encode())


def _written(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def rows_from_csv(text: str) -> list[CalibrationRow]:
    """Rows that `write_csv` wrote."""
    readers = {column.name: _READERS[column.sql_type] for column in TABLES["calibration"].columns}
    lines: list[dict[str, Any]] = [
        {name: readers[name](value) if value else None for name, value in line.items()}
        for line in csv.DictReader(io.StringIO(text))
    ]
    return [CalibrationRow(**line) for line in lines]
