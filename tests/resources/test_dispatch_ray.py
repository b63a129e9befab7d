"""Workers on a real Ray cluster of two nodes on this machine: results, needs, a node that dies, no orphans.

One cluster serves all tests: starting one takes 10-20 s. A node that a test has killed is replaced for the next.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from nsl_assets.errors import InputError, StorageError
from nsl_assets.grid import Measuring, Platform, prepare_data, prepare_noised
from nsl_assets.study import Machine, Study, parse_project
from nsl_resources.admission import processes
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import Dispatcher, LocalPool, Log, Message, NodeBudget, Ray, Report, WorkerJob, WorkerResult
from nsl_resources.dispatch.ray_nodes import Cluster
from nsl_resources.gpu import AdmissionError, HostBudget, HostProbe, Ledger
from nsl_resources.results import Results

pytest.importorskip("ray", reason='Ray is not installed: pip install ".[ray]"')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="a cluster on one machine is tested on Linux"),
]

GPU_MIB = 8_000
NVML = f"""
from types import SimpleNamespace
class NVMLError(Exception): pass
class NVMLError_NotSupported(NVMLError): pass
class NVMLError_NoPermission(NVMLError): pass
class NVMLError_LibraryNotFound(NVMLError): pass
class NVMLError_DriverNotLoaded(NVMLError): pass
class NVMLError_FunctionNotFound(NVMLError): pass
nvmlMemory_v2 = 2
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(index): return "GPU-simulated-0"
def nvmlDeviceGetMigMode(index): raise NVMLError_NotSupported
def nvmlDeviceGetComputeRunningProcesses(index): return []
def nvmlDeviceGetMemoryInfo(index, version=None): return SimpleNamespace(free={GPU_MIB} << 20, used=0)
"""
"""A node's driver library that shows one GPU."""


SIZE = {"num_cpus": 1, "num_gpus": 1, "memory": 4 << 30, "object_store_memory": 80 << 20}


@dataclass
class Nodes:
    """A running cluster: its address, the node that can be killed, and the ledger of this machine."""

    cluster: Any
    ledger: Ledger
    second: Any = None

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def replace_second(self) -> None:
        """Starts the second node where there is none."""
        self.second = self.second or self.cluster.add_node(**SIZE)

    def processes(self) -> list[psutil.Process]:
        """What Ray runs on both nodes."""
        return processes_of(self.cluster.head_node) + processes_of(self.second)

    def kill_second_at_work(self) -> bool:
        """Ends the second node's processes at once, as a power cut does, if a worker of the grid runs on it."""
        is_at_work = any("nsl_assets.worker" in command_of(process) for process in processes_of(self.second))
        if is_at_work:
            self.cluster.remove_node(self.second, allow_graceful=False)
            self.second = None
        return is_at_work


def processes_of(node: Any) -> list[psutil.Process]:
    """What Ray runs on a node."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster whose nodes have one core and one simulated GPU each."""
    import ray
    from ray.cluster_utils import Cluster as TestCluster

    folder = tmp_path_factory.mktemp("nodes")
    (folder / "nvml").mkdir()
    (folder / "nvml" / "pynvml.py").write_text(NVML)
    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "nvml"), prepend=os.pathsep)
        patch.setenv("NSL_LEDGER", str(folder / "ledger"))
        started = TestCluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False})
        try:
            yield Nodes(started, Ledger())
        finally:
            ray.shutdown()
            started.shutdown()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    """Two nodes that live."""
    cluster.replace_second()
    return cluster


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The storage folder."""
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


def shell(label: str, line: str, memory_mib: int = 100, **more: object) -> WorkerJob:
    return WorkerJob(label, ["/bin/sh", "-c", line], memory_mib, **more)  # type: ignore[arg-type]


def running(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if processes.find(int(pid)) is not None]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.05)


SAYS = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.report_custom_message({"step": pipes.extras["step"]})
    raise ValueError("no convergence")
"""


