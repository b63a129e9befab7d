"""Workers as array tasks of Slurm, whose commands are stand-ins that really run the tasks as processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsl_assets.errors import InputError, StorageError
from nsl_resources.admission import processes
from nsl_resources.dispatch import (
    Dispatcher,
    Failure,
    Log,
    Message,
    NodeBudget,
    Pace,
    Report,
    Slurm,
    WorkerJob,
    WorkerResult,
    slurm_arrays,
    slurm_commands,
)
from nsl_resources.dispatch.slurm_commands import COMMANDS, SlurmError
from nsl_resources.gpu import Ledger

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
STAND_IN = Path(__file__).with_name("slurm_stand_in.py")
QUICK = Pace(look_s=0.05, ask_s=0.2, settle_s=1.0, silence_s=60)


@dataclass
class StandIn:
    """The state of a stand-in Slurm, and the storage folder that its nodes see."""

    folder: Path
    storage: Path

    def dispatcher(self, *options: str, pace: Pace = QUICK, **more: object) -> Slurm:
        budget = {"budget": NodeBudget(cores=8)}
        return Slurm(self.storage, options, pace=pace, **(budget | more))  # type: ignore[arg-type]

    def states(self) -> list[str]:
        return [json.loads(path.read_text())["state"] for path in sorted(self.folder.glob("*_*.json"))]

    def submissions(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "sbatch.log").read_text().splitlines()]

    def runs(self) -> list[str]:
        return sorted(path.name for path in (self.storage / "dispatch").glob("*"))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Slurm's commands on PATH."""
    started = StandIn(tmp_path / "slurm", tmp_path / "storage")
    programs = tmp_path / "bin"
    for folder in (started.folder, started.storage, programs):
        folder.mkdir()
    for command in COMMANDS:
        program = programs / command
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {STAND_IN} {command} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_SLURM", str(started.folder))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")  # as if nsl itself ran in a job
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "ledger"))
    yield started
    for path in started.folder.glob("*_*.json"):
        subprocess.run([sys.executable, STAND_IN, "end", path.stem, "NODE_FAIL"], check=True)


def shell(label: str, line: str, memory_mib: int = 100, **more: object) -> WorkerJob:
    return WorkerJob(label, ["/bin/sh", "-c", line], memory_mib, **more)  # type: ignore[arg-type]


def ends_with(state: str) -> str:
    """A shell line of a worker whose task Slurm ends in this state."""
    task = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    return f"setsid {sys.executable} -I -S {STAND_IN} end {task} {state}; sleep 60"


def by_label(results: object) -> dict[str, WorkerResult]:
    return {result.label: result for result in results}  # type: ignore[attr-defined]


def running(pids: Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if processes.find(int(pid)) is not None]


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, f"{what} did not happen within {timeout_s} s"
        time.sleep(0.02)


SAYS = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.log.info("begun")
    pipes.report_custom_message({"step": pipes.extras["step"]})
    raise ValueError("no convergence")
