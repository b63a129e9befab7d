"""Whatever is killed while workers are at work, nothing of them stays: no process, no lease, no half-written result.

And what was asked for goes on, to the same numbers: a backfill survives its run worker, the daemon, and the machine.
Two custom models hold a run in its middle. The stubborn one ignores signals, has a child in another session that does
so too, and writes its model for ever. The gated one waits at a gate.
"""

import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import pytest

from nsl_assets.cli.instance import init_instance
from nsl_assets.grid import Measuring, Platform, prepare_data, prepare_noised
from nsl_assets.noise import level_of
from nsl_assets.study import load_project, storage_root
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import LocalPool
from nsl_resources.gpu import Ledger
from nsl_resources.results import Results

from .conftest import study_toml, wait_until
from .services import Services, is_alive, running_services

pytestmark = pytest.mark.slow

GRID_ASSETS = ("trained", "embedding", "mutual_information")
LEVELS = ["q1.000000", "q0.500000", "q0.200000"]
NO_RETRY = {"dagster/max_retries": "0"}
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
GATED = """
import os, time
from pathlib import Path
import numpy as np
from nsl_assets.models import FitReport

class Gated:
    def __init__(self, gate):
        self.gate = Path(gate)

    def fit(self, train, validation, *, seed):
        is_first = self.is_first()
        with (self.gate / "came").open("a") as file:
            print(os.getpid(), file=file, flush=True)
        while not is_first and not (self.gate / "open").exists():
            time.sleep(0.05)
        return FitReport(train.n_cells, n_parameters=0, steps=0)

    def is_first(self):
        try:
            (self.gate / "first").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def embed(self, cells):
        return np.asarray(cells.read()[:, :4].todense(), np.float32)

    def save(self, folder):
        (folder / "model.txt").write_text("nothing is learned")

    def initialise(self, train, *, seed): ...
    def load(self, folder): ...
"""
AUTOMATION_OFF = "auto_materialize:\n  enabled: false\n  use_sensors: false\n"
NUMBERS = """select n_cells, level, seed, mi_bits, low_bits, high_bits, floor_bits, umis_per_cell, measurement_hash
from measurement where study = 'gated' order by all"""


