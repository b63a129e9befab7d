"""Workers forked from a template that has imported their modules: as fresh ones, only sooner; or fresh where unsafe."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from nsl_assets.errors import InputError
from nsl_resources.admission import processes
from nsl_resources.dispatch import LocalPool, Log, Message, WorkerJob, WorkerResult, template
from nsl_resources.dispatch.process import Start, Supervisor
from nsl_resources.dispatch.templates import Template
from nsl_resources.gpu import HostBudget, HostProbe, Ledger, Need

MakeJob = Callable[..., WorkerJob]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(HostProbe(HostBudget(4_000, 4)), tmp_path / "ledger.sqlite")


@pytest.fixture
def pool(ledger: Ledger) -> LocalPool:
    return LocalPool(ledger, grace_s=0.3)


def by_label(results: object) -> dict[str, WorkerResult]:
    return {result.label: result for result in results}  # type: ignore[attr-defined]


def children(pid: int) -> set[int]:
    """But for the resource tracker that a process pool of another test may have left to this process."""
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    return {process.pid for process in processes.snapshot().values() if process.parent == pid} - {tracker}


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)


# ---- as `python -m`

LOOKS = """
import __main__, faulthandler, os, sys
print(sys.argv[0], sys.argv[2:], sys.path, sys.orig_argv[:4], sys.flags, sys.prefix)
print(__name__, __file__, __spec__.name, __loader__ is __spec__.loader, __package__, __cached__, __builtins__)
print(sorted(vars(__main__)), __main__ is sys.modules["__main__"], faulthandler.is_enabled(), os.getcwd())
print(sorted(set(os.environ) - {"JE_ARROW_MALLOC_CONF"}), sys.stdout, sys.stdin, sys.stderr)
"""


@pytest.mark.parametrize("flags", [("-P",), ()])
def test_a_forked_worker_looks_like_a_fresh_one(
    pool: LocalPool, modules: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    argv = (sys.executable, *flags, "-m", "run_code", LOOKS, "more", "--words")
    looks = [
        WorkerJob(how, argv, 100, env={"PYTHONPATH": str(modules)}, cwd=tmp_path, preload=preload)
        for how, preload in (("fresh", ()), ("forked", ("json",)))
    ]
    results = by_label(pool.run(looks))
    assert results["fresh"].is_success
    assert results["forked"].stderr_tail == results["fresh"].stderr_tail


ENDINGS = [
    "",
    "import sys; sys.exit()",
    "raise SystemExit(3)",
    "raise SystemExit(259)",
    "raise SystemExit('no such task')",
    "raise KeyboardInterrupt",
    "def f(): raise ValueError('the loss became NaN')\nf()",
    "import atexit; atexit.register(print, 'bye'); print('here'); 1 / 0",
    "import os, sys; sys.stdout.write('lost'); os._exit(5)",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.3), print('joined'))).start()",
    "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "import os; os.close(1); print('nowhere')",
    "import os; log = os.fdopen(os.dup(1), 'w'); log.write('left open')",
    "import ctypes; ctypes.CDLL(None).printf(b'from C')",
    "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'exit(7)']).returncode)",
    "import multiprocessing as m; p = m.get_context('spawn').Process(target=print, args=(1,)); p.start(); p.join()",
]


@pytest.mark.parametrize("code", ENDINGS)
def test_a_forked_worker_ends_like_a_fresh_one(pool: LocalPool, job_of: MakeJob, code: str) -> None:
    guarded = f"if __name__ == '__main__':\n  exec({code!r})"
    results = by_label(pool.run([job_of("fresh", guarded), job_of("forked", guarded, preload=("json",))]))
    fresh, forked = results["fresh"], results["forked"]
    assert (forked.returncode, forked.reason) == (fresh.returncode, fresh.reason)
    assert without_lines_of_runpy(forked.stderr_tail) == without_lines_of_runpy(fresh.stderr_tail)


def without_lines_of_runpy(text: str) -> list[str]:
    return [line for line in text.splitlines() if "<frozen" not in line]


def test_a_module_that_is_missing_is_told_as_python_tells_it(pool: LocalPool) -> None:
    jobs = [
        WorkerJob(how, (sys.executable, "-P", "-m", "no_such_module"), 100, preload=preload)
        for how, preload in (("fresh", ()), ("forked", ("json",)))
    ]
    results = by_label(pool.run(jobs))
    assert results["forked"].stderr_tail == results["fresh"].stderr_tail
    assert results["forked"].returncode == results["fresh"].returncode == 1


# ---- one import for many workers

NOTES = """
import json, os, sys, time
with open(os.environ["NOTES"], "a") as file:
    print(os.environ["OMP_NUM_THREADS"], os.environ.get("COLOUR"), file=file)
