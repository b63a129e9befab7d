"""The tables: columns from the row classes, keys, comments; their SQL, Parquet schema and documentation."""

import hashlib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from nsl_resources.results.rows import (
    AdviceRow,
    CalibrationRow,
    CellNumberLawRow,
    JointLawRow,
    LawComparisonRow,
    MeasurementRow,
    ModelComparisonRow,
    NoiseLawRow,
    Row,
    RunRow,
    StudyRow,
)

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Raise it when rows that older versions landed can no longer be read: a required column, another meaning."""

TableName = Literal[
    "measurement",
    "noise_law",
    "cell_number_law",
    "joint_law",
    "law_comparison",
    "model_comparison",
    "advice",
    "run",
    "study",
    "calibration",
]
SqlType = Literal["VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR[]", "JSON"]

_SQL_TYPES: Final[Mapping[object, SqlType]] = {
    str: "VARCHAR",
    int: "BIGINT",
    float: "DOUBLE",
    bool: "BOOLEAN",
    datetime: "TIMESTAMP",
    Sequence[str]: "VARCHAR[]",
    Mapping[str, object]: "JSON",
}


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    sql_type: SqlType
    is_nullable: bool
    comment: str
    choices: tuple[str, ...] = ()
    """The values that are allowed; empty: all."""


LANDED_FILE: Final = Column("landed_file", "VARCHAR", False, "Parquet file in results/landed that holds this row")


@dataclass(frozen=True)
class Table:
    """One table. Of two rows with the same key, the one with the later ``recency`` stays."""

    name: TableName
    row_type: type[Row]
    key: tuple[str, ...]
    latest_by: str
    recorded_by: str | None = None
    """Column of a time that, where it is given, counts instead of ``latest_by``."""

    @property
    def recency(self) -> str:
        """The time that decides between two rows of one key, as SQL."""
        return f"coalesce({self.recorded_by}, {self.latest_by})" if self.recorded_by else self.latest_by

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns of a landed row, in order."""
        hints = get_type_hints(self.row_type, include_extras=True)
        return tuple(_column(field.name, hints[field.name]) for field in fields(self.row_type))

    @property
    def comment(self) -> str:
        """What one row is."""
        return (self.row_type.__doc__ or "").strip()

    def ddl(self) -> str:
        """CREATE TABLE with its primary key and a comment on the table and every column."""
        columns = (*self.columns, LANDED_FILE)
        lines = [f"{c.name} {c.sql_type}{'' if c.is_nullable else ' NOT NULL'}" for c in columns]
        body = ",\n    ".join([*lines, f"PRIMARY KEY ({', '.join(self.key)})"])
        comments = [f"COMMENT ON COLUMN {self.name}.{c.name} IS {quoted(c.comment)};" for c in columns]
        return "\n".join(
            [
                f"CREATE TABLE {self.name} (\n    {body}\n);",
                f"COMMENT ON TABLE {self.name} IS {quoted(self.comment)};",
                *comments,
            ]
        )

    @cached_property
    def arrow_schema(self) -> "pa.Schema":
        """Schema of a landed Parquet file; JSON is text, times are UTC without a zone."""
        import pyarrow as pa

        arrow_types = {
            "VARCHAR": pa.string(),
            "JSON": pa.string(),
            "BIGINT": pa.int64(),
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "TIMESTAMP": pa.timestamp("us"),
            "VARCHAR[]": pa.list_(pa.string()),
        }
        return pa.schema([pa.field(c.name, arrow_types[c.sql_type], c.is_nullable) for c in self.columns])


def _column(name: str, hint: Any) -> Column:
    kind, comment = get_args(hint)
    alternatives = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    given = [alternative for alternative in alternatives if alternative is not types.NoneType]
    main = given[0]
    choices = get_args(main) if get_origin(main) is Literal else ()
    return Column(name, _SQL_TYPES[str if choices else main], len(given) < len(alternatives), comment, choices)


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


_CELL = ("study", "task", "model", "n_cells", "level", "seed")