"""


def test_every_job_gives_one_result_with_its_reason_and_its_messages(slurm: StandIn, tmp_path: Path) -> None:
    jobs = [
        shell("good", "echo fine; pwd", cwd=tmp_path),
        shell("bad", "echo broken >&2; exit 3", env={"COLOUR": "blue"}),
        shell("killed", "kill -SEGV $$"),
        shell("large", "exit 42"),
        shell("slow", "sleep 60", timeout_s=0.2),
        WorkerJob("says", (sys.executable, "-P", "-c", SAYS), 200, payload={"step": "training"}),
        shell("log", "echo kept", log_path=tmp_path / "logs" / "a.log"),
    ]
    heard: list[tuple[str, Message]] = []
    seen: list[str] = []
    dispatcher: Dispatcher = slurm.dispatcher()
    results = list(dispatcher.run(jobs, lambda result: seen.append(result.label), lambda *said: heard.append(said)))
    found = by_label(results)
    assert seen == [result.label for result in results]
    assert {label: (result.reason, result.returncode) for label, result in found.items()} == {
        "good": ("succeeded", 0),
        "bad": ("exit 3", 3),
        "killed": ("killed by signal SIGSEGV", -11),
        "large": ("out of memory", 42),
        "slow": ("timeout", -2),
        "says": ("exit 1", 1),
        "log": ("succeeded", 0),
    }
    assert found["good"].stderr_tail == f"fine\n{tmp_path}"
    assert found["bad"].stderr_tail == "broken"
    assert (tmp_path / "logs" / "a.log").read_text() == "kept\n"
    said = [message for label, message in heard if label == "says"]
    assert said[:2] == [Log("INFO", "begun"), Report({"step": "training"})]
    assert isinstance(said[2], Failure) and said[2].error == "ValueError"
    assert said[2].text == "ValueError: no convergence"
    assert said[2].traceback.endswith("line 6, in <module>\nValueError: no convergence")
    assert slurm.runs() == []


def test_jobs_with_the_same_needs_share_an_array_that_asks_for_them(slurm: StandIn) -> None:
    jobs = [shell(str(i), "true", timeout_s=3_600.0) for i in range(3)]
    jobs += [shell("wide", "true", 1_000, cores=2), shell("free", "true")]
    results = slurm.dispatcher("--partition=cpu", max_workers=2).run(jobs)
    assert {result.label for result in results if result.is_success} == {"0", "1", "2", "wide", "free"}
    arrays = {tuple(line[line.index("--output=/dev/null") + 1 : -1]) for line in slurm.submissions()}
    first = "--dependency=afterok:1"
    assert arrays == {
        ("--array=0-0", "--cpus-per-task=1", "--mem=200M", "--time=5", "--partition=cpu"),
        ("--array=0-2%2", "--cpus-per-task=1", "--mem=300M", "--time=70", first, "--partition=cpu"),
        ("--array=0-0%2", "--cpus-per-task=2", "--mem=1200M", first, "--partition=cpu"),
        ("--array=0-0%2", "--cpus-per-task=1", "--mem=300M", first, "--partition=cpu"),
    }


def test_gpus_are_asked_for_and_a_node_without_them_refuses(slurm: StandIn) -> None:
    """The first task asks for one only where all jobs do."""
    on_gpus = shell("a", "true", n_gpus=2, gpu_memory_mib=1_000)
    (result,) = slurm.dispatcher().run([on_gpus])
    assert result.reason == "refused" and "GPU" in result.stderr_tail
    assert len(list(slurm.dispatcher().run([on_gpus, shell("b", "true")]))) == 2
    asked = [[option for option in line if option.startswith("--gres")] for line in slurm.submissions()]
    assert asked == [["--gres=gpu:1"], ["--gres=gpu:2"], [], ["--gres=gpu:2"], []]


@pytest.mark.slow
def test_what_slurm_ends_is_named_by_its_accounting(slurm: StandIn) -> None:
    states = {"memory": "OUT_OF_MEMORY", "limit": "TIMEOUT", "operator": "CANCELLED"}
    jobs = [shell(label, ends_with(state)) for label, state in states.items()]
    results = by_label(slurm.dispatcher().run([*jobs, shell("good", "true")]))
    assert {label: result.reason for label, result in results.items()} == {
        "memory": "out of memory",
        "limit": "timeout",
        "operator": "cancelled",
        "good": "succeeded",
    }
    assert results["memory"].returncode == -signal.SIGKILL
    assert Ledger().leases() == []


def test_a_task_that_cannot_even_start_says_why(slurm: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        (result,) = slurm.dispatcher().run([shell("a", "true")])
    assert result.reason == "exit 127"
    assert "/no/such/python" in result.stderr_tail


def test_a_job_whose_node_is_lost_is_submitted_again(slurm: StandIn, tmp_path: Path) -> None:
    once = f"if mkdir {tmp_path}/lost; then {ends_with('NODE_FAIL')}; fi"
    warnings: list[str] = []

    def hear(label: str, message: Message) -> None:
        warnings.extend([message.text] if isinstance(message, Log) else [])

    jobs = [shell("once", once), shell("always", ends_with("NODE_FAIL"))]
    results = by_label(slurm.dispatcher().run(jobs, on_message=hear))
    assert results["once"].is_success
    assert results["always"].reason == "lost" and "lost 3 times" in results["always"].stderr_tail
    assert [text for text in warnings if "NODE_FAIL of node1" in text] == warnings
    assert len(warnings) == 3


def test_a_job_is_repeated_while_others_run_and_refused_where_slurm_has_no_such_node(
    slurm: StandIn, tmp_path: Path
) -> None:
    memory_mib = {"a": iter([300, 1_000_000]), "other": iter(())}

    def repeat(result: WorkerResult) -> WorkerJob | None:
        mib = next(memory_mib[result.label], None)  # type: ignore[call-overload]
        return None if mib is None else shell("a", f"touch {tmp_path}/again; exit 42", mib)

    waits = f"while [ ! -e {tmp_path}/again ]; do sleep 0.02; done"
    jobs = [shell("a", "exit 42", 200), shell("other", waits, timeout_s=60)]
    results = list(slurm.dispatcher().run(jobs, repeat=repeat))
    of_a = [result for result in results if result.label == "a"]
    assert [result.reason for result in of_a] == ["out of memory", "out of memory", "refused"]
    assert "Requested node configuration is not available" in of_a[-1].stderr_tail
    assert [result.reason for result in results if result.label == "other"] == ["succeeded"]
    assert [line for line in slurm.submissions() if "--mem=500M" in line]


def test_a_site_without_accounting_loses_what_ends_without_a_result(slurm: StandIn) -> None:
    (slurm.folder / "sacct-is-down").touch()
    jobs = [shell("killed", ends_with("OUT_OF_MEMORY")), shell("good", "true")]
    pace = Pace(look_s=0.05, ask_s=0.2, settle_s=0.3, silence_s=60)
    results = by_label(slurm.dispatcher(pace=pace).run(jobs))
    assert {label: result.reason for label, result in results.items()} == {"killed": "lost", "good": "succeeded"}


def test_a_controller_that_does_not_answer_for_a_while_costs_nothing(slurm: StandIn, tmp_path: Path) -> None:
    down, gate = slurm.folder / "squeue-is-down", tmp_path / "gate"
    warnings: list[str] = []

    def hear(label: str, message: Message) -> None:
        warnings.append(str(message))
        down.unlink(missing_ok=True)
        gate.touch()

    down.touch()
    job = shell("a", f"while [ ! -e {gate} ]; do sleep 0.02; done")
    (result,) = slurm.dispatcher().run([job], on_message=hear)
    assert result.is_success
    assert "Unable to contact slurm controller" in warnings[0]


@pytest.mark.slow
def test_a_caller_that_stops_iterating_cancels_its_tasks(slurm: StandIn, tmp_path: Path) -> None:
    pids, seen = tmp_path / "pids", []
    pids.touch()
    stubborn = f"trap '' INT TERM; echo $$ >> {pids}; while true; do sleep 0.1; done"
    waits = f"while [ $(wc -l < {pids}) -lt 2 ]; do sleep 0.02; done"
    jobs = [shell("fast", waits), shell("long", f"echo $$ >> {pids}; sleep 60"), shell("stubborn", stubborn)]
    with closing(slurm.dispatcher().run(jobs, seen.append)) as results:
        next(results)
    assert running(pids) == []
    assert {result.label: result.reason for result in seen} == {
        "fast": "succeeded",
        "long": "cancelled",
        "stubborn": "cancelled",
    }
    assert slurm.runs() == [] and Ledger().leases() == []


def test_an_interrupted_stop_still_cancels_everything(
    slurm: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, while Slurm is asked what is left."""
    pids = tmp_path / "pids"
    waits = f"while [ ! -e {pids} ]; do sleep 0.02; done"
    jobs = [shell("fast", waits), shell("long", f"echo $$ >> {pids}; sleep 60")]

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    results = slurm.dispatcher().run(jobs)
    assert next(results).label == "fast"
    monkeypatch.setattr(slurm_commands, "queued", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.close()
    wait_until(lambda: running(pids) == [], "the end of the worker")
    wait_until(lambda: sorted(slurm.states()) == ["CANCELLED", "COMPLETED", "COMPLETED"], "the end of its task")
    assert slurm.runs() == []


def test_stopping_cancels_everything(slurm: StandIn, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.touch()
    jobs = [shell(str(i), f"echo $$ >> {pids}; sleep 60") for i in range(2)]
    results = list(slurm.dispatcher().run(jobs, should_stop=lambda: len(pids.read_text().split()) == 2))
    assert [result.reason for result in results] == ["cancelled"] * 2
    assert running(pids) == []


DISPATCHER = """
import sys
from pathlib import Path
from nsl_resources.dispatch import NodeBudget, Pace, Slurm, WorkerJob
line = f"trap '' INT; echo $$ >> {sys.argv[2]}; sleep 60"
jobs = [WorkerJob(str(i), ["/bin/sh", "-c", line], 100) for i in range(2)]
pace = Pace(0.05, 0.2, 1.0, silence_s=float(sys.argv[3]))
list(Slurm(Path(sys.argv[1]), budget=NodeBudget(cores=8), pace=pace).run(jobs))
"""


@pytest.fixture
def killed_dispatcher(slurm: StandIn, tmp_path: Path) -> Callable[[float], Path]:
    """Starts a dispatcher that waits so long for a silent one, kills it at work; the ids of its two workers."""

    def start(silence_s: float) -> Path:
        pids = tmp_path / "pids"
        pids.touch()
        command = [sys.executable, "-c", DISPATCHER, str(slurm.storage), str(pids), str(silence_s)]
        dispatcher = subprocess.Popen(command)
        wait_until(lambda: len(running(pids)) == 2, "two workers at work")
        dispatcher.kill()
        dispatcher.wait()
        return pids

    return start


@pytest.mark.slow
def test_the_next_run_cancels_what_a_killed_dispatcher_left(
    slurm: StandIn, killed_dispatcher: Callable[[float], Path]
) -> None:
    pids = killed_dispatcher(600)
    assert len(running(pids)) == 2 and len(slurm.runs()) == 1
    assert [result.reason for result in slurm.dispatcher().run([shell("next", "true")])] == ["succeeded"]
    wait_until(lambda: running(pids) == [], "the end of the orphans")
    wait_until(lambda: sorted(slurm.states()) == ["CANCELLED"] * 2 + ["COMPLETED"] * 3, "the end of their tasks")
    assert slurm.runs() == [] and Ledger().leases() == []


@pytest.mark.slow
def test_tasks_of_a_killed_dispatcher_end_by_themselves(
    slurm: StandIn, killed_dispatcher: Callable[[float], Path]
) -> None:
    pids = killed_dispatcher(1.0)
    wait_until(lambda: running(pids) == [], "the end of the orphans")
    wait_until(lambda: slurm.states() == ["COMPLETED", "FAILED", "FAILED"], "the end of their tasks")
    assert Ledger().leases() == []


def test_a_run_at_work_is_not_left_behind(slurm: StandIn, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = slurm.dispatcher().run([shell("fast", "true"), shell("a", f"while [ ! -e {gate} ]; do sleep 0.02; done")])
    assert next(first).label == "fast"
    assert next(slurm.dispatcher().run([shell("b", "true")])).is_success
    gate.touch()
    assert [result.reason for result in first] == ["succeeded"]


@pytest.mark.parametrize(("has_accounting", "node"), [(True, "node1"), (False, "a node")])
def test_nodes_that_do_not_see_the_storage_are_named_before_any_work(
    slurm: StandIn, tmp_path: Path, has_accounting: bool, node: str
) -> None:
    """The first task that Slurm starts does not see it; the others would."""
    (slurm.folder / "blind-1_0").write_text(str(slurm.storage))
    if not has_accounting:
        (slurm.folder / "sacct-is-down").touch()
    jobs = [shell(str(i), f"touch {tmp_path}/started") for i in range(3)]
    with pytest.raises(StorageError, match=rf"is not what {node} sees.*all nodes mount"):
        list(slurm.dispatcher(pace=Pace(look_s=0.05, ask_s=0.2, settle_s=0.3)).run(jobs))
    assert not (tmp_path / "started").exists()
    assert slurm.runs() == []
    assert set(slurm.states()) == {"FAILED", "CANCELLED"}


def test_a_node_that_does_not_see_the_storage_is_named_also_where_the_first_one_does(slurm: StandIn) -> None:
    (slurm.folder / "blind-2_1").write_text(str(slurm.storage))
    with pytest.raises(StorageError, match="is not what node1 sees"):
        list(slurm.dispatcher().run([shell("a", "sleep 60"), shell("b", "true")]))
    assert slurm.runs() == []


def test_a_first_task_that_slurm_ends_ends_the_run(slurm: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_arrays, "_look_for", lambda _: f"#!/bin/sh\n{ends_with('TIMEOUT')}\n")
    with pytest.raises(SlurmError, match=r"the first task.*ended on node1 with TIMEOUT"):
        list(slurm.dispatcher().run([shell("a", "true")]))
    assert slurm.runs() == []


def test_bad_input_is_refused_with_what_to_do(slurm: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlurmError, match="invalid partition specified: none"):
        list(slurm.dispatcher("--partition=none").run([shell("a", "true")]))
    with pytest.raises(InputError, match="two jobs are labelled 'a'"):
        slurm.dispatcher().run([shell("a", "true"), shell("a", "true")])
    (result,) = slurm.dispatcher(budget=NodeBudget(memory_mib=50)).run([shell("a", "true")])
    assert result.reason == "refused" and "a needs 100 MiB" in result.stderr_tail
    monkeypatch.setenv("PATH", str(tmp_path / "bin" / "none"))
    with pytest.raises(InputError, match="sbatch, squeue, sacct, scancel cannot be found"):
        slurm.dispatcher()
