"""A study of a hundred cells survives a campaign of faults: killed processes, a full disk, damaged files.

The same command goes on after each of them. In the end every number is that of an undisturbed run, to the last bit.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from nsl_assets.grid import Measuring, Platform, is_measured, prepare_data, prepare_noised
from nsl_assets.identity import CellHashes, cell_hashes
from nsl_assets.study import Machine, Study, load_project
from nsl_resources.artifacts import KINDS, Artifacts, free_bytes
from nsl_resources.dispatch import LocalPool
from nsl_resources.gpu import Ledger
from nsl_resources.results import Results

pytestmark = pytest.mark.slow

STUDY = """
[machine]
cores = 2
memory_mib = 6000
[studies.tested]
sizes = [60, 90]
n_seeds = 5
untrained_baseline = "none"
[studies.tested.tasks.simulated]
kind = "simulated_cells"
n_cells = 240
n_genes = 30
[studies.tested.models.random_projection]
kind = "random_projection"
n_components = 4
[studies.tested.models.pca]
kind = "pca"
n_components = 4
[studies.tested.noise]
kind = "binomial_thinning"
levels = [1.0, 0.7, 0.5, 0.3, 0.2]
[studies.tested.probing]
estimators = ["gaussian_copula"]
headline = "gaussian_copula"
"""
N_CELLS = 2 * 2 * 5 * 5
NUMBERS = """select * exclude (landed_file, measured_at, recorded_at, diagnostics), cast(diagnostics as varchar)
from measurement order by all"""
SMALL_DISK = "400m"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dagster_project.toml").write_text(STUDY)
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "ledger"))
    return tmp_path


@pytest.fixture
def small_storage(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A storage on a small file system of its own, where that may be mounted; else an ordinary folder."""
    storage = project / "storage"
    storage.mkdir()
    monkeypatch.setenv("NSL_STORAGE", str(storage))
    monkeypatch.setenv("DAGSTER_HOME", str(storage / "dagster"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(storage)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    yield storage
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(storage)], check=True)


def undisturbed(study: Study, storage: Path) -> list[dict[str, object]]:
    """All measurements, by workers that nobody disturbs."""
    results = Results(storage)
    platform = Platform(Artifacts(storage), results, LocalPool(Ledger()), Machine())
    prepare(study, platform)
    assert all(one.status == "succeeded" for one in Measuring("tested", study, platform).run(study.cells()))
    return results.query(NUMBERS)


def prepare(study: Study, platform: Platform) -> None:
    prepare_data(study, "simulated", platform)
    for level in study.levels_of("simulated"):
        for seed in study.seeds:
            prepare_noised(study, "simulated", level, seed, platform)


