"""Results: rows land, are published and read; by many processes, beside foreign users, after damage."""

import datetime as dt
import json
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from nsl_assets.errors import InputError, StorageError
from nsl_resources.results import (
    TABLES,
    CalibrationRow,
    CrossNoiseMeasurementRow,
    MeasurementRow,
    NoiseLawRow,
    Results,
    Row,
    RunRow,
    StudyRow,
    Table,
    TableName,
    connect,
    generations,
    landing,
    publishing,
    query,
    schema,
    tables_markdown,
)

MORNING = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)


def measurement(seed: int = 0, mi_bits: float = 1.5, *, minutes: float = 0, **changes: Any) -> MeasurementRow:
    row = MeasurementRow(
        study="first",
        task="proteins",
        model="pca",
        n_cells=1000,
        level=0.1,
        seed=seed,
        is_trained=True,
        estimator="infonce",
        is_headline=True,
        mi_bits=mi_bits,
        low_bits=1.25,
        high_bits=math.inf,
        floor_bits=0.01,
        ceiling_bits=None,
        umis_per_cell=250.5,
        n_probe_cells=500,
        n_nonempty_probe_cells=499,
        n_pairs=490,
        n_train_cells=1000,
        flags=("wide", "few_pairs"),
        diagnostics={"folds": [1, 2.5], "loss": math.nan, "bound": math.inf},
        data_hash="a" * 32,
        noised_hash="b" * 32,
        model_hash="c" * 32,
        embedding_hash="d" * 32,
        measurement_hash="e" * 32,
        protocol="corrected",
        measured_at=MORNING + dt.timedelta(minutes=minutes),
    )
    return replace(row, **changes)


def run(run_id: str, status: Any, *, minutes: float = 0, **changes: Any) -> RunRow:
    row = RunRow(
        run_id=run_id,
        study="first",
        task="proteins",
        model="pca",
        n_cells=1000,
        level=0.1,
        seed=0,
        status=status,
        finished_at=MORNING + dt.timedelta(minutes=minutes),
    )
    return replace(row, **changes)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "storage")


def published(results: Results, columns: str = "seed, mi_bits") -> list[tuple[Any, ...]]:
    with results.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM measurement ORDER BY ALL").fetchall()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process: prints `ready`, then waits for its input to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


# Schema: one source for rows, SQL, Parquet and documentation


def test_every_column_is_described_in_the_database(results: Results) -> None:
    results.publish()
    with results.connect() as connection:
        found = connection.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() "
            "WHERE database_name = 'results' AND schema_name = 'main' AND NOT internal"
        ).fetchall()
        views = connection.execute(
            "SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'results' AND NOT internal"
        ).fetchall()
    in_tables = {(table, column): comment for table, column, comment in found if table in TABLES}
    assert in_tables == {
        (table.name, column.name): column.comment
        for table in TABLES.values()
        for column in (*table.columns, schema.LANDED_FILE)
    }
    assert all(in_tables.values())
    assert {name for name, comment in views if comment} == {"curve", "failed_run", "train_probe_matrix"}


def test_units_are_named() -> None:
    for table in TABLES.values():
        for column in table.columns:
            unit = {"bits": "(bits)", "mib": "(MiB)", "cell": "(UMIs per cell)", "depth": "(UMIs per cell)"}
            expected = unit.get(column.name.rsplit("_", 1)[-1])
            assert expected is None or column.comment.endswith(expected), column


def test_keys_and_types_of_the_tables() -> None:
    assert TABLES["measurement"].key == (
        *("study", "task", "model", "n_cells", "level", "seed"),
        *("is_trained", "estimator"),
    )
    types = {column.name: (column.sql_type, column.is_nullable) for column in TABLES["measurement"].columns}
    assert types["n_cells"] == ("BIGINT", False)
    assert types["level"] == ("DOUBLE", False)
    assert types["ceiling_bits"] == ("DOUBLE", True)
    assert types["flags"] == ("VARCHAR[]", False)
    assert types["diagnostics"] == ("JSON", False)
    assert types["measured_at"] == ("TIMESTAMP", False)
    for table in TABLES.values():
        nullable = {column.name for column in table.columns if column.is_nullable}
        assert not nullable & {*table.key, table.latest_by}


def test_documentation_of_the_tables_is_current() -> None:
    path = Path(__file__).resolve().parents[2] / "docs" / "results-tables.md"
    assert path.read_text().endswith(tables_markdown()), (
        "run: python -c 'from nsl_resources.results import tables_markdown; print(tables_markdown())' "
        f"and replace the tables in {path}"
    )


# Landing and publishing