TABLES: Final[Mapping[TableName, Table]] = {
    table.name: table
    for table in (
        Table("measurement", MeasurementRow, (*_CELL, "is_trained", "estimator"), "measured_at", "recorded_at"),
        Table(
            "noise_law",
            NoiseLawRow,
            ("study", "task", "model", "n_cells", "estimator", "protocol"),
            "fitted_at",
        ),
        Table(
            "cell_number_law",
            CellNumberLawRow,
            ("study", "task", "model", "level", "estimator", "protocol"),
            "fitted_at",
        ),
        Table("joint_law", JointLawRow, ("study", "task", "model", "estimator", "protocol", "form"), "fitted_at"),
        Table(
            "law_comparison",
            LawComparisonRow,
            ("study", "task", "model", "n_cells", "estimator", "law"),
            "fitted_at",
        ),
        Table(
            "model_comparison",
            ModelComparisonRow,
            ("study", "task", "n_cells", "first_model", "second_model", "estimator", "protocol"),
            "fitted_at",
        ),
        Table(
            "advice",
            AdviceRow,
            ("study", "task", "model", "n_cells", "question", "estimator", "protocol"),
            "advised_at",
        ),
        Table("run", RunRow, (*_CELL, "run_id"), "finished_at"),
        Table("study", StudyRow, ("study",), "registered_at"),
        Table("calibration", CalibrationRow, ("settings_hash", "estimator", "problem", "n_pairs"), "calibrated_at"),
    )
}

VIEWS: Final[Mapping[str, tuple[str, str]]] = {
    "curve": (
        "Headline curves of trained models: information against depth, mean and deviation over seeds",
        """SELECT study, task, model, n_cells, level, protocol, estimator, count(*) AS n_seeds,
    avg(umis_per_cell) AS umis_per_cell, avg(mi_bits) AS mi_bits, stddev_samp(mi_bits) AS mi_sd_bits,
    avg(floor_bits) AS floor_bits, avg(ceiling_bits) AS ceiling_bits, avg(truth_bits) AS truth_bits
FROM measurement WHERE is_headline AND is_trained
GROUP BY ALL ORDER BY study, task, model, n_cells, level""",
    ),
    "failed_run": (
        "Cells of the grid that failed at their last attempt, with the reason and how often each was tried: what is "
        "still to be repaired",
        """SELECT *, count(*) OVER (PARTITION BY study, task, model, n_cells, level, seed) AS n_attempts FROM run
QUALIFY status = 'failed' AND
    row_number() OVER (PARTITION BY study, task, model, n_cells, level, seed ORDER BY finished_at DESC) = 1
ORDER BY finished_at DESC""",
    ),
}

_INTERNAL_DDL: Final = """CREATE SCHEMA internal;
CREATE TABLE internal.landed_file (
    table_name VARCHAR, file_name VARCHAR, PRIMARY KEY (table_name, file_name));
COMMENT ON TABLE internal.landed_file IS 'Parquet files that are merged into this database';
CREATE TABLE internal.schema_version (version BIGINT, fingerprint VARCHAR);"""


def ddl() -> str:
    """Everything that an empty results database consists of."""
    views = [
        f"CREATE VIEW {name} AS {query};\nCOMMENT ON VIEW {name} IS {quoted(comment)};"
        for name, (comment, query) in VIEWS.items()
    ]
    return "\n".join([*(table.ddl() for table in TABLES.values()), *views, _INTERNAL_DDL])


@cache
def fingerprint() -> str:
    """Digest of the DDL: a database with another one is built anew from the Parquet files."""
    return hashlib.blake2b(ddl().encode(), digest_size=8).hexdigest()


def tables_markdown() -> str:
    """The tables and their columns, as Markdown."""
    parts = [_table_markdown(table) for table in TABLES.values()]
    views = [f"- `{name}`: {comment}." for name, (comment, _) in VIEWS.items()]
    return "\n\n".join([*parts, "## Views", "\n".join(views)]) + "\n"


def _table_markdown(table: Table) -> str:
    rows = [
        f"| `{c.name}`{' **key**' if c.name in table.key else ''} | {c.sql_type} | {c.comment} |"
        for c in (*table.columns, LANDED_FILE)
    ]
    return "\n".join([f"## {table.name}", "", table.comment, "", "| column | type | meaning |", "|---|---|---|", *rows])
