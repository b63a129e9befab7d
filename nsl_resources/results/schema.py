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

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Raise it when rows that older versions landed can no longer be read: a required column, another meaning."""

TableName = Literal[
    "measurement",
    "cross_noise_measurement",
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
            "cross_noise_measurement",
            CrossNoiseMeasurementRow,
            ("study", "task", "model", "n_cells", "train_level", "probe_level", "seed", "estimator"),
            "measured_at",
            "recorded_at",
        ),
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

_T_QUANTILES: Final = (
    12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139, 2.200985,
    2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963,
)  # fmt: skip
"""Student's t, 97.5 %, for 1, 2, … degrees of freedom: DuckDB has no such function."""


def _t_quantile(degrees: str) -> str:
    """The 97.5 % quantile of Student's t as SQL; NULL without a degree of freedom.

    Beyond the table by the expansion in 1/degrees (Abramowitz and Stegun 26.7.5), right to 3e-4 there.
    """
    z = 1.959963985
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    listed = f"[{', '.join(map(str, _T_QUANTILES))}]"
    beyond = f"{z} + {first:.9f} / ({degrees}) + {second:.9f} / ({degrees}) ** 2"
    return f"CASE WHEN {degrees} <= {len(_T_QUANTILES)} THEN {listed}[{degrees}] ELSE {beyond} END"


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
    "train_probe_matrix": (
        "Information of trained models by the noise level of training and that of the probe, over seeds, with the "
        "difference to the model that was trained at the probe level: seed by seed, interval of 95 % by Student's t "
        "over the seeds that both have; NULL for one seed. Only of what is probed at other levels too",
        f"""WITH matched AS (
    SELECT study, task, model, n_cells, estimator, level AS train_level, level AS probe_level, seed, mi_bits,
        umis_per_cell AS train_umis_per_cell, umis_per_cell AS probe_umis_per_cell
    FROM measurement SEMI JOIN cross_noise_measurement USING (study, task, model, n_cells, estimator)
    WHERE is_trained),
probed AS (
    FROM matched UNION ALL BY NAME
    SELECT study, task, model, n_cells, estimator, train_level, probe_level, seed, mi_bits,
        train_umis_per_cell, probe_umis_per_cell FROM cross_noise_measurement),
paired AS (
    SELECT probed.*, probed.mi_bits - matched.mi_bits AS difference_bits
    FROM probed LEFT JOIN matched USING (study, task, model, n_cells, estimator, probe_level, seed)),
means AS (
    SELECT study, task, model, n_cells, estimator, train_level, probe_level,
        avg(train_umis_per_cell) AS train_umis_per_cell, avg(probe_umis_per_cell) AS probe_umis_per_cell,
        count(*) AS n_seeds, avg(mi_bits) AS mi_bits, stddev_samp(mi_bits) AS mi_sd_bits,
        count(difference_bits) AS n_paired_seeds, avg(difference_bits) AS difference_bits,
        stddev_samp(difference_bits) / sqrt(count(difference_bits)) * {_t_quantile("count(difference_bits) - 1")}
            AS half_width_bits
    FROM paired GROUP BY ALL)
SELECT * EXCLUDE half_width_bits, difference_bits - half_width_bits AS difference_low_bits,
    difference_bits + half_width_bits AS difference_high_bits
FROM means ORDER BY study, task, model, n_cells, estimator, train_level, probe_level""",
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