def test_rows_come_back_as_they_went_in(results: Results) -> None:
    results.land("measurement", [measurement()])
    publication = results.publish()
    assert (publication.n_merged_files, publication.damaged, publication.kept_foreign) == (1, (), None)
    (row,) = results.query("SELECT * FROM measurement")
    file_name = row.pop("landed_file")
    assert file_name.endswith(".parquet")
    expected = {column.name: getattr(measurement(), column.name) for column in TABLES["measurement"].columns}
    expected |= {
        "high_bits": "Infinity",
        "flags": ["few_pairs", "wide"],
        "diagnostics": {"folds": [1, 2.5], "loss": None, "bound": "Infinity"},
        "measured_at": "2026-03-01T08:00:00Z",
    }
    assert row == expected
    assert published(results, "high_bits = 'Infinity', typeof(diagnostics)") == [(True, "JSON")]


def test_numpy_values_are_stored_as_what_they_are(results: Results) -> None:
    row = measurement(
        seed=np.int64(3),
        mi_bits=np.float32(0.5),
        is_trained=np.bool_(True),
        diagnostics={"covariance": np.array([[1.0, np.nan], [np.inf, 4.0]]), "n": np.int32(2)},
    )
    results.land("measurement", [row])
    results.publish()
    assert results.query("SELECT seed, mi_bits, is_trained, diagnostics FROM measurement") == [
        {
            "seed": 3,
            "mi_bits": 0.5,
            "is_trained": True,
            "diagnostics": {"covariance": [[1.0, None], ["Infinity", 4.0]], "n": 2},
        }
    ]
    with pytest.raises(StorageError, match=r"measurement\.mi_bits"):
        results.land("measurement", [measurement(mi_bits=np.array([1.0, 2.0]))])


def any_row(table: Table) -> Row:
    """A row with a value of its type in every column."""
    values = {"VARCHAR": "text", "BIGINT": 3, "DOUBLE": math.inf, "BOOLEAN": True, "TIMESTAMP": MORNING}
    values |= {"VARCHAR[]": ["one", "two"], "JSON": {"key": 1.0}}
    columns = {column.name: (column.choices or (values[column.sql_type],))[0] for column in table.columns}
    return table.row_type(**columns)


def test_all_tables_take_their_rows(results: Results) -> None:
    law = NoiseLawRow(
        study="first",
        task="proteins",
        model="pca",
        n_cells=1000,
        estimator="infonce",
        protocol="corrected",
        is_headline=True,
        imax_bits=2.0,
        imax_low_bits=1.9,
        imax_high_bits=math.inf,
        ubar=500.0,
        ubar_low=400.0,
        ubar_high=math.inf,
        target_fraction=0.9,
        target_depth=4000.0,
        target_depth_low=3000.0,
        target_depth_high=math.inf,
        r2_seed_means=0.99,
        r2_points=math.nan,
        residual_sd_bits=0.02,
        n_points=30,
        n_levels=10,
        n_seeds=3,
        is_converged=True,
        flags=["no_plateau"],
        law_hash="f" * 32,
        fitted_at=MORNING,
    )
    study = StudyRow(
        study="first",
        definition="[study]",
        protocol="corrected",
        n_grid_cells=30,
        n_seeds=3,
        registered_at=MORNING,
    )
    calibration = CalibrationRow(
        settings_hash="f" * 32,
        estimator="pooled",
        problem="classes_10",
        n_pairs=500,
        family="classes",
        is_fresh=False,
        is_categorical=True,
        n_seeds=5,
        truth_bits=3.0,
        mi_bits=2.9,
        bias_bits=-0.1,
        sd_bits=0.02,
        low_bits=2.8,
        high_bits=3.1,
        median_width_bits=0.3,
        floor_bits=0.0,
        gap_bits=0.2,
        beyond_gaussian_bits=None,
        holds_share=1.0,
        above_low_share=1.0,
        unreliable_share=0.0,
        cpu_seconds=2.5,
        calibrated_at=MORNING,
    )
    results.land("measurement", [measurement()])
    results.land("noise_law", [law])
    results.land("run", [run("r1", "succeeded", library_versions={"numpy": "2.0"})])
    results.land("study", [study])
    results.land("calibration", [calibration])
    for name in (
        "cross_noise_measurement",
        "cell_number_law",
        "joint_law",
        "law_comparison",
        "model_comparison",
        "advice",
    ):
        results.land(name, [any_row(TABLES[name])])
    results.publish()
    assert set(results.row_counts().values()) == {1}
    assert results.query("SELECT r2_points, ubar_high, diagnostics FROM noise_law") == [
        {"r2_points": None, "ubar_high": "Infinity", "diagnostics": {}}
    ]
    assert results.query("SELECT library_versions->>'numpy' AS numpy FROM run") == [{"numpy": "2.0"}]