@dataclass
class Campaign:
    """Runs of the command on one storage, and what is done to them."""

    storage: Path
    log: Path
    rng: np.random.Generator
    killed: list[str] = field(default_factory=list)

    def start(self) -> psutil.Popen:
        code = "import sys; from nsl_assets.cli import main; sys.exit(main())"
        with self.log.open("a") as log:
            return psutil.Popen(
                [sys.executable, "-c", code, "run", "tested"], stdout=log, stderr=log, env=dict(os.environ)
            )

    def n_measured(self) -> int:
        return len(Artifacts(self.storage).hashes("measurement"))

    def kill_any(self, running: psutil.Popen) -> None:
        """Kill one of the processes below the command, drawn at random."""
        while running.poll() is None:
            processes = sorted(running.children(recursive=True), key=lambda process: process.pid)
            if not processes:
                continue
            chosen = processes[int(self.rng.integers(len(processes)))]
            try:
                command = " ".join(chosen.cmdline())
                chosen.kill()
            except psutil.NoSuchProcess:
                continue
            self.killed.append(command)
            return

    def kill_workers_until_one_is_recorded(self, running: psutil.Popen) -> None:
        """Kill workers at work until table `run` says of one that it was killed."""
        deadline = time.monotonic() + 100
        while not any("SIGKILL" in reason for reason in self.failures()):
            assert running.poll() is None and time.monotonic() < deadline, self.text()[-2000:]
            for process in running.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "nsl_assets.worker" in process.cmdline():
                        process.kill()
                        break
            time.sleep(0.3)

    def failures(self) -> list[str]:
        """Reasons of all failed attempts."""
        results = Results(self.storage)
        results.publish()
        return [row["reason"] for row in results.query("select reason from run where status = 'failed'")]

    def run_until(self, n_measured: int, running: psutil.Popen) -> bool:
        """Wait for so many measurements; False where the command ended before."""
        deadline = time.monotonic() + 150
        while self.n_measured() < n_measured:
            if running.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"{self.n_measured()} measurements; {self.text()[-2000:]}"
            time.sleep(0.02)
        return True

    def text(self) -> str:
        return self.log.read_text()

    def processes(self) -> list[psutil.Process]:
        """Every process of this storage but this one."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("NSL_STORAGE") == str(self.storage):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def require_nothing_left_running(self) -> None:
        deadline = time.monotonic() + 30
        while left := self.processes():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


def test_every_number_survives_kills_a_full_disk_and_damaged_files(project: Path, small_storage: Path) -> None:
    study = load_project().study("tested")
    expected = undisturbed(study, project / "undisturbed")
    assert len(expected) == N_CELLS
    campaign = Campaign(small_storage, project / "log", np.random.default_rng(2024))

    kill_workers_then_the_command(campaign)
    if small_storage.is_mount():
        fill_the_disk(campaign)
    finish(campaign)
    damaged = damage_files(study, small_storage)
    campaign.log.write_text("")
    finish(campaign)

    results, artifacts = Results(small_storage), Artifacts(small_storage)
    results.publish(rebuild=True)
    assert results.query(NUMBERS) == expected
    assert all(is_measured(cell_hashes(study, cell), artifacts) for cell in study.cells())
    said = campaign.text()
    assert [name for name in damaged if name not in said] == [], said[-3000:]
    reasons = [row["reason"] for row in results.query("select reason from run where status = 'succeeded'")]
    assert sum("was damaged" in reason for reason in reasons) == 3
    assert any("SIGKILL" in reason for reason in campaign.failures()), campaign.failures()
    for kind in KINDS:
        for digest in artifacts.hashes(kind):
            assert artifacts.verify(kind, digest, deep=True) == ()
    assert artifacts.left_behind() == ()
    assert not list((small_storage / "artifacts").rglob(".creating-*"))
    assert Ledger().leases() == []
    campaign.require_nothing_left_running()


def kill_workers_then_the_command(campaign: Campaign) -> None:
    """Processes below the command one after the other: workers, what watches them, what they are forked from."""
    running = campaign.start()
    for n_measured in range(2, 26, 4):
        if not campaign.run_until(n_measured, running):
            break
        campaign.kill_any(running)
    campaign.kill_workers_until_one_is_recorded(running)
    assert len(campaign.killed) >= 3, campaign.text()
    if running.poll() is None:
        running.send_signal(signal.SIGKILL)
    running.wait()
    campaign.require_nothing_left_running()
    assert campaign.n_measured() < N_CELLS


def fill_the_disk(campaign: Campaign) -> None:
    running = campaign.start()
    if not campaign.run_until(campaign.n_measured() + 5, running):
        return
    ballast = campaign.storage / "ballast"
    with ballast.open("wb") as file:
        while free_bytes(campaign.storage) > 0 and write_some(file.fileno()):
            pass
    assert running.wait(120) != 0, "a full disk is a failure"
    ballast.unlink()
    campaign.require_nothing_left_running()


def write_some(descriptor: int) -> bool:
    """Write up to 1 MiB; False where nothing could be written."""
    try:
        return os.write(descriptor, bytes(2**20)) > 0
    except OSError:
        return False


def finish(campaign: Campaign) -> None:
    running = campaign.start()
    assert running.wait(170) == 0, campaign.text()[-3000:]
    campaign.require_nothing_left_running()
    assert campaign.n_measured() == N_CELLS


def damage_files(study: Study, storage: Path) -> list[str]:
    """Damage a file of every kind; the hashes and names that the command has to mention."""
    artifacts = Artifacts(storage)
    chosen = [cell_hashes(study, cell) for cell in study.cells()]
    first, second, third = chosen[3], chosen[30], chosen[80]
    truncate(measurement_of(first, artifacts))
    measurement_of(second, artifacts).unlink()
    flip(artifacts.path("embedding", second.trained.embedding) / "embedding.npy")
    truncate(measurement_of(third, artifacts))
    truncate(artifacts.path("embedding", third.trained.embedding) / "embedding.npy")
    flip(artifacts.path("model", third.trained.model) / "model" / "model.safetensors")
    shard = next(
        path
        for path in (artifacts.path("noised", second.noised) / "counts.zarr").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    )
    truncate(shard)
    landed = sorted((storage / "results" / "landed" / "measurement").glob("*.parquet"))[10]
    truncate(landed)
    shutil.rmtree(storage / "results" / "db")
    return [third.trained.model, third.trained.embedding, second.trained.embedding, second.noised, landed.name]


def measurement_of(hashes: CellHashes, artifacts: Artifacts) -> Path:
    return artifacts.path("measurement", hashes.trained.measurement["gaussian_copula"]) / "measurement.json"


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
