"""Results of all studies: rows land as Parquet files and are published as DuckDB tables.

    storage/results/landed/<table>/<digest>.parquet   rows as they landed: immutable, the truth
    storage/results/damaged/<table>/...               landed files that could not be read
    storage/results/db/results-<n>-<token>.duckdb     published states; `connect` opens the newest
    storage/results.duckdb                            public copy, for other programs

Everything but ``landed`` can be deleted: the next publication makes it again.
"""

from nsl_resources.results.compaction import Spare
from nsl_resources.results.landing import Damaged
from nsl_resources.results.publishing import Publication
from nsl_resources.results.reading import connect, query
from nsl_resources.results.rows import (
    AdviceRow,
    CalibrationRow,
    CellNumberLawRow,
    CrossNoiseMeasurementRow,
    JointLawRow,
    LawComparisonRow,
    MeasurementRow,
    ModelComparisonRow,
    NoiseLawRow,
    Row,
    RunRow,
    StudyRow,
)
from nsl_resources.results.schema import SCHEMA_VERSION, TABLES, VIEWS, Column, Table, TableName, tables_markdown
from nsl_resources.results.store import Results
from nsl_resources.results.transfer import TableFile, file_digest

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "VIEWS",
    "AdviceRow",
    "CalibrationRow",
    "CellNumberLawRow",
    "Column",
    "CrossNoiseMeasurementRow",
    "Damaged",
    "JointLawRow",
    "LawComparisonRow",
    "MeasurementRow",
    "ModelComparisonRow",
    "NoiseLawRow",
    "Publication",
    "Results",
    "Row",
    "RunRow",
    "Spare",
    "StudyRow",
    "Table",
    "TableFile",
    "TableName",
    "connect",
    "file_digest",
    "query",
    "tables_markdown",
]