def study_of(model: str, levels: list[float], settings: str) -> str:
    """A study of one custom model, which has the study's name."""
    text = study_toml(model, sizes=[100], levels=levels).replace("models.random_projection", f"models.{model}")
    custom = f'kind = "custom"\nclass_path = "{model}.py:{model.title()}"\nsettings = {{ {settings} }}'
    return text.replace('kind = "random_projection"', custom)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project of both studies with its storage; temporary files in a folder of its own."""
    folder = tmp_path_factory.mktemp("killing")
    for name in ("storage", "temporary", "gate"):
        (folder / name).mkdir()
    (folder / "stubborn.py").write_text(STUBBORN)
    (folder / "gated.py").write_text(GATED)
    (folder / "dagster_project.toml").write_text(
        "[machine]\ncores = 2\nworker_retries = 0\n"
        + study_of("stubborn", [1.0], f'pids = "{folder / "pids"}"')
        + study_of("gated", [level_of(level) for level in LEVELS], f'gate = "{folder / "gate"}"')
    )
    variables = {"NSL_PROJECT": folder, "NSL_STORAGE": folder / "storage", "NSL_LEDGER": folder / "ledger"}
    variables |= {"DAGSTER_HOME": folder / "storage" / "dagster", "TMPDIR": folder / "temporary"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, str(value))
        patch.setattr(tempfile, "tempdir", None)
        settings = init_instance() / "dagster.yaml"
        # Laws and checks would follow, in runs that cost seconds and that nothing here asks for.
        settings.write_text(settings.read_text().partition("auto_materialize:")[0] + AUTOMATION_OFF)
        yield folder


@pytest.fixture(scope="module")
def services(project: Path) -> Iterator[Services]:
    with running_services(project) as running:
        yield running


def prepared(study: str, storage: Path) -> Platform:
    """The platform on a storage that holds the data of a study."""
    loaded = load_project()
    platform = Platform(Artifacts(storage), Results(storage), LocalPool(), loaded.machine)
    prepare_data(loaded.study(study), "simulated", platform)
    for level in loaded.study(study).levels_of("simulated"):
        prepare_noised(loaded.study(study), "simulated", level, 0, platform)
    return platform


def grid(study: str) -> list[list[str]]:
    return [[study, "simulated", study, asset] for asset in GRID_ASSETS]


def living(pids: Path) -> list[psutil.Process]:
    """The processes that wrote their ids to a file and still run."""
    named = [int(pid) for pid in pids.read_text().split()] if pids.exists() else []
    return [one for one in (psutil.Process(pid) for pid in named if psutil.pid_exists(pid)) if is_alive(one)]


def run_worker() -> psutil.Process:
    """The process that executes the Dagster run which holds leases."""
    parents = psutil.Process(Ledger().leases()[0].pid).parents()
    return next(parent for parent in parents if "nsl_resources.dispatch" not in " ".join(parent.cmdline()))


def assert_no_worker_stays(workers: list[psutil.Process]) -> None:
    """No process of theirs, no lease, no scratch folder."""
    wait_until(lambda: not any(map(is_alive, workers)), "the end of the workers and their children", 60)
    wait_until(lambda: Ledger().leases() == [], "the end of their leases", 30)
    wait_until(lambda: not list(Path(tempfile.gettempdir()).glob("nsl-worker-*")), "the end of their scratch", 30)


@dataclass
class Held:
    """A Dagster run whose only worker hangs in the middle of writing its model."""

    services: Services
    run_id: str
    worker: list[psutil.Process]
    """The worker, and its child in another session."""

    def wait_for(self, status: dg.DagsterRunStatus) -> None:
        instance = self.services.server.instance
        wait_until(lambda: instance.get_run_by_id(self.run_id).status == status, f"a run that is {status.value}", 60)

    def assert_nothing_stays(self) -> None:
        assert_no_worker_stays(self.worker)
        artifacts = Artifacts(storage_root())
        assert artifacts.hashes("model") == []
        artifacts.sweep_temporary()  # as every run does before it begins
        assert list((storage_root() / "artifacts").rglob(".creating-*")) == []
        assert artifacts.hashes("measurement") == []


@pytest.fixture
def held(services: Services, project: Path) -> Held:
    """Such a run, at work."""
    prepared("stubborn", storage_root())
    pids = project / "pids"
    pids.unlink(missing_ok=True)
    run_id = services.server.launch(grid("stubborn"), {"dagster/partition": "n000000100|q1.000000", **NO_RETRY})
    wait_until(lambda: len(living(pids)) == 2, "a worker that writes its model")
    assert len(Ledger().leases()) == 1
    assert len(list((storage_root() / "artifacts" / "model").glob(".creating-*"))) == 1
    return Held(services, run_id, living(pids))


def test_terminated_in_the_ui(held: Held) -> None:
    answer = held.services.server.query(
        "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on TerminateRunFailure { message } } }",
        id=held.run_id,
    )["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    held.assert_nothing_stays()
    held.wait_for(dg.DagsterRunStatus.CANCELED)


def test_the_worker_is_killed(held: Held) -> None:
    worker = min(held.worker, key=lambda process: process.create_time())
    worker.send_signal(signal.SIGKILL)
    held.assert_nothing_stays()
    held.wait_for(dg.DagsterRunStatus.FAILURE)
    rows = Results(storage_root()).query(f"select status, reason from run where dagster_run_id = '{held.run_id}'")
    assert [row["status"] for row in rows] == ["failed"] and "killed by signal SIGKILL" in str(rows[0]["reason"])


def test_the_run_worker_is_killed(held: Held) -> None:
    run_worker().send_signal(signal.SIGKILL)
    held.assert_nothing_stays()
    held.wait_for(dg.DagsterRunStatus.FAILURE)


def test_a_run_worker_that_lost_its_daemon_takes_its_worker_along_when_told_to_end(held: Held) -> None:
    executing = run_worker()
    held.services.daemon.kill()
    held.services.daemon.wait()
    assert is_alive(executing) and all(map(is_alive, held.worker)) and len(Ledger().leases()) == 1
    executing.send_signal(signal.SIGTERM)
    held.assert_nothing_stays()
    held.services.start_daemon()


@dataclass
class Backfill:
    """A backfill over the noise levels of the gated study. The first of its trainings passes, all others wait."""

    services: Services
    gate: Path
    id: str

    def wait_at_the_gate(self, n_runs: int) -> list[psutil.Process]:
        """The two workers of the latest of so many runs, in the middle of their training."""
        wait_until(lambda: len(living(self.gate / "came")) == 2, f"two workers of run {n_runs} at the gate")
        assert len(Ledger().leases()) == 2
        assert len(self.runs()) == n_runs
        return living(self.gate / "came")

    def runs(self) -> list[dg.DagsterRun]:
        """Its runs, the first first."""
        return self.services.server.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": self.id}))[::-1]

    def reasons(self) -> list[str]:
        """With what its failed runs are marked."""
        return [run.tags.get("nsl/failure", "") for run in self.runs() if run.is_failure]


def numbers_undisturbed(project: Path) -> list[dict[str, object]]:
    """Of the gated study, by workers that nobody disturbs, on another storage."""
    study, gate = load_project().study("gated"), project / "gate"
    platform = prepared("gated", project / "undisturbed")
    (gate / "open").touch()
    assert all(one.status == "succeeded" for one in Measuring("gated", study, platform).run(study.cells()))
    for file in gate.iterdir():
        file.unlink()
    return platform.results.query(NUMBERS)


def test_a_backfill_survives_its_run_worker_the_machine_and_the_daemon(services: Services, project: Path) -> None:
    expected = numbers_undisturbed(project)
    prepared("gated", storage_root())
    gate = project / "gate"
    server = services.server
    backfill = Backfill(services, gate, server.backfill(grid("gated"), [f"n000000100|{level}" for level in LEVELS]))

    workers = backfill.wait_at_the_gate(n_runs=1)
    run_worker().kill()
    assert_no_worker_stays(workers)

    workers = backfill.wait_at_the_gate(n_runs=2)
    for process in (services.daemon, services.code_location, run_worker()):
        process.kill()
    assert_no_worker_stays(workers)
    init_instance()  # as `make ui` does before it starts
    services.start_code_location()
    services.start_daemon()

    workers = backfill.wait_at_the_gate(n_runs=3)
    services.daemon.kill()
    services.daemon.wait()
    assert all(map(is_alive, workers)) and len(Ledger().leases()) == 2
    (gate / "open").touch()
    wait_until(lambda: backfill.runs()[-1].is_success, "the end of the run that the daemon left")
    services.start_daemon()
    wait_until(lambda: server.backfill_status(backfill.id) == "COMPLETED_SUCCESS", "the end of the backfill")

    wait_until(lambda: all(backfill.reasons()), "the reasons of the failed runs")
    killed, lost = backfill.reasons()
    assert "SIGKILL" in killed and "is gone" in lost
    assert Results(storage_root()).query(NUMBERS) == expected
    assert len(expected) == len(LEVELS)
    assert_no_worker_stays(workers)