print("this is said by the template")
end_s = time.process_time() + 0.5
while time.process_time() < end_s:
    pass
"""


def test_modules_are_imported_once_for_all_workers_of_a_kind(
    pool: LocalPool, job_of: MakeJob, modules: Path, tmp_path: Path
) -> None:
    (modules / "takes_notes.py").write_text(NOTES)
    code = "import sys; assert 'takes_notes' in sys.modules; import takes_notes; print('ran')"
    env = {"NOTES": str(tmp_path / "notes")}
    jobs = [
        *(job_of(f"one {i}", code, env=env, preload=("takes_notes",)) for i in range(4)),
        *(job_of(f"two {i}", code, cores=2, env=env, preload=("takes_notes",)) for i in range(2)),
        job_of("blue", code, env={**env, "COLOUR": "blue"}, preload=("takes_notes",)),
    ]
    results = list(pool.run(jobs))
    assert [(result.reason, result.stderr_tail) for result in results] == [("succeeded", "ran")] * 7
    assert sorted((tmp_path / "notes").read_text().splitlines()) == ["1 None", "1 blue", "2 None"]
    assert max(result.cpu_seconds for result in results) < 0.5  # theirs alone
    assert children(os.getpid()) == set()  # no template outlives its run


def test_no_template_is_started_for_a_job_that_waits(ledger: Ledger, pool: LocalPool, job_of: MakeJob) -> None:
    with ledger.acquire(Need(3_000), "somebody else"):
        results = pool.run([job_of("a", ""), job_of("b", "", 2_000, preload=("json",))])
        assert next(results).label == "a"
        assert children(os.getpid()) == set()
        results.close()  # type: ignore[attr-defined]


def test_a_forked_worker_sees_the_gpus_of_its_lease(
    pool: LocalPool, job_of: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None here; what its jobs or its dispatcher would show it does not count."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    code = "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"
    jobs = [job_of(str(p), code, env={"CUDA_VISIBLE_DEVICES": "2"}, preload=p) for p in ((), ("json",))]
    assert [result.stderr_tail for result in pool.run(jobs)] == ["''"] * 2


def test_siblings_draw_different_numbers_from_global_states(pool: LocalPool, job_of: MakeJob) -> None:
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    results = list(pool.run([job_of(str(i), code, preload=("numpy.random",)) for i in range(2)]))
    numbers = [number for result in results for number in result.stderr_tail.split()]
    assert len(set(numbers)) == 4


def test_only_modules_of_this_interpreter_can_be_forked() -> None:
    for argv in (["/bin/true"], [sys.executable, "-c", "pass"], [sys.executable, "-P", "-m"]):
        with pytest.raises(InputError, match=r"expected .* '-m', MODULE"):
            WorkerJob("a", argv, 100, preload=("json",))


def test_a_module_can_be_preloaded_and_run(pool: LocalPool) -> None:
    argv = (sys.executable, "-P", "-m", "email.mime.text")
    (result,) = pool.run([WorkerJob("a", argv, 100, preload=("email.mime.text",))])
    assert (result.reason, result.stderr_tail) == ("succeeded", "")


SUPERVISOR_MEMORY = """
import os, time
from nsl_resources.admission import processes
assert processes.myself().memory_mib > 60  # scipy
give_up_s = time.monotonic() + 60
while processes.find(os.getppid()).memory_mib > 25:
    assert time.monotonic() < give_up_s, processes.find(os.getppid())
    time.sleep(0.02)
