"""The local pool: results, environment, admission through the ledger, its own cost. Workers are small shell lines."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nsl_assets.errors import InputError
from nsl_resources.dispatch import Dispatcher, LocalPool, WorkerJob, WorkerResult
from nsl_resources.gpu import AdmissionError, HostBudget, HostProbe, Ledger, Need

MakeJob = Callable[..., WorkerJob]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(HostProbe(HostBudget(1_000, 4)), tmp_path / "ledger.sqlite")


@pytest.fixture
def pool(ledger: Ledger) -> LocalPool:
    return LocalPool(ledger, grace_s=0.3)


def shell(label: str, line: str, memory_mib: int = 100, **more: object) -> WorkerJob:
    return WorkerJob(label, ["/bin/sh", "-c", line], memory_mib, **more)  # type: ignore[arg-type]


def by_label(results: object) -> dict[str, WorkerResult]:
    return {result.label: result for result in results}  # type: ignore[attr-defined]


def test_a_local_pool_is_a_dispatcher(pool: LocalPool) -> None:
    dispatcher: Dispatcher = pool
    assert list(dispatcher.run([])) == []


def test_every_job_gives_one_result_with_its_reason(pool: LocalPool, tmp_path: Path) -> None:
    jobs = [
        shell("good", "echo fine"),
        shell("bad", "echo broken >&2; exit 3"),
        shell("killed", "kill -SEGV $$"),
        shell("large", "exit 42"),
        shell("slow", "sleep 60", timeout_s=0.2),
        WorkerJob("missing", ["no-such-program"], 100),
        shell("nowhere", "true", cwd=tmp_path / "gone"),
    ]
    results = by_label(pool.run(jobs))
    assert {label: result.reason for label, result in results.items()} == {
        "good": "succeeded",
        "bad": "exit 3",
        "killed": "killed by signal SIGSEGV",
        "large": "out of memory",
        "slow": "timeout",
        "missing": "exit 127",
        "nowhere": "exit 127",
    }
    assert results["good"].is_success and not results["bad"].is_success
    assert results["bad"].returncode == 3 and results["killed"].returncode == -11
    assert results["bad"].stderr_tail == "broken"
    assert "cannot start no-such-program" in results["missing"].stderr_tail
    assert 0.2 <= results["slow"].seconds < 30


def test_results_come_as_the_jobs_end(pool: LocalPool) -> None:
    results = pool.run([shell("slow", "sleep 60"), shell("fast", "true")])
    assert next(results).label == "fast"
    results.close()  # type: ignore[attr-defined]


def test_a_job_is_repeated_as_its_result_asks(pool: LocalPool, tmp_path: Path) -> None:
    """At once, in place of the first; what can never be admitted is refused, and a label stays what it is."""
    larger = {200: 300, 300: 5_000}
    memory_mib = {"a": 200, "b": 100}
    line = f"echo x >> {tmp_path}/starts; exit 42"

    def repeat(result: WorkerResult) -> WorkerJob | None:
        if result.reason != "out of memory" or memory_mib[result.label] not in larger:
            return None
        memory_mib[result.label] = larger[memory_mib[result.label]]
        return shell(result.label, line, memory_mib[result.label])

    results = list(pool.run([shell("a", line, 200), shell("b", "exit 42")], repeat=repeat))
    of_a = [result for result in results if result.label == "a"]
    assert [result.reason for result in of_a] == ["out of memory", "out of memory", "refused"]
    assert "a needs 5,000 MiB" in of_a[-1].stderr_tail
    assert len(results) == 4
    assert (tmp_path / "starts").read_text().split() == ["x", "x"]
    with pytest.raises(InputError, match="'a' is to be repeated by a job labelled 'b'"):
        list(pool.run([shell("a", "true")], repeat=lambda _: shell("b", "true")))


def meets(folder: Path, label: str, other: str) -> str:
    """A line that ends well if the other one has started within ten seconds."""
    return f"touch {folder}/{label}; for _ in $(seq 500); do [ -e {folder}/{other} ] && exit; sleep 0.02; done; exit 1"


def test_what_waits_takes_over_new_needs_once_the_caller_has_taken_in_a_result(pool: LocalPool, tmp_path: Path) -> None:
    """Each fills the pool. The second starts before the caller knows of the first; then the others ask for less."""
    jobs = [
        shell("first", "true", 900),
        shell("second", "true", 900),
        *(shell(x, meets(tmp_path, x, y), 900) for x, y in ("ab", "ba")),
    ]
    taken_in: list[str] = []

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        assert taken_in
        return [replace(job, memory_mib=400) for job in waiting]

    for result in pool.run(jobs, renew=renew):
        assert result.is_success
        taken_in.append(result.label)
    assert taken_in[:2] == ["first", "second"] and len(taken_in) == 4


def test_who_grows_beyond_the_budget_is_refused_and_holds_up_nobody(ledger: Ledger, pool: LocalPool) -> None:
    """It has left the line too: nothing is kept for it, and a stranger gets what there is."""
    needs = {"small": 300, "grows": 5_000}

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        return [replace(job, memory_mib=needs[job.label]) for job in waiting]

    jobs = [shell("first", "true", 1_000), shell("small", "true", 900), shell("grows", "true", 800)]
    results = by_label(pool.run(jobs, renew=renew))
    assert {label: result.reason for label, result in results.items()} == {
        "first": "succeeded", "small": "succeeded", "grows": "refused",
    }  # fmt: skip
    assert "grows needs 5,000 MiB" in results["grows"].stderr_tail
    assert ledger.snapshot().queue == ()


def test_only_what_waits_is_renewed_and_only_after_success(pool: LocalPool) -> None:
    asked: list[list[str]] = []

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        asked.append([job.label for job in waiting])
        return []

    labels = ["bad", "good", "next", "last"]
    jobs = [shell(label, "exit 3" if label == "bad" else "true", 900) for label in labels]
    assert [result.label for result in pool.run(jobs, renew=renew)] == labels
    assert asked == [["last"]]
    with pytest.raises(InputError, match=r"do not wait are to be renewed: \['x'\]"):
        list(pool.run(jobs, renew=lambda _: [shell("x", "true")]))


@pytest.mark.parametrize("ending", ["true", "exit 3", "exit 42"])
def test_who_waits_for_a_job_starts_when_that_has_ended_however(pool: LocalPool, tmp_path: Path, ending: str) -> None:
    """Also where that ran out of memory and is repeated: then after the last attempt."""
    first = shell("first", f"echo first >> {tmp_path}/starts; {ending}")
    again = [replace(first, memory_mib=200)] * (ending == "exit 42")
    later = shell("later", f"echo later >> {tmp_path}/starts", after="first")
    results = list(pool.run([later, first], repeat=lambda _: again.pop() if again else None))
    starts = (tmp_path / "starts").read_text().split()
    assert starts == ["first"] * (2 if ending == "exit 42" else 1) + ["later"]
    assert results[-1].is_success


def test_who_waits_for_a_job_is_cancelled_with_it(pool: LocalPool) -> None:
    jobs = [shell("first", "sleep 60"), shell("later", "true", after="first")]
    results = list(pool.run(jobs, should_stop=lambda: True))
    assert {result.label: result.reason for result in results} == dict.fromkeys(("first", "later"), "cancelled")


@pytest.mark.parametrize("after", ["nobody", "second", "third"])
def test_who_waits_waits_for_a_job_that_is_there_and_waits_for_none(pool: LocalPool, after: str) -> None:
    jobs = [shell("first", "true"), shell("second", "true", after=after), shell("third", "true", after="first")]
    with pytest.raises(InputError, match=f"'second' is to start after '{after}'"):
        pool.run(jobs)


def test_nothing_is_repeated_once_a_run_is_stopped(pool: LocalPool) -> None:
    """Neither by `should_stop` nor where the caller stops iterating."""
    asked: list[str] = []

    def repeat(result: WorkerResult) -> WorkerJob:
        asked.append(result.label)
        return shell(result.label, "true")

    (result,) = pool.run([shell("a", "sleep 60")], should_stop=lambda: True, repeat=repeat)
    assert (result.reason, asked) == ("cancelled", [])
    seen: list[WorkerResult] = []
    results = pool.run([shell("fast", "true"), shell("long", "sleep 60")], seen.append, repeat=repeat)
    assert next(results).label == "fast"
    results.close()
    assert asked == ["fast"]
    assert {result.label: result.reason for result in seen if result.reason != "succeeded"}["long"] == "cancelled"


ENVIRONMENT = """
import os, sys
variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "COLOUR")
print(*[os.environ[name] for name in variables])
print(os.getcwd(), os.getsid(0) == os.getpid(), repr(sys.stdin.read()))
"""


def test_a_worker_has_fixed_threads_its_own_session_and_no_input(
    pool: LocalPool, tmp_path: Path, python_job: MakeJob
) -> None:
    env = {"COLOUR": "blue", "OMP_NUM_THREADS": "64"}
    (result,) = pool.run([python_job("a", ENVIRONMENT, cores=3, env=env, cwd=tmp_path)])
    assert result.stderr_tail == f"3 3 3 3 blue\n{tmp_path} True ''"


def test_a_worker_keeps_no_files_of_others_open(pool: LocalPool, python_job: MakeJob) -> None:
    code = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1])"  # the last one lists
    results = list(pool.run([python_job(str(i), code) for i in range(3)]))
    assert [result.stderr_tail for result in results] == ["[0, 1, 2]"] * 3


def test_endings_of_python_workers(pool: LocalPool, tmp_path: Path, python_job: MakeJob) -> None:
    jobs = [
        python_job("large", "raise SystemExit(42)"),
        python_job("killed", "import os; os.kill(os.getpid(), 11)"),
        python_job("slow", "import time; time.sleep(60)", timeout_s=1.0),
        python_job("nowhere", "", cwd=tmp_path / "gone"),
    ]
    results = by_label(pool.run(jobs))
    assert {label: (result.reason, result.returncode) for label, result in results.items()} == {
        "large": ("out of memory", 42),
        "killed": ("killed by signal SIGSEGV", -11),
        "slow": ("timeout", -2),
        "nowhere": ("exit 127", 127),
    }
    assert str(tmp_path / "gone") in results["nowhere"].stderr_tail
    assert "Fatal Python error: Segmentation fault" in results["killed"].stderr_tail  # faulthandler


def test_output_goes_to_the_named_file_and_its_tail_into_the_result(
    pool: LocalPool, tmp_path: Path, python_job: MakeJob
) -> None:
    log = tmp_path / "logs" / "a.log"
    (first,) = pool.run([python_job("a", "print(*range(1, 1001), sep='\\n')", log_path=log)])
    (again,) = pool.run([python_job("a", "import os; os.system('echo again')", log_path=log)])
    assert first.stderr_tail.splitlines() == [str(i) for i in range(961, 1001)]
    assert again.stderr_tail == "again"
    assert log.read_text().splitlines()[-2:] == ["1000", "again"]


def test_peak_memory_and_cpu_are_those_of_the_whole_tree(pool: LocalPool, python_job: MakeJob) -> None:
    """Parent and child hold 80 MiB each at the same time; a second worker holds 120 MiB for an instant."""
    tree = """
