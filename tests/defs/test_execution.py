"""`nsl run` from end to end: the same numbers however it is run, and nothing lost when it is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import psutil
import pytest

from nsl_assets.cli.execution import execute_study
from nsl_assets.cli.instance import init_instance
from nsl_assets.defs.build import build_definitions
from nsl_assets.progress import Progress
from nsl_assets.study import load_project, storage_root
from nsl_resources.results import Results

from .conftest import study_toml, wait_until

pytestmark = pytest.mark.slow

NUMBERS = (
    "select model, n_cells, level, seed, estimator, mi_bits, low_bits, floor_bits, umis_per_cell, measurement_hash \
from measurement order by all"
)


def numbers(project: Path, storage: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> list[dict[str, object]]:
    """All numbers of the study `deep`, run on an empty storage with these machine settings."""
    monkeypatch.setenv("NSL_STORAGE", str(storage))
    monkeypatch.setenv("DAGSTER_HOME", str(storage / "dagster"))
    file = project / "dagster_project.toml"
    file.write_text(f"[machine]\n{machine}\n" + study_toml("deep", sizes=[150], levels=[1.0, 0.4, 0.1], n_seeds=2))
    init_instance()
    assert execute_study("deep", load_project(), Progress()) == []
    return Results(storage).query(NUMBERS)


def test_the_same_numbers_for_one_worker_and_two_and_another_chunk_size(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = numbers(project, tmp_path / "one", monkeypatch, "cores = 1")
    two = numbers(project, tmp_path / "two", monkeypatch, "cores = 2\nchunk_entries = 1024")
    assert len(one) == 3 * 2
    assert one == two


def nsl(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from nsl_assets.cli import main; sys.exit(main())", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))


def workers() -> list[psutil.Process]:
    """Worker processes of this test's storage."""
    found = []
    for process in psutil.process_iter():
        try:
            if "nsl_assets.worker" in process.cmdline() and process.environ().get("NSL_STORAGE") == str(storage_root()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_killed_in_the_middle_it_leaves_no_worker_and_goes_on_where_it_was(project: Path, storage: Path):
    results = Results(storage)

    def succeeded() -> list[dict[str, object]]:
        results.publish()
        return results.query("select * from run where status = 'succeeded'")

    running = nsl("run", "wide")
    wait_until(lambda: len(succeeded()) >= 2, "the second measurement")
    wait_until(lambda: bool(workers()), "a worker at work")
    running.send_signal(signal.SIGKILL)
    running.wait()
    wait_until(lambda: not workers(), "the end of the orphaned workers", timeout_s=30)
    before = succeeded()
    measured = {path: path.stat().st_mtime_ns for path in (storage / "artifacts" / "measurement").glob("[!.]*/*.json")}
    assert len(before) < 6

    assert nsl("run", "wide").wait() == 0
    after = succeeded()
    # No cell of the grid was computed twice; what was there was not touched. A worker may have stored its measurement
    # in the moment before the kill: that cell is then reused without a run of its own.
    assert len({(row["n_cells"], row["level"], row["seed"]) for row in after}) == len(after) <= 6
    assert {row["run_id"] for row in before} <= {row["run_id"] for row in after}
    assert all(path.stat().st_mtime_ns == changed for path, changed in measured.items())
    assert results.row_counts()["measurement"] == 6
    assert results.row_counts()["noise_law"] == 2


def test_a_cell_that_fails_costs_only_itself_and_says_why(
    project: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
):
    file = project / "dagster_project.toml"
    broken = project / "broken.py"
    broken.write_text(
        "class Broken:\n"
        "    def __init__(self, error):\n"
        "        self.error = MemoryError() if error == 'memory' else ValueError('no convergence')\n"
        "    def fit(self, train, validation, *, seed): raise self.error\n"
        "    def initialise(self, train, *, seed): ...\n"
        "    def embed(self, cells): ...\n"
        "    def save(self, folder): ...\n"
        "    def load(self, folder): ...\n"
    )
    text = study_toml("deep", sizes=[150], levels=[1.0, 0.4, 0.1])
    for error in ("value", "memory"):
        text += f'[studies.deep.models.{error}]\nkind = "custom"\nclass_path = "broken.py:Broken"\n'
        text += f'settings = {{ error = "{error}" }}\n'
    # A learning rate at which the loss is no number any more: never a result, and never a stored model.
    text += '[studies.deep.models.scvi]\nkind = "scvi"\nbudget = "quick"\nlearning_rate = 1e30\n'
    file.write_text(text)
    init_instance()
    failures = execute_study("deep", load_project(), Progress())
    assert len(failures) == 3
    results = Results(storage)
    said = {"value": "no convergence", "memory": "out of memory (MemoryError)", "scvi": "nothing of it is stored"}
    for model, words in said.items():
        failed = results.query(f"select * from run where status = 'failed' and model = '{model}'")
        # Who ran out of memory was run again with more, `worker_retries` (2) times: every attempt is a row.
        assert len(failed) == 3 * (3 if model == "memory" else 1)
        assert all(words in row["reason"] for row in failed), failed
        assert any(words in failure for failure in failures)
    assert results.query("select distinct model from measurement where is_trained") == [{"model": "random_projection"}]
    assert len(list((storage / "artifacts" / "model").glob("[!.]*"))) == 3
    assert results.row_counts()["noise_law"] == 1


def test_a_cell_whose_worker_is_killed_is_tried_again(project: Path, storage: Path):
    (project / "mortal.py").write_text(
        "import os, pathlib, signal\n"
        "import numpy as np\n"
        "from nsl_assets.models import FitReport\n"
        "class Mortal:\n"
        "    def __init__(self, diary): self.diary = pathlib.Path(diary)\n"
        "    def fit(self, train, validation, *, seed):\n"
        "        if not self.diary.exists():\n"
        "            self.diary.touch()\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return FitReport(train.n_cells, n_parameters=0, steps=0)\n"
        "    def initialise(self, train, *, seed): ...\n"
        "    def embed(self, cells): return np.asarray(cells.read()[:, :4].todense(), np.float32)\n"
        "    def save(self, folder): (folder / 'model.txt').write_text('nothing is learned')\n"
        "    def load(self, folder): ...\n"
    )
    study = study_toml("deep", sizes=[150], levels=[1.0, 0.4, 0.1]).replace("models.random_projection", "models.mortal")
    model = f'kind = "custom"\nclass_path = "mortal.py:Mortal"\nsettings = {{ diary = "{project / "diary"}" }}'
    (project / "dagster_project.toml").write_text(study.replace('kind = "random_projection"', model))
    init_instance()
    assert execute_study("deep", load_project(), Progress()) == []
    attempts = Results(storage).query("select status, reason from run order by finished_at")
    assert [row["status"] for row in attempts].count("succeeded") == 3
    assert ["killed by signal SIGKILL" in row["reason"] for row in attempts].count(True) == 1


def test_every_law_comparison_and_advice_lands_and_every_check_is_evaluated(project: Path, storage: Path):
    text = study_toml("large", sizes=[60, 90, 120, 150], levels=[1.0, 0.5, 0.2], n_seeds=2)
    text += '[studies.large.models.pca]\nkind = "pca"\n[studies.large.planning]\n'
    text += "price_per_cell = 0.1\nprice_per_read = 1e-5\nbudget = 50\n"
    (project / "dagster_project.toml").write_text(text)
    init_instance()
    assert execute_study("large", load_project(), Progress()) == []
    results = Results(storage)
    counts = results.row_counts()
    n_models, n_sizes, n_levels = 2, 4, 3
    assert counts["noise_law"] == n_models * n_sizes
    assert counts["cell_number_law"] == n_models * n_levels
    assert counts["joint_law"] == n_models
    assert counts["model_comparison"] == n_sizes
    assert counts["law_comparison"] == n_models * n_sizes * len({row["law"] for row in results.query(LAWS)})
    questions = {row["question"] for row in results.query("select question from advice")}
    assert questions == {"target_depth", "headroom", "budget", "cheapest", "frontier", "what_pays"}
    with dg.DagsterInstance.get() as instance:
        keys = build_definitions(load_project()).resolve_asset_graph().asset_check_keys
        summaries = instance.event_log_storage.get_asset_check_summary_records(list(keys))
        states = {key: record.last_check_execution_record for key, record in summaries.items()}
    assert all(record is not None and record.event is not None for record in states.values()), states


LAWS = "select distinct law from law_comparison"