def test_landing_and_publishing_are_idempotent(results: Results) -> None:
    first = results.land("measurement", [measurement()])
    assert results.land("measurement", [measurement()]) == first
    assert results.land("measurement", []) is None
    results.publish()
    states = generations.generations(results.root)
    results.land("measurement", [measurement()])
    assert results.publish().n_merged_files == 0
    assert generations.generations(results.root) == states, "without news nothing is written"
    assert published(results) == [(0, 1.5)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("publish_between", [True, False])
def test_the_later_measured_row_wins_in_any_order(
    results: Results, order: Sequence[int], publish_between: bool
) -> None:
    rows = [measurement(mi_bits=1.0, minutes=0), measurement(mi_bits=2.0, minutes=1)]
    for position in order:
        results.land("measurement", [rows[position], measurement(seed=7)])
        if publish_between:
            results.publish()
    results.publish()
    assert published(results) == [(0, 2.0), (7, 1.5)]


def test_a_measurement_that_is_asked_for_again_replaces_a_later_one(results: Results) -> None:
    results.land("measurement", [measurement(0, 1.0, minutes=0)])
    results.land("measurement", [measurement(0, 2.0, minutes=9)])
    again = measurement(0, 1.0, minutes=0, recorded_at=MORNING + dt.timedelta(minutes=10))
    results.land("measurement", [again])
    results.publish()
    assert published(results) == [(0, 1.0)]
    results.land("measurement", [measurement(0, 3.0, minutes=11)])
    results.publish(rebuild=True)
    assert published(results) == [(0, 3.0)]


def test_rows_of_the_same_moment_resolve_the_same_way_in_any_order(results: Results, tmp_path: Path) -> None:
    rows = [measurement(mi_bits=value) for value in (1.0, 2.0, 3.0)]
    other = Results(tmp_path / "other")
    for row in rows:
        results.land("measurement", [row])
        results.publish()
    for row in reversed(rows):
        other.land("measurement", [row])
    other.publish()
    assert published(results) == published(other)
    results.publish(rebuild=True)
    assert published(results) == published(other)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mi_bits": math.nan}, "measurement.mi_bits"),
        ({"n_cells": 1.5}, "measurement.n_cells"),
        ({"seed": True}, "measurement.seed"),
        ({"n_pairs": 2**63}, "measurement.n_pairs"),
        ({"study": None}, "measurement.study"),
        ({"is_trained": 1}, "measurement.is_trained"),
        ({"flags": "no_plateau"}, "measurement.flags"),
        ({"diagnostics": "[1]"}, "measurement.diagnostics"),
        ({"diagnostics": "{"}, "measurement.diagnostics"),
        ({"measured_at": dt.datetime(2026, 3, 1)}, "measurement.measured_at"),
    ],
)
def test_values_that_a_column_cannot_hold_are_named(results: Results, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(StorageError, match=named):
        results.land("measurement", [measurement(**changes)])
    assert not (results.root / "results" / "landed").exists()


def test_wrong_tables_and_statuses_are_refused(results: Results) -> None:
    with pytest.raises(StorageError, match="MeasurementRow; a RunRow"):
        results.land("measurement", [run("r1", "succeeded")])
    with pytest.raises(StorageError, match="succeeded, failed, reused"):
        results.land("run", [run("r1", "done")])
    with pytest.raises(StorageError, match="no results table"):
        results.land("laws", [])  # type: ignore[arg-type]


def test_times_of_any_zone_are_stored_in_utc(results: Results) -> None:
    tokyo = dt.timezone(dt.timedelta(hours=9))
    results.land("measurement", [measurement(measured_at=dt.datetime(2026, 3, 1, 17, tzinfo=tokyo))])
    results.publish()
    assert published(results, "measured_at") == [(dt.datetime(2026, 3, 1, 8),)]


def test_views_show_headline_curves_and_what_failed_last(results: Results) -> None:
    results.land("measurement", [measurement(0, 1.0), measurement(1, 2.0)])
    results.land(
        "measurement",
        [measurement(0, 9.0, is_trained=False), measurement(1, 9.0, is_headline=False, estimator="lmi")],
    )
    results.land("run", [run("a", "failed", minutes=0), run("b", "succeeded", minutes=1)])
    results.land("run", [run("c", "succeeded", seed=1, minutes=0), run("d", "failed", seed=1, minutes=1, reason="NaN")])
    results.publish()
    (point,) = results.query("SELECT n_seeds, mi_bits, mi_sd_bits, umis_per_cell FROM curve")
    assert point == {
        "n_seeds": 2,
        "mi_bits": 1.5,
        "mi_sd_bits": pytest.approx(math.sqrt(0.5)),
        "umis_per_cell": 250.5,
    }
    assert results.query("SELECT seed, run_id, reason FROM failed_run") == [{"seed": 1, "run_id": "d", "reason": "NaN"}]


def crossed(train_level: float, seed: int, mi_bits: float, **changes: Any) -> CrossNoiseMeasurementRow:
    """A model of some level, probed at level 0.1."""
    given = {column.name: getattr(measurement(), column.name, None) for column in TABLES[CROSSED].columns}
    given |= {"train_level": train_level, "probe_level": 0.1, "seed": seed, "mi_bits": mi_bits}
    given |= {"train_umis_per_cell": 2_500.0 * train_level, "probe_umis_per_cell": 250.0}
    given |= {"train_noised_hash": "f" * 32, "probe_noised_hash": "b" * 32}
    return CrossNoiseMeasurementRow(**given | changes)


CROSSED: TableName = "cross_noise_measurement"


def test_the_matrix_of_training_and_probe_noise_compares_seed_by_seed(results: Results) -> None:
    matched = {0: 1.0, 1: 1.3, 2: 0.9, 3: 5.0}
    results.land("measurement", [measurement(seed, bits) for seed, bits in matched.items()])
    results.land("measurement", [measurement(0, 9.0, is_trained=False), measurement(0, 9.0, model="other")])
    results.land(CROSSED, [crossed(1.0, seed, bits) for seed, bits in {0: 0.7, 1: 0.8, 2: 0.65}.items()])
    results.land(CROSSED, [crossed(0.5, 0, 0.9), crossed(0.25, 9, 0.4)])
    results.publish()
    found = {row["train_level"]: row for row in results.query("SELECT * FROM train_probe_matrix")}
    assert set(found) == {0.1, 0.25, 0.5, 1.0}, "of model 'other' nothing was probed elsewhere"
    deep = found[1.0]
    differences = np.array([-0.3, -0.5, -0.25])
    half = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / math.sqrt(3)
    assert (deep["n_seeds"], deep["n_paired_seeds"], deep["probe_level"]) == (3, 3, 0.1)
    assert (deep["train_umis_per_cell"], deep["probe_umis_per_cell"]) == (2_500.0, 250.0)
    assert deep["mi_bits"] == pytest.approx(np.mean([0.7, 0.8, 0.65]))
    assert deep["mi_sd_bits"] == pytest.approx(np.std([0.7, 0.8, 0.65], ddof=1))
    assert deep["difference_bits"] == pytest.approx(differences.mean())
    ends = (deep["difference_low_bits"], deep["difference_high_bits"])
    assert ends == pytest.approx((differences.mean() - half, differences.mean() + half), abs=1e-6)
    one_seed = found[0.5]
    assert one_seed["difference_bits"] == pytest.approx(-0.1)
    assert (one_seed["mi_sd_bits"], one_seed["difference_low_bits"], one_seed["difference_high_bits"]) == (None,) * 3
    assert (found[0.25]["n_paired_seeds"], found[0.25]["difference_bits"]) == (0, None)
    assert (found[0.1]["n_seeds"], found[0.1]["difference_bits"]) == (4, 0.0)


@pytest.mark.parametrize("n_seeds", [2, 21, 22, 60, 1_000])
def test_the_interval_of_the_matrix_is_that_of_students_t(results: Results, n_seeds: int) -> None:
    bits = [0.1 * (seed % 7) for seed in range(n_seeds)]
    results.land("measurement", [measurement(seed, 0.0) for seed in range(n_seeds)])
    results.land(CROSSED, [crossed(1.0, seed, one) for seed, one in enumerate(bits)])
    results.publish()
    (row,) = results.query("SELECT * FROM train_probe_matrix WHERE train_level = 1")
    low, high = stats.t.interval(0.95, n_seeds - 1, np.mean(bits), stats.sem(bits))
    assert (row["difference_low_bits"], row["difference_high_bits"]) == pytest.approx((low, high), rel=2e-4)


def test_crossed_rows_replace_each_other_and_name_their_artifacts(results: Results) -> None:
    results.land(CROSSED, [crossed(1.0, 0, 0.7, model_hash="1" * 32)])
    later = {"measured_at": MORNING + dt.timedelta(minutes=1)}
    results.land(CROSSED, [crossed(1.0, 0, 0.8, model_hash="2" * 32, **later)])
    results.publish()
    assert results.query(f"SELECT mi_bits FROM {CROSSED}") == [{"mi_bits": 0.8}]
    assert {"1" * 32, "2" * 32, "f" * 32} <= results.recorded_artifacts("first")
    assert results.recorded_artifacts("second") == frozenset()


# Many processes at once


SIXTEEN_LANDERS = """
    import datetime, json, os, sys
    from pathlib import Path
    import duckdb, pandas, pyarrow.parquet  # once, not in sixteen children
    from nsl_resources.results import MeasurementRow, Results

    n_rows = int(sys.argv[3])

    def work(worker):
        results = Results(Path(sys.argv[1]))
        values = json.loads(sys.argv[2]) | {"measured_at": datetime.datetime.now(datetime.UTC)}
        for number in range(0, n_rows, 2):
            pair = [{"seed": n_rows * worker + i, "mi_bits": worker + i / 1000} for i in (number, number + 1)]
            results.land("measurement", [MeasurementRow(**values | change) for change in pair])
            if worker < 3 and number % (n_rows // 5) == 0:
                results.publish()

    print("ready", flush=True)
    children = []
    for worker in range(16):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(worker)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.mark.parametrize("n_rows", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_sixteen_landers_three_publishers_and_a_reader_lose_nothing(results: Results, n_rows: int) -> None:
    results.publish()
    values = json.dumps(asdict(measurement()) | {"measured_at": None})
    counts = [0]
    with python(SIXTEEN_LANDERS, results.root, values, n_rows) as landers:
        while landers.poll() is None:
            counts.append(len(published(results, "seed")))
    assert landers.wait() == 0, "so many of the sixteen failed"
    results.publish()
    expected = [(n_rows * worker + number, worker + number / 1000) for worker in range(16) for number in range(n_rows)]
    assert published(results) == expected
    assert rows_in(results.public_path) == len(expected)
    assert counts == sorted(counts), "a reader must never see fewer rows than before"
    assert len(set(counts)) > 2, "the reader polled while rows were being published"


KILLED_PUBLISHER = """
    import importlib, os, signal, sys
    from pathlib import Path
    from nsl_resources.results import Results
    _, root, when, module_name, function_name = sys.argv
    module = importlib.import_module(f"nsl_resources.results.{module_name}")
    function = getattr(module, function_name)
    def die(*arguments, **named):
        if when == "after":
            function(*arguments, **named)
        print("ready", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, function_name, die)
    Results(Path(root)).publish()
"""


@pytest.mark.parametrize(
    "moment",
    [
        ("before", "publishing", "reveal"),
        ("after", "publishing", "reveal"),
        ("before", "public", "rename_durably"),
        ("after", "public", "rename_durably"),
    ],
)
def test_a_killed_publisher_blocks_and_breaks_nothing(results: Results, moment: tuple[str, str, str]) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    results.land("measurement", [measurement(1)])
    with python(KILLED_PUBLISHER, results.root, *moment) as publisher:
        assert publisher.wait() == -signal.SIGKILL
    assert published(results, "seed") in ([(0,)], [(0,), (1,)])
    assert results.publish().kept_foreign is None
    assert published(results, "seed") == [(0,), (1,)]
    assert rows_in(results.public_path) == 2
    assert list(results.root.rglob(".*")) == [], "nothing temporary is left"


def rows_in(database: Path) -> int:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{database}' AS other (READ_ONLY)")
        row = connection.execute("SELECT count(*) FROM other.measurement").fetchone()
    assert row is not None
    return int(row[0])


def test_publishing_waits_for_its_lock_and_says_when_it_gives_up(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LOCK_TIMEOUT_S", 0.1)
    with publishing.publication_lock(results.root), pytest.raises(StorageError, match="hanging nsl process"):
        results.publish()


# Readers


def test_a_connection_held_in_the_process_does_not_make_later_ones_serve_old_rows(results: Results) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    with results.connect() as held:
        results.land("measurement", [measurement(1)])
        results.publish()
        assert len(published(results)) == 2
        assert held.execute("SELECT count(*) FROM measurement").fetchone() == (1,), "a snapshot"
        results.publish(rebuild=True)
        for path in generations.database_folder(results.root).iterdir():
            path.unlink()
        results.land("measurement", [measurement(2)])
        assert len(published(results)) == 2 + 1, "also when all database files were deleted"


def test_connections_of_different_limits_live_side_by_side(results: Results) -> None:
    results.publish()
    with (
        connect(results.root, threads=1, memory_limit="500MB") as one,
        connect(results.root, threads=2) as two,
    ):
        for connection, threads in ((one, 1), (two, 2)):
            assert connection.execute("SELECT current_setting('threads')").fetchone() == (threads,)
        assert one.execute("SELECT current_setting('memory_limit')").fetchone() == ("476.8 MiB",)


def test_readers_cannot_change_the_results_but_have_views_of_their_own(results: Results) -> None:
    results.land("measurement", [measurement()])
    results.publish()
    with results.connect() as connection:
        for statement in ("DELETE FROM measurement", "CREATE TABLE mine (x INT)", "DROP TABLE run"):
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute(statement)
        connection.execute("CREATE TEMP VIEW mine AS SELECT mi_bits FROM measurement")
        assert connection.execute("FROM mine").fetchall() == [(1.5,)]


def test_old_states_are_removed_after_the_grace_and_open_readers_go_on(results: Results) -> None:
    results.publish()
    with results.connect() as reader:
        for seed in range(3):
            results.land("measurement", [measurement(seed)])
            results.publish()
        states = generations.generations(results.root)
        assert len(states) == 4
        long_ago = time.time() - 2 * generations.GRACE_S
        for state in states[:3]:
            os.utime(state.path, (long_ago, long_ago))
        results.publish()
        assert generations.generations(results.root) == states[2:], "superseded lately: kept"
        assert reader.execute("SELECT count(*) FROM measurement").fetchone() == (0,)
    assert len(published(results)) == 3


def test_a_storage_without_results_says_so(results: Results) -> None:
    with pytest.raises(StorageError, match="no results in"):
        results.connect()
    assert not results.root.exists(), "reading creates nothing"


def test_connecting_publishes_when_nothing_was_published_yet(results: Results) -> None:
    results.land("measurement", [measurement()])
    assert published(results) == [(0, 1.5)]


# Foreign users of the public file


FOREIGN = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    for statement in sys.argv[2:]:
        connection.execute(statement)
    print("ready", flush=True)
    sys.stdin.read()
"""
WRITES = ("CREATE TABLE mine AS SELECT 7 AS x", "DELETE FROM measurement")


def wal(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def tables_of(database: Path) -> set[str]:
    with duckdb.connect(str(database)) as connection:
        return {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}


def test_a_killed_foreign_writer_locks_nobody_out_and_loses_nothing(
    results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    with python(FOREIGN, results.public_path, *WRITES) as foreign:
        foreign.kill()
    assert wal(results.public_path).exists(), "the situation that this test is about"
    assert published(results, "seed") == [(0,)]
    results.land("measurement", [measurement(1)])
    with caplog.at_level(logging.WARNING):
        kept = results.publish().kept_foreign
    assert kept is not None
    assert str(kept) in caplog.text
    assert rows_in(results.public_path) == 2
    assert published(results, "seed") == [(0,), (1,)]
    assert wal(kept).exists()
    assert "mine" in tables_of(kept), "what the user wrote can still be opened"
    assert results.publish().kept_foreign is None


def test_a_leftover_wal_is_healed_without_news(results: Results) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    with python(FOREIGN, results.public_path, *WRITES) as foreign:
        foreign.kill()
    kept = results.publish().kept_foreign
    assert kept is not None
    assert "mine" in tables_of(kept)
    assert rows_in(results.public_path) == 1


@pytest.mark.parametrize("statements", [WRITES, ("SELECT 1",)])
def test_reading_and_publishing_go_on_while_a_foreign_writer_is_connected(
    results: Results, statements: tuple[str, ...]
) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    with python(FOREIGN, results.public_path, *statements) as foreign:
        for seed in (1, 2):
            results.land("measurement", [measurement(seed)])
            results.publish()
            assert len(published(results)) == seed + 1
            assert rows_in(results.public_path) == seed + 1
        assert foreign.stdin is not None
        foreign.stdin.close()
        assert foreign.wait() == 0
    results.publish()
    assert rows_in(results.public_path) == 3


def test_tables_that_a_foreign_user_added_and_closed_well_are_kept(results: Results) -> None:
    results.publish()
    with duckdb.connect(str(results.public_path)) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 7 AS x")
    results.land("measurement", [measurement()])
    kept = results.publish().kept_foreign
    assert kept is not None
    assert "mine" in tables_of(kept)
    assert rows_in(results.public_path) == 1


def test_reading_the_public_file_or_deleting_it_leaves_no_foreign_copies(results: Results) -> None:
    results.publish()
    with duckdb.connect(str(results.public_path)) as connection:
        connection.execute("SELECT * FROM measurement").fetchall()
    results.land("measurement", [measurement()])
    assert results.publish().kept_foreign is None
    results.public_path.unlink()
    assert results.publish().kept_foreign is None
    assert rows_in(results.public_path) == 1


# Damage


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "renamed", "text"])
def test_a_damaged_file_is_named_moved_aside_and_stops_nothing(results: Results, damage: str) -> None:
    good = results.land("measurement", [measurement(0)])
    bad = results.land("measurement", [measurement(1)])
    assert good is not None
    assert bad is not None
    content = bytearray(bad.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"truncated": content[:-100], "flipped": content, "empty": b"", "text": b"not Parquet"}
    bad.write_bytes(changed.get(damage, good.read_bytes()))
    publication = results.publish()
    (damaged,) = publication.damaged
    assert damaged.path == results.root / "results" / "damaged" / "measurement" / bad.name
    assert damaged.path.exists()
    assert not bad.exists()
    assert published(results) == [(0, 1.5)]
    results.land("measurement", [measurement(1)])
    assert results.publish().damaged == ()
    assert len(published(results)) == 2


def test_a_file_that_is_named_well_but_holds_something_else_is_moved_aside(results: Results) -> None:
    results.land("measurement", [measurement(0)])
    folder = landing.landed_folder(results.root, TABLES["measurement"])
    for content in (b"not Parquet", parquet(pa.table({"x": [1]}))):
        (folder / f"{landing._digest(content)}.parquet").write_bytes(content)
    problems = sorted(damaged.problem for damaged in results.publish().damaged)
    assert [problem.split(":")[0][:16] for problem in problems] == ["it has no column", "it is no Parquet"]
    assert len(published(results)) == 1


def parquet(rows: pa.Table) -> bytes:
    content = pa.BufferOutputStream()
    pq.write_table(rows, content)
    return bytes(content.getvalue())


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000, None])
def test_the_database_is_rebuilt_from_the_landed_files(results: Results, damage: bytes | None) -> None:
    results.land("measurement", [measurement(seed) for seed in range(3)])
    results.publish()
    state = generations.newest(results.root)
    assert state is not None
    state.path.unlink()
    if damage is not None:
        state.path.write_bytes(damage)
    assert len(published(results)) == 3
    results.land("measurement", [measurement(3)])
    results.publish()
    assert len(published(results)) == 4