"""


def test_the_supervisor_of_a_forked_worker_does_not_hold_its_modules(pool: LocalPool, job_of: MakeJob) -> None:
    """The ledger adds its memory to the worker's."""
    (result,) = pool.run([job_of("a", SUPERVISOR_MEMORY, preload=("scipy.stats",))])
    assert result.is_success, result.stderr_tail


# ---- what cannot be preloaded


def test_a_module_that_cannot_be_imported_fails_its_jobs_only(pool: LocalPool, job_of: MakeJob, modules: Path) -> None:
    (modules / "broken.py").write_text("raise ValueError('no licence')")
    (modules / "leaves.py").write_text("raise SystemExit(0)")
    jobs = [
        job_of("good", "", preload=("json",)),
        job_of("missing", "", preload=("json", "no_such_module")),
        job_of("broken 1", "", preload=("broken",)),
        job_of("broken 2", "", preload=("broken",)),
        job_of("leaves", "", preload=("leaves",)),
    ]
    results = by_label(pool.run(jobs))
    assert {label: (result.reason, result.returncode) for label, result in results.items()} == {
        "good": ("succeeded", 0),
        "missing": ("cannot import no_such_module", None),
        "broken 1": ("cannot import broken", None),
        "broken 2": ("cannot import broken", None),
        "leaves": ("cannot import leaves", None),
    }
    assert results["broken 2"].stderr_tail.endswith("ValueError: no licence")


UNFIT = {
    "started 1 threads": "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "exit code -9: last words": "import os; os.write(2, b'last words'); os._is_template = os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("why", UNFIT)
def test_where_forking_is_unsafe_workers_are_fresh_and_one_warning_says_so(
    pool: LocalPool, job_of: MakeJob, modules: Path, why: str
) -> None:
    (modules / "unfit.py").write_text(UNFIT[why])
    said: list[Message] = []
    jobs = [job_of(str(i), "import sys; print('unfit' in sys.modules)", preload=("unfit",)) for i in range(3)]
    results = list(pool.run(jobs, on_message=lambda _, message: said.append(message)))
    assert [(result.reason, result.stderr_tail) for result in results] == [("succeeded", "False")] * 3
    (warning,) = said
    assert isinstance(warning, Log) and warning.level == "WARNING"
    assert "import unfit themselves" in warning.text and why in warning.text


def test_a_process_that_has_started_cuda_is_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "thread_names", lambda: ["python"])
    assert template.what_forbids_forking() is None
    monkeypatch.setattr(template, "open_files", lambda: ["/dev/null", "/dev/nvidia-uvm"])
    assert "CUDA" in str(template.what_forbids_forking())


# ---- ends in the wrong moment

SLOW = "import os, time; open(os.environ['MARK'], 'a').write('x'); time.sleep(60)"


@pytest.fixture
def slow_import(job_of: MakeJob, modules: Path, tmp_path: Path) -> WorkerJob:
    """A job whose template imports for a minute and has touched `mark` when it has begun."""
    (modules / "slow.py").write_text(SLOW)
    return job_of("slow", "", preload=("slow",), env={"MARK": str(tmp_path / "mark")}, timeout_s=1.0)


def test_a_run_can_be_stopped_while_a_template_imports(
    ledger: Ledger, pool: LocalPool, slow_import: WorkerJob, tmp_path: Path
) -> None:
    patient = replace(slow_import, timeout_s=None)  # on a busy machine a second is over before the import begins
    (result,) = pool.run([patient], should_stop=(tmp_path / "mark").exists)
    assert (result.reason, result.returncode) == ("cancelled", None)
    assert ledger.leases() == []
    assert children(os.getpid()) == set()