def test_every_job_gives_one_result_with_its_reason_and_its_messages(
    nodes: Nodes, shared: Path, tmp_path: Path
) -> None:
    gpu = {"n_gpus": 1, "gpu_memory_mib": 1_000}
    jobs = [
        shell("good", "echo fine"),
        shell("bad", "echo broken >&2; exit 3"),
        shell("killed", "kill -SEGV $$"),
        shell("large", "exit 42"),
        shell("slow", "sleep 60", timeout_s=0.2),
        shell("gpu", "echo sees $CUDA_VISIBLE_DEVICES", **gpu),
        shell("no gpu", "echo sees $CUDA_VISIBLE_DEVICES"),
        WorkerJob("says", (sys.executable, "-P", "-c", SAYS), 200, payload={"step": "training"}),
        shell("log", "echo kept", log_path=tmp_path / "logs" / "a.log"),
    ]
    heard: list[tuple[str, Message]] = []
    seen: list[str] = []
    handler = signal.getsignal(signal.SIGTERM)
    ray = Ray(shared, nodes.address, gpu_memory_mib=GPU_MIB)
    results = list(ray.run(jobs, lambda result: seen.append(result.label), lambda *said: heard.append(said)))
    by_label = {result.label: result for result in results}
    assert seen == [result.label for result in results]
    assert {label: result.reason for label, result in by_label.items()} == {
        "good": "succeeded",
        "bad": "exit 3",
        "killed": "killed by signal SIGSEGV",
        "large": "out of memory",
        "slow": "timeout",
        "gpu": "succeeded",
        "no gpu": "succeeded",
        "says": "exit 1",
        "log": "succeeded",
    }
    assert by_label["bad"].stderr_tail == "broken"
    assert by_label["gpu"].stderr_tail == "sees GPU-simulated-0"
    assert by_label["no gpu"].stderr_tail == "sees"
    assert {result.host for result in results} == {socket.gethostname()}
    assert (tmp_path / "logs" / "a.log").read_text() == "kept\n"
    assert ("says", Report({"step": "training"})) in heard
    assert [type(message).__name__ for label, message in heard if label == "says"] == ["Report", "Failure"]
    assert list(shared.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is handler


def test_what_cannot_work_is_said_before_anything_starts(
    nodes: Nodes, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = Ray(shared, nodes.address)
    started = tmp_path / "started"
    for job, words in (
        (shell("large", f"touch {started}", 900_000), "large needs 900,000 MiB"),
        (shell("wide", f"touch {started}", cores=2), "no node of the Ray cluster"),
        (shell("gpus", f"touch {started}", n_gpus=2, gpu_memory_mib=10), "on each of 2 GPUs"),
    ):
        with pytest.raises(AdmissionError, match=words):
            ray.run([shell("fits", f"touch {started}"), job])
    with pytest.raises(InputError, match="two jobs are labelled 'a'"):
        ray.run([shell("a", "true"), shell("a", "true")])
    with socket.create_server(("127.0.0.1", 0)) as other:  # the address of another cluster
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address}.* this process uses the one at {nodes.address} already"):
            Ray(shared, address).run([shell("a", f"touch {started}")])
    with monkeypatch.context() as patch:  # the nodes of one name are told apart
        answers = iter([False, True])
        patch.setattr(Cluster, "_answer", lambda *_: next(answers))
        with pytest.raises(StorageError, match="Put it on a filesystem that all nodes mount"):
            ray.run([shell("a", f"touch {started}")])
    # The nodes run on this machine and see all of it: what they would read elsewhere is changed under their hands.
    monkeypatch.setattr("nsl_resources.dispatch.storage_probe.atomic_write_text", lambda path, _: path.touch())
    with pytest.raises(StorageError, match="Put it on a filesystem that all nodes mount"):
        ray.run([shell("a", f"touch {started}")])
    assert not started.exists()


def test_a_job_that_the_ledger_of_its_node_can_never_admit_is_refused(nodes: Nodes, shared: Path) -> None:
    (result,) = Ray(shared, nodes.address, NodeBudget(memory_mib=50)).run([shell("a", "true")])
    assert (result.reason, result.returncode) == ("refused", None)
    assert "a needs 100 MiB" in result.stderr_tail


def test_a_job_is_repeated_while_others_run_although_the_mailbox_dies(
    nodes: Nodes, shared: Path, tmp_path: Path
) -> None:
    """The process that keeps messages is killed; what is repeated with more than any node has is refused."""
    larger_mib = {100: 200, 200: 900_000}
    memory_mib = {"a": 100, "other": 0}
    again = tmp_path / "again"

    def repeat(result: WorkerResult) -> WorkerJob | None:
        mib = memory_mib[result.label] = larger_mib.get(memory_mib[result.label], 0)
        return shell("a", f"touch {again}; exit 42", mib) if mib else None

    def kill_mailbox(label: str, message: Message) -> None:
        for process in nodes.processes():
            if "".join(command_of(process)).startswith("ray::Mailbox"):
                process.kill()

    waits = f"while [ ! -e {again} ]; do sleep 0.02; done"
    says = SAYS.replace('raise ValueError("no convergence")', "raise SystemExit(42)")
    first = WorkerJob("a", (sys.executable, "-P", "-c", says), 100, payload={"step": "training"})
    jobs = [first, shell("other", waits, timeout_s=120)]
    results = list(Ray(shared, nodes.address).run(jobs, on_message=kill_mailbox, repeat=repeat))
    of_a = [result for result in results if result.label == "a"]
    assert [result.reason for result in of_a] == ["out of memory", "out of memory", "refused"]
    assert "a needs 900,000 MiB" in of_a[-1].stderr_tail
    assert [result.reason for result in results if result.label == "other"] == ["succeeded"]


def test_a_caller_that_stops_iterating_stops_its_workers(nodes: Nodes, shared: Path, tmp_path: Path) -> None:
    pids, seen = tmp_path / "pids", []
    pids.touch()
    jobs = [shell("fast", "true"), shell("long", f"echo $$ >> {pids}; sleep 60"), shell("never", "true", cores=1)]
    with closing(Ray(shared, nodes.address, max_workers=2).run(jobs, seen.append)) as results:
        next(results)
        wait_until(lambda: bool(pids.read_text()), "a worker at work")
    assert running(pids) == []
    assert {result.label: result.reason for result in seen} | {"never": ""} == {
        "fast": "succeeded",
        "long": "cancelled",
        "never": "",
    }


def test_stopping_cancels_what_runs_and_what_waits(nodes: Nodes, shared: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    jobs = [shell(str(i), f"echo $$ >> {pids}; sleep 60") for i in range(5)]
    ray = Ray(shared, nodes.address)
    results = list(ray.run(jobs, should_stop=lambda: len(pids.read_text().split()) == 2))
    assert [result.reason for result in results] == ["cancelled"] * 5
    assert running(pids) == []


DISPATCHER = """
import sys
from pathlib import Path
from nsl_resources.dispatch import Ray, WorkerJob
line = f"trap '' INT TERM; echo $$ >> {sys.argv[3]}; while true; do sleep 1; done"
jobs = [WorkerJob(str(i), ["/bin/sh", "-c", line], 100) for i in range(2)]
list(Ray(Path(sys.argv[1]), sys.argv[2]).run(jobs))
"""


def test_no_orphans_after_the_end_of_the_dispatcher(nodes: Nodes, shared: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    dispatcher = subprocess.Popen([sys.executable, "-c", DISPATCHER, str(shared), nodes.address, str(pids)])
    wait_until(lambda: len(running(pids)) == 2, "two workers at work")
    dispatcher.send_signal(signal.SIGKILL)
    dispatcher.wait()
    wait_until(lambda: running(pids) == [], "the end of the orphaned workers")
    assert nodes.ledger.leases() == []


STUDY = {
    "sizes": [150],
    "n_seeds": 1,
    "untrained_baseline": "none",
    "tasks": {"simulated": {"kind": "simulated_cells", "n_cells": 400, "n_genes": 40}},
    "models": {"random_projection": {"kind": "random_projection"}, "pca": {"kind": "pca"}},
    "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.4]},
    "probing": {"headline": "gaussian_copula", "estimators": ["gaussian_copula"]},
}
NUMBERS = "select model, level, mi_bits, low_bits, floor_bits, measurement_hash from measurement order by model, level"


@dataclass
class OnGpus:
    """A dispatcher that declares a need of a GPU for every other job, and once kills a node that is at work."""

    inner: Dispatcher
    kill: Callable[[], bool]
    is_killed: bool = False
    warnings: list[str] = field(default_factory=list)

    def run(
        self,
        jobs: Iterable[WorkerJob],
        on_result: Callable[[WorkerResult], None] | None = None,
        on_message: Callable[[str, Message], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        repeat: Callable[[WorkerResult], WorkerJob | None] | None = None,
        *,
        renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None,  # noqa: ARG002
    ) -> Generator[WorkerResult, None, None]:
        """Without `renew`: the study would take its jobs off the GPUs again."""

        def hear(label: str, message: Message) -> None:
            self.warnings += [message.text] if isinstance(message, Log) else []
            if on_message is not None:
                on_message(label, message)

        def kill_once() -> bool:
            self.is_killed = self.is_killed or self.kill()
            return should_stop is not None and should_stop()

        gpu = {"n_gpus": 1, "gpu_memory_mib": GPU_MIB // 2}
        needing = [replace(job, **gpu) if i % 2 else job for i, job in enumerate(jobs)]
        return self.inner.run(needing, on_result, hear, kill_once, repeat)


def measured(study: Study, storage: Path, dispatcher: Dispatcher) -> list[dict[str, object]]:
    """All numbers of a study."""
    results = Results(storage)
    platform = Platform(Artifacts(storage), results, dispatcher, Machine())
    prepare_data(study, "simulated", platform)
    for level in study.levels_of("simulated"):
        for seed in study.seeds:
            prepare_noised(study, "simulated", level, seed, platform)
    outcomes = list(Measuring("s", study, platform).run(study.cells()))
    assert [outcome.reason for outcome in outcomes if outcome.status == "failed"] == []
    return results.query(NUMBERS)


def test_a_study_gives_the_same_numbers_as_the_local_pool_although_a_node_dies(
    nodes: Nodes, shared: Path, tmp_path: Path
) -> None:
    study = parse_project({"studies": {"s": STUDY}}).study("s")
    # The same seconds may be busy with other tests: all memory and cores are taken as this test's own.
    ledger = Ledger(HostProbe(HostBudget(6_000, os.cpu_count() or 1)), tmp_path / "local.sqlite")
    expected = measured(study, tmp_path / "local", LocalPool(ledger))
    on_gpus = OnGpus(Ray(shared, nodes.address, gpu_memory_mib=GPU_MIB), nodes.kill_second_at_work)
    assert measured(study, shared, on_gpus) == expected
    assert len(expected) == 2 * 2
    assert on_gpus.is_killed
    assert any("lost, started again" in text for text in on_gpus.warnings)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("no-such-host.invalid:6379", "no Ray cluster answers"),
        ("somewhere", "expected HOST:PORT, 'auto' or 'local'"),
        ("host:port", "is no port number"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(tmp_path: Path, address: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Ray(tmp_path, address)


def test_auto_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        Ray(tmp_path)


def test_auto_without_a_cluster_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray._private.services.find_gcs_addresses", cache(set))  # those of other tests
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    import ray

    ray.shutdown()
    with pytest.raises(InputError, match="ray start --head"):
        Ray(tmp_path).run([shell("a", "true")])