def test_the_public_file_follows_when_the_private_databases_were_deleted(results: Results) -> None:
    results.land("measurement", [measurement(0)])
    results.publish()
    for path in generations.database_folder(results.root).iterdir():
        path.unlink()
    results.land("measurement", [measurement(1)])
    assert results.publish().kept_foreign is None
    assert rows_in(results.public_path) == 2


# Compaction


def landed_files(results: Results) -> list[Path]:
    return sorted((results.root / "results" / "landed").rglob("*.parquet"))


def superseding(results: Results, n_seeds: int) -> list[tuple[Any, ...]]:
    """Two measurements of every seed, in files of one row; of seed 0 both at the same moment. The valid rows."""
    for seed in range(n_seeds):
        results.land("measurement", [measurement(seed, 1.0)])
        results.land("measurement", [measurement(seed, 2.0, minutes=min(seed, 1))])
    results.land("run", [run("a", "failed", reason="exit 1")])
    results.publish()
    return published(results)


@pytest.mark.parametrize("n_seeds", [5, 12])
def test_compaction_keeps_every_valid_row_in_fewer_files(
    results: Results, n_seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsl_resources.results.compaction.FEWEST_TO_MERGE", 10)
    before = superseding(results, n_seeds)
    assert len(before) == n_seeds
    spare = {one.table.name: one for one in results.spare_files() if one.paths}
    assert list(spare) == ["measurement"]
    assert len(landed_files(results)) == 2 * n_seeds + 1, "asking removes nothing"
    results.compact()
    assert len(landed_files(results)) == (2 if n_seeds == 12 else n_seeds + 1)
    assert published(results) == before
    with results.connect() as connection:
        names = connection.execute("SELECT landed_file FROM measurement UNION SELECT landed_file FROM run").fetchall()
    assert {name for (name,) in names} == {path.name for path in landed_files(results)}
    results.publish(rebuild=True)
    assert published(results) == before
    assert not any(one.paths for one in results.spare_files())
    results.land("measurement", [measurement(0, 3.0, minutes=5)])
    results.publish()
    assert published(results)[0] == (0, 3.0)


KILLED_COMPACTION = """
    import os, signal, sys
    from pathlib import Path
    from nsl_resources.results import Results, compaction
    compaction.FEWEST_TO_MERGE = 10
    unlink, n_left = Path.unlink, int(sys.argv[2])
    def die(path, *arguments, **named):
        global n_left
        if path.suffix == ".parquet":
            n_left -= 1
            if n_left < 0:
                print("ready", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        unlink(path, *arguments, **named)
    Path.unlink = die
    Results(Path(sys.argv[1])).compact()
"""


@pytest.mark.parametrize("n_removed", [0, 1, 9, 23])
def test_a_killed_compaction_loses_no_row(results: Results, n_removed: int) -> None:
    before = superseding(results, 12)
    with python(KILLED_COMPACTION, results.root, n_removed) as compaction:
        assert compaction.wait() == -signal.SIGKILL
    assert len(landed_files(results)) == 2 * 12 + 2 - n_removed
    results.publish(rebuild=True)
    assert published(results) == before
    results.compact()
    results.publish(rebuild=True)
    assert published(results) == before


def test_what_lands_while_others_compact_stays(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    superseding(results, 5)
    published_state = results.spare_files
    results.land("measurement", [measurement(0, 9.0, minutes=30)])
    monkeypatch.setattr(results, "publish", lambda **_: None)
    assert published_state()
    results.compact()
    monkeypatch.undo()
    results.publish()
    assert published(results)[0] == (0, 9.0)


def test_artifacts_of_a_study_are_known_from_superseded_rows_too(results: Results) -> None:
    results.land("measurement", [measurement(0)])
    results.land("measurement", [measurement(0, minutes=1, model_hash="f" * 32)])
    results.land("measurement", [measurement(0, study="second", model_hash="9" * 32)])
    assert results.recorded_artifacts("first") == {letter * 32 for letter in "abcdef"}


# Versions


def test_an_old_database_is_rebuilt_and_columns_unknown_to_old_files_are_null(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["measurement"]
    path = results.land("measurement", [measurement(0)])
    assert path is not None
    newest = ["truth_bits", "recorded_at", "n_shared_cells", "total_umis_per_cell"]
    rows = pq.read_table(path).drop_columns(newest)
    path.unlink()
    content = parquet(rows)
    (path.parent / f"{landing._digest(content)}.parquet").write_bytes(content)
    with monkeypatch.context() as older:
        older.setattr("nsl_resources.results.database.fingerprint", lambda: "older")
        older.setattr("nsl_resources.results.merging.fingerprint", lambda: "older")
        results.publish()
    before = generations.newest(results.root)
    assert published(results, f"seed, {', '.join(newest)}") == [(0, *[None] * len(newest))]
    assert generations.newest(results.root) != before, "rebuilt"
    assert table.latest_by == "measured_at"


def test_files_and_databases_of_a_newer_version_are_refused_with_advice(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("nsl_resources.results.landing.SCHEMA_VERSION", 99)
        newer.setattr("nsl_resources.results.merging.SCHEMA_VERSION", 99)
        results.land("measurement", [measurement(0)])
        results.publish()
    for use in (results.publish, results.connect, lambda: results.publish(rebuild=True)):
        with pytest.raises(StorageError, match=r"schema is 99, this one knows 1\. Upgrade nsl"):
            use()
    for path in generations.database_folder(results.root).iterdir():
        path.unlink()
    with pytest.raises(StorageError, match=r"\.parquet was written by a newer nsl"):
        results.publish()


def test_a_newer_database_alone_is_refused_not_replaced(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    results.land("measurement", [measurement(0)])
    with monkeypatch.context() as newer:
        newer.setattr("nsl_resources.results.merging.SCHEMA_VERSION", 99)
        results.publish()
    states = generations.generations(results.root)
    for use in (results.publish, results.connect, lambda: results.publish(rebuild=True)):
        with pytest.raises(StorageError, match=r"\.duckdb was written by a newer nsl"):
            use()
    assert generations.generations(results.root) == states


# Queries


def test_query_gives_json_values(results: Results) -> None:
    results.publish()
    (row,) = query(
        results.root,
        "SELECT 1 AS a, 2 AS a, -'Infinity'::DOUBLE AS low, 'NaN'::DOUBLE AS nothing, DATE '2026-01-02' AS day, "
        "INTERVAL 90 SECONDS AS wait, 1.5::DECIMAL(3, 1) AS exact, {'x': [TIMESTAMP '2026-01-02 03:04:05']} AS nested, "
        "TIMESTAMPTZ '2026-01-02 03:04:05+02' AS zoned, NULL AS none, 'a'::BLOB AS bytes, true AS truth",
    )
    assert json.loads(json.dumps(row, allow_nan=False)) == {
        "a": 1,
        "a_2": 2,
        "low": "-Infinity",
        "nothing": None,
        "day": "2026-01-02",
        "wait": 90.0,
        "exact": "1.5",
        "nested": {"x": ["2026-01-02T03:04:05Z"]},
        "zoned": "2026-01-02T01:04:05Z",
        "none": None,
        "bytes": "YQ==",
        "truth": True,
    }


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM measurements", "SELECT mi FROM measurement", "SELECT 1/'x'"])
def test_mistakes_in_sql_are_input_errors(results: Results, sql: str) -> None:
    results.publish()
    with pytest.raises(InputError, match=r"The query cannot be run: .*Error") as caught:
        query(results.root, sql)
    assert f"Tables: {', '.join(TABLES)}; views" in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY measurement TO '{folder}/out.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "ATTACH '{folder}/new.duckdb'",
        "SET enable_external_access = true",
        "DROP TABLE measurement",
        "INSTALL httpfs",
    ],
)
def test_queries_touch_no_files_and_no_rows(results: Results, tmp_path: Path, sql: str) -> None:
    results.publish()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        query(results.root, sql.format(folder=tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


# Full and read-only disks


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_while_publishing_leaves_the_last_state(small_disk: Path) -> None:
    results = Results(small_disk)
    results.land("measurement", [measurement(0)])
    results.publish()
    results.land("measurement", [measurement(1)])
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(max(0, free(small_disk) - 200_000)))
    before = sorted(small_disk.rglob("*"))
    with pytest.raises(StorageError, match="is full"):
        results.publish()
    assert sorted(small_disk.rglob("*")) == before
    assert len(published(results)) == 1
    ballast.unlink()
    results.publish()
    assert len(published(results)) == 2


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_a_read_only_storage_can_be_read(small_disk: Path) -> None:
    results = Results(small_disk)
    results.land("measurement", [measurement(0)])
    results.publish()
    remounted = subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False)
    if remounted.returncode != 0:
        pytest.skip("remounting is not permitted here")
    assert published(results) == [(0, 1.5)]
    for use in (results.publish, lambda: results.land("measurement", [measurement(1)])):
        with pytest.raises(StorageError, match="cannot be written to"):
            use()
