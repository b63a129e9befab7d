"""`nsl calibrate` as a user meets it: what lands, what is not measured twice, and what bad names get."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nsl_assets.calibration import rows_from_csv, shipped_rows, stored_rows, summary_of
from nsl_assets.cli import main
from nsl_assets.identity import calibration_hash
from nsl_assets.probing import Piece, ProbingSettings, problem_named, problem_summaries, run_trials
from nsl_resources.results import TABLES, Results

Nsl = Callable[..., tuple[int, str, str]]
CHEAP = ("--estimators", "ksg", "--pairs", "100", "--seeds", "2", "--workers", "1")
STUDY = """
[studies.mine]
sizes = [100]
[studies.mine.tasks.simulated]
kind = "simulated_cells"
[studies.mine.models.pca]
kind = "pca"
[studies.mine.noise]
kind = "binomial_thinning"
levels = [1.0, 0.5, 0.1]
[studies.mine.probing]
estimators = ["ksg"]
[studies.mine.probing.ksg]
k_neighbours = 5
"""


@pytest.fixture
def nsl(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs `nsl calibrate` in a project with one study; gives exit code, stdout and stderr."""
    (tmp_path / "dagster_project.toml").write_text(STUDY)
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", "calibrate", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_rows_land_are_printed_and_are_not_measured_again(nsl: Nsl, storage: Path):
    code, out, err = nsl(*CHEAP, "--problems", "classes_3,independent_16d")
    assert code == 0, err
    assert "0 of 2 stored already, 2 to compute" in err
    assert out.index("frozen suite") < out.index("independent_16d") < out.index("fresh problems")
    assert out.index("fresh problems") < out.index("classes_3") < out.index("over all problems")
    results = Results(storage)
    before = results.query("select * from calibration order by problem")
    assert [(row["problem"], row["n_pairs"], row["n_seeds"]) for row in before] == [
        ("classes_3", 100, 2),
        ("independent_16d", 100, 2),
    ]
    assert {row["settings_hash"] for row in before} == {calibration_hash(ProbingSettings(), "ksg")}

    code, _, err = nsl(*CHEAP, "--families", "independent")
    assert code == 0
    assert "1 of 3 stored already, 2 to compute" in err
    assert nsl(*CHEAP[:4], "--seeds", 1, "--workers", 1, "--families", "independent")[2].count("3 of 3 stored") == 1
    assert "0 of 1 stored already" in nsl(*CHEAP, "--problems", "independent_16d", "--again")[2]
    after = results.query("select * from calibration order by problem")
    assert len(after) == 4
    assert [row["mi_bits"] for row in after if row["problem"] == "classes_3"] == [before[0]["mi_bits"]]


def test_another_study_has_a_calibration_of_its_own(nsl: Nsl, storage: Path):
    assert nsl(*CHEAP, "--problems", "gaussian_1.0bit_5d")[0] == 0
    code, out, _ = nsl("--study", "mine", "--pairs", 100, "--seeds", 2, "--problems", "gaussian_1.0bit_5d",
                       "--workers", 1, "--json")  # fmt: skip
    assert code == 0
    printed = json.loads(out)
    (row,) = printed["calibration"]
    assert row["estimator"] == "ksg"
    assert row["bias_bits"] == pytest.approx(row["mi_bits"] - row["truth_bits"])
    assert [(one["suite"], one["n_problems"]) for one in printed["totals"]] == [("frozen suite", 1)]
    rows = Results(storage).query("select settings_hash, mi_bits from calibration")
    assert len({one["settings_hash"] for one in rows}) == len({one["mi_bits"] for one in rows}) == 2


def test_the_csv_has_the_columns_of_the_table_and_comes_back(nsl: Nsl, storage: Path, tmp_path: Path):
    file = tmp_path / "calibration.csv"
    assert nsl(*CHEAP, "--problems", "classes_3,poisson_ties", "--csv", file)[0] == 0
    with file.open() as lines:
        assert csv.DictReader(lines).fieldnames == [column.name for column in TABLES["calibration"].columns]
    stored = stored_rows(Results(storage), ProbingSettings(), ["ksg"])
    for read, landed in zip(rows_from_csv(file.read_text()), stored, strict=True):
        assert read.mi_bits == pytest.approx(landed.mi_bits, rel=1e-5)
        assert (read.is_fresh, read.gap_bits, read.n_pairs) == (landed.is_fresh, landed.gap_bits, landed.n_pairs)
        assert (landed.calibrated_at - read.calibrated_at).total_seconds() < 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problems", "gausian_1.0bit_5d"], ["'gausian_1.0bit_5d'", "Is it 'gaussian_1.0bit_5d'?", "spiral_2bit_3d"]),
        (["--families", "gaussian,knots"], ["'knots'", "high_dimensional"]),
        (["--estimators", "mine"], ["'mine'", "pooled, infonce, lmi, ksg, gaussian_copula"]),
        (["--problems", "rings", "--families", "classes"], ["rings", "classes"]),
        (["--pairs", "40"], ["40", "at least 50"]),
        (["--study", "yours"], ["yours", "mine"]),
        (["--csv", "no/such/folder/file.csv"], ["no/such/folder"]),
    ],
)
def test_bad_names_end_at_once_with_what_there_is(nsl: Nsl, storage: Path, arguments, said):
    code, out, err = nsl(*arguments)
    assert (code, out) == (1, "")
    assert all(part in err for part in said), err
    assert not (storage / "results" / "landed").exists()


def test_numbers_of_pairs_that_are_no_numbers_are_a_usage_mistake(nsl: Nsl):
    assert nsl("--pairs", "many")[0] == 2


@pytest.mark.slow
def test_killed_in_the_middle_it_keeps_what_landed_and_leaves_no_process(storage: Path):
    program = "import sys; from nsl_assets.cli import main; sys.exit(main())"
    options = ["--estimators", "ksg", "--pairs", "500,2000,10000", "--families", "gaussian", "--workers", "2"]
    command = [sys.executable, "-c", program, "calibrate", *options]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    landed = storage / "results" / "landed" / "calibration"
    deadline = time.monotonic() + 120
    while len(list(landed.glob("*.parquet"))) < 2:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    workers = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGKILL)
    running.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert len(workers) >= 2
    assert alive == []
    assert len(stored_rows(Results(storage), ProbingSettings(), ["ksg"])) >= 2


def test_the_shipped_calibration_is_that_of_the_default_settings():
    rows = shipped_rows()
    if not rows:
        pytest.skip(
            "no calibration is shipped yet: nsl calibrate --csv nsl_assets/probing/calibration/default_settings.csv"
        )
    settings = ProbingSettings()
    current = [row for row in rows if row.settings_hash == calibration_hash(settings, row.estimator)]
    assert settings.headline in {row.estimator for row in current}, "made with other settings: calibrate anew"
    for row in sorted(current, key=lambda row: row.cpu_seconds * row.n_seeds)[:2]:
        piece = Piece(problem_named(row.problem), row.n_pairs, (row.estimator,))
        ((trials),) = run_trials([piece], n_seeds=row.n_seeds, settings=settings)
        (measured,) = problem_summaries(trials)
        shipped = summary_of(row)
        assert measured.true_bits == pytest.approx(shipped.true_bits, abs=1e-3)
        assert measured.value_bits == pytest.approx(shipped.value_bits, abs=0.05)
        assert measured.median_width_bits == pytest.approx(shipped.median_width_bits, abs=0.1)
