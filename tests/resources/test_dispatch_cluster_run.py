"""The loop that Ray and Slurm have in common, over an engine that ends jobs as their labels say."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest

from nsl_resources.dispatch import Log, Message, WorkerJob, WorkerResult
from nsl_resources.dispatch.callbacks import Callbacks
from nsl_resources.dispatch.cluster_run import ClusterRun, End, Lost
from nsl_resources.gpu import AdmissionError


def job(label: str, memory_mib: int = 100) -> WorkerJob:
    return WorkerJob(label, ["true"], memory_mib)


def ended(label: str, reason: str = "succeeded") -> WorkerResult:
    return WorkerResult(label, 0, reason, 1.0, 1.0, 1.0, "")


class BySaying:
    """Nodes of 1,000 MiB. "lost" is always lost, "endless" never ends, what is too small runs out of memory."""

    def __init__(self, window: int = 100) -> None:
        self.window, self.running = window, list[WorkerJob]()
        self.calls: list[str] = []
        self.started: list[tuple[str, int]] = []
        self.error_of_stop: BaseException | None = None

    def open(self) -> None:
        self.calls.append("open")

    def check(self, job: WorkerJob) -> None:
        if job.memory_mib > 1_000:
            raise AdmissionError(f"{job.label} needs {job.memory_mib} MiB")

    @property
    def n_free(self) -> int:
        return self.window - len(self.running)

    def submit(self, jobs: Sequence[WorkerJob]) -> None:
        self.running += jobs
        self.started += [(job.label, job.memory_mib) for job in jobs]
        assert len(self.running) <= self.window

    def listen(self) -> Iterator[End]:
        for job in list(self.running):
            if job.label != "endless":
                self.running.remove(job)
                yield self._end(job)

    def _end(self, job: WorkerJob) -> End:
        if job.label == "lost":
            return Lost("lost", "its node burnt")
        return ended(job.label, "out of memory" if job.label == "large" and job.memory_mib < 400 else "succeeded")

    def stop(self) -> Iterator[End]:
        self.calls.append("stop")
        if self.error_of_stop is not None:
            raise self.error_of_stop
        while self.running:
            yield Lost(self.running.pop().label, "it was stopped")

    def kill(self) -> None:
        self.calls.append("kill")

    def close(self) -> None:
        self.calls.append("close")


def test_what_is_lost_is_started_three_times_and_said() -> None:
    engine, said = BySaying(), list[Message]()
    callbacks = Callbacks(on_message=lambda _, message: said.append(message))
    results = list(ClusterRun([job("lost"), job("good")], engine, callbacks).results())
    assert [(result.label, result.reason) for result in results] == [("good", "succeeded"), ("lost", "lost")]
    assert "lost 3 times, the last time: its node burnt" in results[1].stderr_tail
    assert said == [Log("WARNING", "lost, started again: its node burnt")] * 2
    assert engine.calls == ["open", "close"]


def test_who_ran_out_of_memory_is_started_again_at_once_and_refused_where_no_node_holds_it() -> None:
    engine, larger_mib = BySaying(window=2), {100: 200, 200: 400, 400: 5_000}
    memory_mib = 100

    def repeat(result: WorkerResult) -> WorkerJob | None:
        nonlocal memory_mib
        if result.label != "large" or memory_mib == 5_000:
            return None
        memory_mib = larger_mib[memory_mib]
        return job("large", memory_mib)

    jobs = [job("endless"), job("large")]
    seen: list[str] = []
    with closing(ClusterRun(jobs, engine, Callbacks(repeat=repeat)).results()) as results:
        for result in results:
            seen.append(result.reason)
            if result.reason == "refused":
                assert result.stderr_tail == "large needs 5000 MiB"
                break
    assert seen == ["out of memory", "out of memory", "succeeded", "refused"]
    assert engine.started == [("endless", 100), ("large", 100), ("large", 200), ("large", 400)]


def test_what_a_cluster_was_not_given_yet_takes_over_new_needs_or_is_refused() -> None:
    engine = BySaying(window=1)
    needs = {"c": 5_000, "d": 300}

    def renew(waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        return [job(one.label, needs[one.label]) for one in waiting if one.label in needs]

    results = ClusterRun([job("a"), job("b"), job("c"), job("d")], engine, Callbacks(renew=renew)).results()
    assert {result.label: result.reason for result in results} == {
        "a": "succeeded", "b": "succeeded", "c": "refused", "d": "succeeded",
    }  # fmt: skip
    assert engine.started == [("a", 100), ("b", 100), ("d", 300)]


def test_a_cluster_is_given_who_waits_for_a_job_after_that_even_if_it_was_lost() -> None:
    engine = BySaying()
    later = replace(job("later"), after="lost")
    results = list(ClusterRun([later, job("lost")], engine, Callbacks()).results())
    assert [(result.label, result.reason) for result in results] == [("lost", "lost"), ("later", "succeeded")]
    stopped = ClusterRun([later, job("lost")], BySaying(), Callbacks(should_stop=lambda: True)).results()
    assert sorted(result.label for result in stopped if result.reason == "cancelled") == ["later", "lost"]


def test_an_engine_gets_no_more_than_it_takes_and_what_waits_is_cancelled_with_the_rest() -> None:
    engine, jobs = BySaying(window=1), [job("endless"), job("a"), job("b")]
    callbacks = Callbacks(should_stop=lambda: True, repeat=lambda result: pytest.fail(result.label))
    results = ClusterRun(jobs, engine, callbacks).results()
    assert {result.label: result.reason for result in results} == dict.fromkeys(("endless", "a", "b"), "cancelled")
    assert engine.started == [("endless", 100)]
    assert engine.calls == ["open", "stop", "close"]


def test_an_interrupted_stop_kills() -> None:
    engine = BySaying()
    engine.error_of_stop = KeyboardInterrupt()
    results = ClusterRun([job("good"), job("endless")], engine, Callbacks()).results()
    assert next(results).label == "good"
    with pytest.raises(KeyboardInterrupt):
        results.close()
    assert engine.calls == ["open", "stop", "kill", "close"]
