"""Jobs of the grid on a machine with simulated GPUs: predicted by records, refused with numbers, repeated with more."""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nsl_assets import jobs
from nsl_assets.errors import InputError
from nsl_assets.jobs import PROBING_MIB, CellJob, JobMaker, run_repeating
from nsl_assets.models import estimate_cost
from nsl_assets.study import GridCell, Machine, parse_project
from nsl_resources.dispatch import LocalPool, Message, Report, WorkerJob, WorkerResult
from nsl_resources.gpu import AdmissionError, Device, Ledger, Need

CELL = GridCell(task="cells", model="model", n_cells=500, level=0.1, seed=1)
ON_GPU = {"kind": "custom", "class_path": "x.py:X", "memory_mib": 1_000, "device_memory_mib": 3_000}


def maker(monkeypatch: pytest.MonkeyPatch, storage: Path, *gpus: Device) -> JobMaker:
    monkeypatch.setattr(jobs, "gpu_devices", lambda: gpus)
    monkeypatch.setattr(jobs, "torch_has_cuda", lambda: True)
    study = {
        "sizes": [500],
        "tasks": {"cells": {"kind": "simulated_cells"}},
        "models": {"model": ON_GPU},
        "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.5, 0.1]},
    }
    return JobMaker(parse_project({"studies": {"s": study}}).study("s"), Machine(), storage)


def gpu(memory_mib: int, name: str = "GPU-0") -> Device:
    return Device("gpu", name, memory_mib + 500, 500, memory_mib, 0)


def need_of(made: JobMaker, n_genes: int = 2_000) -> Need:
    return made.need("model", estimate_cost(made.study.models["model"], CELL.n_cells, n_genes), n_genes)


def ended(label: str, reason: str = "succeeded", peak_mib: float = 0.0) -> WorkerResult:
    return WorkerResult(label, 0, reason, 1.0, 1.0, peak_mib, "")


def test_a_worker_is_predicted_by_what_those_before_it_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = maker(monkeypatch, tmp_path, gpu(80_000))
    assert need_of(made) == Need(1_000 + PROBING_MIB, 1, 1, 3_000)
    made.remember(CELL, 2_000, ended("x", peak_mib=900.0), {"peak_device_memory_mib": 4_000.0})
    assert need_of(made) == Need(900, 1, 1, 4_000 + jobs.CUDA_CONTEXT_MIB)
    assert need_of(made, n_genes=3_000) == Need(1_000 + PROBING_MIB, 1, 1, 3_000)


def grid_job(made: JobMaker, n_cells: int, seed: int = 1) -> CellJob:
    cell = CELL.model_copy(update={"n_cells": n_cells, "seed": seed})
    need = made.need("model", estimate_cost(made.study.models["model"], n_cells, 2_000), 2_000)
    job = WorkerJob(cell.label, ["true"], need.memory_mib, n_gpus=need.n_gpus, gpu_memory_mib=need.gpu_memory_mib)
    return CellJob(job, cell, 2_000)