def test_imports_that_take_longer_than_a_job_may_are_given_up(
    pool: LocalPool, slow_import: WorkerJob, tmp_path: Path
) -> None:
    said: list[str] = []
    (result,) = pool.run([slow_import], on_message=lambda _, message: said.append(str(message)))
    assert result.is_success  # the code itself does not import the slow module
    assert len(said) == 1 and "importing alone takes more than the 1 s" in said[0]
    assert children(os.getpid()) == set()


IMPORTING = """
import sys
from pathlib import Path
from nsl_resources.dispatch import LocalPool, WorkerJob
from nsl_resources.gpu import HostBudget, HostProbe, Ledger
ledger = Ledger(HostProbe(HostBudget(1_000, 4)), Path(sys.argv[1]))
list(LocalPool(ledger).run([WorkerJob("a", (sys.executable, "-P", "-m", "run_code", ""), 100, preload=("slow",))]))
"""


def test_a_template_that_imports_ends_with_its_dispatcher(
    ledger: Ledger, slow_import: WorkerJob, modules: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "PYTHONPATH": str(modules), "MARK": str(tmp_path / "mark")}
    dispatcher = subprocess.Popen([sys.executable, "-c", IMPORTING, str(ledger.path)], env=env)
    wait_until((tmp_path / "mark").exists)
    (importing,) = children(dispatcher.pid)
    dispatcher.kill()
    dispatcher.wait()
    wait_until(lambda: processes.find(importing) is None)
    assert ledger.leases() == []


def test_a_killed_template_takes_its_workers_along_and_the_rest_are_fresh(
    pool: LocalPool, job_of: MakeJob, tmp_path: Path
) -> None:
    pids, said = tmp_path / "pids", []
    endless = f"import os, time; print(os.getpid(), file=open({str(pids)!r}, 'w'), flush=True); time.sleep(60)"
    waits = f"import os, time\nwhile not os.path.exists({str(pids)!r}): time.sleep(0.02)"
    jobs = [job_of("endless", endless, 2_000), job_of("first", waits, 2_000), job_of("last", "", 1_900)]
    jobs = [replace(job, preload=("json",)) for job in jobs]
    results = pool.run(jobs, on_message=lambda *message: said.append(message))
    assert next(results).label == "first"
    (supervisor,) = {process.parent for process in [processes.find(int(pids.read_text()))] if process}
    found = processes.find(supervisor)
    assert found is not None
    os.kill(found.parent, signal.SIGKILL)
    rest = by_label(results)
    assert rest["endless"].reason == "killed by signal SIGKILL"
    assert processes.find(int(pids.read_text())) is None
    assert rest["last"].is_success