import os, time
pid = os.fork()
held = b"x" * (80 << 20)
end_s = time.process_time() + 0.4
while time.process_time() < end_s:
    pass
time.sleep(1)
if pid:
    os.waitpid(pid, 0)
"""
    results = by_label(pool.run([python_job("tree", tree), python_job("instant", "b'x' * (120 << 20)")]))
    assert 160 <= results["tree"].peak_memory_mib < 260
    assert 120 <= results["instant"].peak_memory_mib < 160
    assert 0.8 <= results["tree"].cpu_seconds < 3


def test_what_can_never_run_is_refused_before_anything_starts(pool: LocalPool, tmp_path: Path) -> None:
    jobs = [shell("fits", f"touch {tmp_path}/started"), shell("does not", "true", memory_mib=5_000)]
    with pytest.raises(AdmissionError, match="does not needs 5,000 MiB"):
        pool.run(jobs)
    assert not (tmp_path / "started").exists()


def test_labels_are_unique(pool: LocalPool) -> None:
    with pytest.raises(InputError, match="two jobs are labelled 'a'"):
        pool.run([shell("a", "true"), shell("a", "true")])


def test_the_lease_is_held_by_the_running_worker_and_given_back(
    ledger: Ledger, pool: LocalPool, python_job: MakeJob
) -> None:
    jobs = [python_job("first", "import time; time.sleep(60)", 600), python_job("second", "", 300)]
    results = pool.run(jobs)
    assert next(results).label == "second"
    (held,) = ledger.leases()
    assert (held.label, held.need.memory_mib) == ("first", 600)
    assert held.pid != os.getpid()
    results.close()  # type: ignore[attr-defined]
    assert ledger.leases() == []


def test_the_pool_waits_for_leases_of_others_and_says_so(
    ledger: Ledger, pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsl_resources.dispatch.crew._REPORT_EVERY_S", 0.2)
    other = ledger.acquire(Need(900), "somebody else")
    said: list[str] = []

    def on_message(label: str, message: object) -> None:
        said.append(f"{label}: {message}")
        other.release()

    (result,) = pool.run([shell("a", "true", 300)], on_message=on_message)
    assert result.is_success
    assert len(said) == 1 and "has waited" in said[0] and "300 MiB" in said[0]


def test_max_workers_bounds_this_pool(ledger: Ledger, tmp_path: Path) -> None:
    line = f"mkdir {tmp_path}/busy || exit 9; sleep 0.05; rmdir {tmp_path}/busy"
    results = LocalPool(ledger, max_workers=1).run([shell(str(i), line) for i in range(5)])
    assert [result.reason for result in results] == ["succeeded"] * 5


SHARING = """
import sys
from pathlib import Path
from nsl_resources.dispatch import LocalPool, WorkerJob
from nsl_resources.gpu import HostBudget, HostProbe, Ledger
ledger = Ledger(HostProbe(HostBudget(1_000, 4)), Path(sys.argv[1]))
jobs = [WorkerJob(f"{sys.argv[2]}-{i}", ["/bin/sleep", "0.05"], 100 + 150 * (i % 4)) for i in range(8)]
assert all(result.is_success for result in LocalPool(ledger).run(jobs))
"""


def test_pools_of_several_processes_share_one_budget(ledger: Ledger) -> None:
    pools = [subprocess.Popen([sys.executable, "-c", SHARING, str(ledger.path), str(i)]) for i in range(2)]
    seen: set[str] = set()
    while any(pool.poll() is None for pool in pools):
        leases = ledger.leases()
        seen |= {held.label for held in leases}
        assert sum(held.need.memory_mib for held in leases) <= 1_000
        assert sum(held.need.cores for held in leases) <= 4
        time.sleep(0.01)
    assert [pool.returncode for pool in pools] == [0, 0]
    assert {label[0] for label in seen} == {"0", "1"}
    assert ledger.leases() == []


def test_a_job_costs_the_dispatcher_little(pool: LocalPool) -> None:
    """Processor time of the dispatcher itself, which a busy machine does not inflate as it does elapsed time."""
    jobs = [WorkerJob(str(i), ["/bin/true"], 100) for i in range(20)]
    start_s = time.process_time()
    assert all(result.is_success for result in pool.run(jobs))
    assert (time.process_time() - start_s) / 20 < 0.020


def test_waiting_for_workers_costs_next_to_nothing(pool: LocalPool) -> None:
    start_s = time.process_time()
    assert len(list(pool.run([shell("a", "sleep 1"), shell("b", "sleep 1")]))) == 2
    assert time.process_time() - start_s < 0.3


def test_workers_survive_the_thread_that_started_them(pool: LocalPool, tmp_path: Path, python_job: MakeJob) -> None:
    """The kernel's death signal fires when a thread ends; ours must not depend on the caller's threads."""
    gate = tmp_path / "gate"
    waits = f"import time, os\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)"
    results = pool.run([python_job("first", ""), python_job("second", waits)])
    starter = threading.Thread(target=lambda: next(results))
    starter.start()
    starter.join()
    gate.touch()
    assert [result.reason for result in results] == ["succeeded"]


def test_callbacks_see_every_result(pool: LocalPool) -> None:
    seen: list[str] = []
    jobs = [shell(str(i), "true") for i in range(3)]
    yielded = [r.label for r in pool.run(jobs, on_result=lambda result: seen.append(result.label))]
    assert seen == yielded and sorted(seen) == ["0", "1", "2"]


def test_stopping_cancels_what_runs_and_what_waits(pool: LocalPool) -> None:
    asked = itertools.count()
    jobs = [shell(str(i), "sleep 60", 900) for i in range(3)]
    results = list(pool.run(jobs, should_stop=lambda: next(asked) > 3))
    assert [result.reason for result in results] == ["cancelled"] * 3
    assert sorted(result.returncode is None for result in results) == [False, True, True]