def test_what_waits_is_renewed_once_one_of_its_kind_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the memory of that, and a tenth more at another size: this formula says the same of all sizes."""
    made = maker(monkeypatch, tmp_path, gpu(80_000))
    waiting = [grid_job(made, 500), grid_job(made, 500, seed=2)]
    assert made.renewed(waiting) == []
    made.remember(CELL, 2_000, ended("x", peak_mib=900.0), {"peak_device_memory_mib": 4_000.0})
    renewed = made.renewed(waiting)
    assert [job.label for job in renewed] == [one.job.label for one in waiting]
    assert {job.need for job in renewed} == {Need(900, 1, 1, 4_000 + jobs.CUDA_CONTEXT_MIB)}


def test_of_a_kind_not_measured_on_gpus_the_smallest_go_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = maker(monkeypatch, tmp_path, gpu(80_000))
    todo = [grid_job(made, n_cells, seed) for n_cells in (9_000, 500) for seed in (1, 2)]
    pilot = todo[2].job.label
    assert [job.after for job in made.piloted(todo)] == [pilot, pilot, None, None]
    made.remember(CELL, 2_000, ended("x", peak_mib=900.0), {"peak_device_memory_mib": 4_000.0})
    assert [job.after for job in made.piloted(todo)] == [None] * 4


def test_without_gpus_nobody_waits_for_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = maker(monkeypatch, tmp_path)
    todo = [grid_job(made, n_cells) for n_cells in (9_000, 500)]
    assert [job.after for job in made.piloted(todo)] == [None, None]


# ---- refusals


@pytest.mark.parametrize("gpus", [(gpu(2_000), gpu(2_900, "GPU-1")), (gpu(2_999, "MIG-0"),)])
def test_more_than_any_gpu_has_is_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: tuple[Device, ...]
) -> None:
    """By the plan and at launch: both ask the maker of jobs for the need."""
    with pytest.raises(
        InputError, match=rf"'model' is expected to need 3,000 MiB on a GPU.*{gpus[-1].budget_mib:,} MiB"
    ):
        need_of(maker(monkeypatch, tmp_path, *gpus))


class NodeOf:
    """A host of 1,000 MiB, idle, with given GPUs."""

    def __init__(self, *gpus: Device) -> None:
        self._devices = (Device("host", "host", 1_000, 0, 1_000, 2), *gpus)

    def devices(self) -> tuple[Device, ...]:
        return self._devices

    def used_mib(self, device: Device) -> int:  # noqa: ARG002
        return 0

    def used_by_mib(self, device: Device, pids: object) -> dict[int, int]:  # noqa: ARG002
        return {}


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (WorkerJob("a", ["true"], 1_001), "1,001 MiB"),
        (WorkerJob("a", ["true"], 10, n_gpus=1, gpu_memory_mib=8_001), "8,001 MiB on a GPU"),
        (WorkerJob("a", ["true"], 10, n_gpus=2, gpu_memory_mib=10), "each of 2 GPUs"),
    ],
)
def test_a_pool_refuses_what_no_device_can_hold_before_anything_starts(
    tmp_path: Path, job: WorkerJob, said: str
) -> None:
    marker = tmp_path / "started"
    first = WorkerJob("first", [sys.executable, "-c", f"open({str(marker)!r}, 'w')"], 10)
    pool = LocalPool(Ledger(NodeOf(gpu(8_000)), tmp_path / "ledger.sqlite"))
    with pytest.raises(AdmissionError, match=said) as refused:
        list(pool.run([first, job]))
    assert "GPU-0: 8,000 MiB" in str(refused.value) and "host: 1,000 MiB" in str(refused.value)
    assert not marker.exists()


# ---- repeats


class ByReservation:
    """Ends each job by its reservation: out of memory below what it takes, with the given error."""

    def __init__(
        self, takes_mib: dict[str, int], error: str = "Unable to allocate", peak_device_mib: float | None = None
    ) -> None:
        self.takes_mib = takes_mib
        self.said = Report({"out_of_memory": error, "peak_device_memory_mib": peak_device_mib})
        self.started: list[WorkerJob] = []

    def run(self, jobs, on_message=None, repeat=None, **_):  # type: ignore[no-untyped-def]
        waiting = deque(jobs)
        while waiting:
            job = waiting.popleft()
            self.started.append(job)
            result = self._end(job, on_message)
            again = repeat(result)
            waiting.extend([again] if again else [])
            yield result

    def _end(self, job: WorkerJob, on_message: Callable[[str, Message], None]) -> WorkerResult:
        has_mib = job.gpu_memory_mib if job.n_gpus else job.memory_mib
        if has_mib >= self.takes_mib[job.label]:
            return ended(job.label)
        on_message(job.label, self.said)
        return ended(job.label, "out of memory", peak_mib=has_mib)


DEVICES = (Device("host", "host", 1_200, 200, 1_000, 2), gpu(8_000))


def test_who_ran_out_of_host_memory_is_run_again_with_1_5_times_its_peak() -> None:
    pool = ByReservation({"small": 100, "large": 500})
    todo = {label: WorkerJob(label, ["true"], 300) for label in ("large", "small")}
    results = list(run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 5))
    assert [(result.label, result.reason, again and again.memory_mib) for result, again in results] == [
        ("large", "out of memory", 450),
        ("small", "succeeded", None),
        ("large", "out of memory", 675),
        ("large", "succeeded", None),
    ]
    assert [(job.label, job.memory_mib) for job in pool.started] == [
        ("large", 300),
        ("small", 300),
        ("large", 450),
        ("large", 675),
    ]
    assert todo["large"].memory_mib == 675


def test_who_ran_out_of_gpu_memory_gets_more_of_the_gpu_alone() -> None:
    pool = ByReservation(
        {"a": 6_000},
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB of which 1 GiB is free. "
        "Including non-PyTorch memory, this process has 4.00 GiB memory in use.",
    )
    todo = {"a": WorkerJob("a", ["true"], 300, n_gpus=1, gpu_memory_mib=1_000)}
    *_, (result, _) = run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 5)
    assert result.is_success
    assert [(job.memory_mib, job.gpu_memory_mib) for job in pool.started] == [(300, 1_000), (300, 6_144)]


def test_an_error_that_does_not_say_what_was_held_is_helped_by_the_count_of_the_worker() -> None:
    pool = ByReservation({"a": 6_000}, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", peak_device_mib=3_400.0)
    todo = {"a": WorkerJob("a", ["true"], 300, n_gpus=1, gpu_memory_mib=1_000)}
    *_, (result, _) = run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 5)
    assert result.is_success
    assert [job.gpu_memory_mib for job in pool.started] == [1_000, 1.5 * (3_400 + jobs.CUDA_CONTEXT_MIB)]


def test_who_has_had_all_there_is_fails() -> None:
    pool = ByReservation({"a": 5_000})
    todo = {"a": WorkerJob("a", ["true"], 900)}
    *_, (result, _) = run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 5)
    assert result.reason == "out of memory"
    assert [job.memory_mib for job in pool.started] == [900, 1_000]


def test_it_is_repeated_so_many_times_and_no_more() -> None:
    pool = ByReservation({"a": 5_000})
    todo = {"a": WorkerJob("a", ["true"], 100)}
    *_, (result, _) = run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 2)
    assert result.reason == "out of memory"
    assert len(pool.started) == 3


def test_who_ran_out_of_memory_is_not_renewed_and_who_is_renewed_is_repeated_with_more_than_that() -> None:
    """A prediction from those that ended well must not take back what the others turned out to need."""
    asked: list[list[str]] = []

    class RenewsOnce(ByReservation):
        def run(self, jobs, on_message=None, repeat=None, renew=None):  # type: ignore[no-untyped-def]
            a, b = jobs
            again = repeat(self._end(a, on_message))
            (b,) = renew([b, again])
            for job in (again, b):
                self.started.append(job)
                yield self._end(job, on_message)
            yield from super().run([repeat(self._end(b, on_message))], on_message, repeat)

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        asked.append([job.label for job in waiting])
        return [replace(job, memory_mib=400) for job in waiting]

    pool, todo = RenewsOnce({"a": 450, "b": 600}), {x: WorkerJob(x, ["true"], 300) for x in "ab"}
    list(run_repeating(pool, todo, DEVICES, lambda _label, _message: None, 5, renew=renew))
    assert asked == [["b"]]
    assert [(job.label, job.memory_mib) for job in pool.started] == [("a", 450), ("b", 400), ("b", 600)]


def test_a_prediction_beyond_the_host_asks_for_all_of_it(tmp_path: Path) -> None:
    """What could be admitted before is not refused because a prediction for it has grown."""
    node, asked_mib = NodeOf(), []

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        asked_mib.extend(job.memory_mib for job in waiting)
        return [replace(job, memory_mib=5_000) for job in waiting]

    todo = {label: WorkerJob(label, ["true"], 900) for label in "abc"}
    running = run_repeating(
        LocalPool(Ledger(node, tmp_path / "ledger.sqlite")), todo, node.devices(), lambda _label, _message: None, 5,
        renew=renew,
    )  # fmt: skip
    assert [result.reason for result, _ in running] == ["succeeded"] * 3
    assert (asked_mib, todo["c"].memory_mib) == ([900], 1_000)


def test_a_real_worker_is_repeated_while_others_run(tmp_path: Path) -> None:
    """It exits with the code of "out of memory" until it has been started three times; the other waits for that."""
    starts = tmp_path / "starts"
    line = f"echo x >> {starts}; [ $(wc -l < {starts}) -ge 3 ] || exit 42"
    waits = f"until [ -e {starts} ] && [ $(wc -l < {starts}) -ge 3 ]; do sleep 0.02; done"
    lines = {"a": line, "other": waits}
    todo = {label: WorkerJob(label, ["/bin/sh", "-c", text], 100, timeout_s=60) for label, text in lines.items()}
    pool = LocalPool(Ledger(NodeOf(), tmp_path / "ledger.sqlite"))
    results = [result for result, _ in run_repeating(pool, todo, NodeOf().devices(), lambda _label, _message: None, 5)]
    assert [result.reason for result in results if result.label == "a"] == ["out of memory"] * 2 + ["succeeded"]
    assert [result.reason for result in results if result.label == "other"] == ["succeeded"]
    assert todo["a"].memory_mib == 225