def test_an_interrupt_in_the_middle_of_a_fork_leaves_nothing_behind(
    job_of: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template's answer is still to be read then; what runs already gets its grace."""
    # A small budget: it holds two of the jobs also where other programs leave little memory.
    ledger = Ledger(HostProbe(HostBudget(400, 4)), tmp_path / "ledger.sqlite")
    pool = LocalPool(ledger, grace_s=60)  # on a busy machine a worker may need seconds to be interrupted
    pids = tmp_path / "pids"
    code = f"""
import os, time
try:
    print(os.getpid(), file=open({str(pids)!r}, "a"), flush=True)  # from now on it may be interrupted
    time.sleep(60)
except KeyboardInterrupt:
    raise SystemExit(7)
"""
    seen: list[WorkerResult] = []
    waits = f"import os, time\nwhile not os.path.exists({str(pids)!r}): time.sleep(0.02)"
    jobs = [job_of("first", code, 200), job_of("fast", waits, 200), job_of("second", code, 190)]
    jobs = [replace(job, preload=("json",)) for job in jobs]
    receive, fork = Template._receive, Template._fork

    def interrupted(_: Template) -> dict[str, object]:
        monkeypatch.setattr(Template, "_receive", receive)
        raise KeyboardInterrupt

    def fork_but_interrupt_the_second(template: Template, start: Start) -> Supervisor:
        if start.job.label == "second":
            monkeypatch.setattr(Template, "_receive", interrupted)
        return fork(template, start)

    monkeypatch.setattr(Template, "_fork", fork_but_interrupt_the_second)
    with pytest.raises(KeyboardInterrupt):
        list(pool.run(jobs, on_result=seen.append))
    # The lease of "fast" ends with its processes, so "second" may be forked before the result of "fast" is taken in.
    ends = {result.label: (result.reason, result.returncode) for result in seen}
    assert ends == {"fast": ("succeeded", 0), "first": ("cancelled", 7)}
    wait_until(lambda: all(processes.find(int(pid)) is None for pid in pids.read_text().split()))
    assert children(os.getpid()) == set()
    assert ledger.leases() == []


# ---- the real stacks

BLAS = """
import os, numpy, threadpoolctl
assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
matrix = numpy.random.default_rng(0).normal(size=(400, 400))
assert numpy.allclose(matrix @ numpy.linalg.inv(matrix), numpy.eye(400))
print([pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"])
"""


def test_the_threads_of_blas_end_for_a_fork_and_start_again(pool: LocalPool, job_of: MakeJob) -> None:
    """OpenBLAS starts its threads when it is loaded; a rehearsed fork ends them."""
    (result,) = pool.run([job_of("a", BLAS, cores=2, preload=("numpy", "threadpoolctl"))])
    assert (result.reason, result.stderr_tail) == ("succeeded", "[2]")


STACK = """
import os, sys, numpy, torch
assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")
assert {"scvi", "transformers", "nsl_assets.worker"} <= set(sys.modules)
assert torch.get_num_threads() == 2
matrix = torch.randn(700, 700, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
assert torch.allclose(torch.linalg.solve(matrix, matrix), torch.eye(700, dtype=torch.float64))
assert len(os.listdir("/proc/self/task")) >= 2  # OpenMP has started its own
weights = torch.zeros(3, requires_grad=True)
((weights - 1) ** 2).sum().backward()  # on a thread of autograd's
assert weights.grad.tolist() == [-2.0] * 3

import numba

@numba.njit(parallel=True)
def squares(n):
    total = 0
    for i in numba.prange(n):
        total += i * i
    return total

assert squares(1000) == sum(i * i for i in range(1000))

import anndata, scvi, transformers
scvi.settings.progress_bar_style = "tqdm"
counts = numpy.random.default_rng(0).poisson(2.0, (64, 20)).astype(numpy.float32)
cells = anndata.AnnData(counts)
scvi.model.SCVI.setup_anndata(cells)
model = scvi.model.SCVI(cells, n_latent=4)
model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, logger=False)
assert model.get_latent_representation().shape == (64, 4)
config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
states = transformers.BertModel(config)(torch.ones(1, 5, dtype=torch.long)).last_hidden_state
assert states.shape == (1, 5, 16)
print("all of it works")
"""


@pytest.mark.slow
def test_forked_workers_can_use_torch_numba_scvi_and_transformers(pool: LocalPool, job_of: MakeJob) -> None:
    said: list[Message] = []
    preload = ("nsl_assets.worker", "torch", "scvi", "transformers")
    jobs = [job_of(str(i), STACK, 1_500, cores=2, preload=preload) for i in range(2)]
    results = list(pool.run(jobs, on_message=lambda _, message: said.append(message)))
    assert said == []
    assert [result.stderr_tail.splitlines()[-1] for result in results] == ["all of it works"] * 2
    assert [result.reason for result in results] == ["succeeded"] * 2
