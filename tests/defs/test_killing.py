"""Whatever is killed while a worker is at work, nothing of it stays: no process, no lease, no half-written result.

The worker ignores signals, has a child in another session that does so too, and is in the middle of writing its model.
"""

import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest

from nsl_assets.grid import Platform, prepare_data, prepare_noised
from nsl_assets.study import load_project, storage_root
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import LocalPool
from nsl_resources.gpu import Ledger
from nsl_resources.results import Results

from .conftest import Server, study_toml, wait_until

pytestmark = pytest.mark.slow

TASK = ["held", "simulated"]
GRID = [[*TASK, "stubborn", asset] for asset in ("trained", "embedding", "mutual_information")]
TAGS = {"dagster/partition": "n000000100|q1.000000", "dagster/max_retries": "0"}
STUBBORN = """
import os, signal, time

class Stubborn:
    def __init__(self, pids):
        self.pids = pids

    def fit(self, train, validation, *, seed):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def save(self, folder):
        (folder / "half.txt").write_text("half of it")
        if os.fork() == 0:
            os.setsid()
        with open(self.pids, "a") as file:
            print(os.getpid(), file=file, flush=True)
        time.sleep(600)

    def initialise(self, train, *, seed): ...
    def embed(self, cells): ...
    def load(self, folder): ...
"""


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the stubborn model; temporary files in a folder of its own."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    study = study_toml("held", sizes=[100], levels=[1.0]).replace("models.random_projection", "models.stubborn")
    model = f'kind = "custom"\nclass_path = "stubborn.py:Stubborn"\nsettings = {{ pids = "{tmp_path / "pids"}" }}'
    (tmp_path / "dagster_project.toml").write_text(
        "[machine]\nworker_retries = 0\n" + study.replace('kind = "random_projection"', model)
    )
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@dataclass
class Held:
    """A Dagster run whose only worker hangs in the middle of writing its model."""

    server: Server
    run_id: str
    worker: list[psutil.Process]
    """The worker, and its child in another session."""

    @property
    def status(self) -> dg.DagsterRunStatus:
        run = self.server.instance.get_run_by_id(self.run_id)
        assert run is not None
        return run.status

    def assert_nothing_stays(self) -> None:
        wait_until(lambda: not any(map(is_alive, self.worker)), "the end of the worker and its child", 60)
        wait_until(lambda: Ledger().leases() == [], "the end of its lease", 30)
        wait_until(lambda: not list(Path(tempfile.gettempdir()).glob("nsl-worker-*")), "the end of its scratch", 30)
        storage = storage_root()
        assert Artifacts(storage).hashes("model") == []
        Artifacts(storage).sweep_temporary()  # as every run does before it begins
        assert list((storage / "artifacts").rglob(".creating-*")) == []
        assert Artifacts(storage).hashes("measurement") == []


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(server: Server) -> bool:
    try:
        return bool(server.query("{ version }"))
    except OSError:
        return False


def launch(server: Server) -> str:
    """Launches the run of the one cell of the grid as the button in the UI does; its id."""
    answer = server.query(
        """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) { __typename
        ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        params={
            "selector": {
                "repositoryName": "__repository__",
                "repositoryLocationName": "nsl",
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": path} for path in GRID],
            },
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in TAGS.items()]},
        },
    )["launchPipelineExecution"]
    assert "run" in answer, answer
    return str(answer["run"]["runId"])


@pytest.fixture
def held(server: Server, project: Path) -> Held:
    """Such a run, at work."""
    loaded, storage = load_project(), storage_root()
    platform = Platform(Artifacts(storage), Results(storage), LocalPool(), loaded.machine)
    prepare_data(loaded.study("held"), "simulated", platform)
    prepare_noised(loaded.study("held"), "simulated", 1.0, 0, platform)
    run_id = launch(server)
    pids = project / "pids"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2, "a worker that writes its model")
    worker = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
    assert len(Ledger().leases()) == 1
    assert len(list((storage_root() / "artifacts" / "model").glob(".creating-*"))) == 1
    return Held(server, run_id, worker)


def of_command(matches: Callable[[str], bool]) -> psutil.Process:
    """The one process with this command line that works for this test's storage."""
    found = []
    for process in psutil.process_iter():
        try:
            if matches(" ".join(process.cmdline())) and process.environ().get("NSL_STORAGE") == str(storage_root()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    assert len(found) == 1, found
    return found[0]


def run_worker() -> psutil.Process:
    """The process that executes the Dagster run."""
    lease = Ledger().leases()[0]
    parents = psutil.Process(lease.pid).parents()
    return next(parent for parent in parents if "nsl_resources.dispatch" not in " ".join(parent.cmdline()))


def test_terminated_in_the_ui(held: Held) -> None:
    answer = held.server.query(
        "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } } }",
        id=held.run_id,
    )["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    held.assert_nothing_stays()
    wait_until(lambda: held.status == dg.DagsterRunStatus.CANCELED, "the cancelled run", 60)


def test_the_worker_is_killed(held: Held) -> None:
    worker = min(held.worker, key=lambda process: process.create_time())
    worker.send_signal(signal.SIGKILL)
    held.assert_nothing_stays()
    wait_until(lambda: held.status == dg.DagsterRunStatus.FAILURE, "the failed run", 60)
    (row,) = Results(storage_root()).query("select status, reason from run")
    assert row["status"] == "failed" and "killed by signal SIGKILL" in str(row["reason"])


def test_the_run_worker_is_killed(held: Held) -> None:
    run_worker().send_signal(signal.SIGKILL)
    held.assert_nothing_stays()
    wait_until(lambda: held.status == dg.DagsterRunStatus.FAILURE, "the failed run")


def test_the_daemon_is_killed(held: Held) -> None:
    """`dagster dev` then ends. A run goes on with its worker, and takes it along when it is told to end."""
    executing = run_worker()
    of_command(lambda line: "dagster._daemon" in line or "dagster-daemon" in line).send_signal(signal.SIGKILL)
    wait_until(lambda: not answers(held.server), "the end of the webserver", 60)
    assert is_alive(executing) and all(map(is_alive, held.worker)) and len(Ledger().leases()) == 1
    code_location = psutil.Process(executing.ppid())
    executing.send_signal(signal.SIGTERM)
    held.assert_nothing_stays()
    wait_until(lambda: not is_alive(code_location), "the end of the code location, which waits for its runs", 60)
