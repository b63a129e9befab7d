"""What stands in the tables after settings went back and forth, and after a worker was killed behind its work."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nsl_assets.cli.status import show_status
from nsl_assets.grid import Measuring
from nsl_assets.study import load_project
from nsl_resources.dispatch import WorkerJob, WorkerResult
from nsl_resources.results import Results

from .small_studies import InThisProcess, platform, run, write

Renew = Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]]
NUMBERS = "select * exclude (landed_file, recorded_at) from measurement order by all"


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    return tmp_path / "dagster_project.toml"


def test_a_study_that_returns_to_earlier_settings_has_its_rows_back(project: Path, storage: Path) -> None:
    results = Results(storage)
    write(project, "one", seed=0)
    run("one", project, storage)
    first = results.query(NUMBERS)
    n_landed = len(list((storage / "results" / "landed" / "measurement").iterdir()))
    run("one", project, storage)
    assert len(list((storage / "results" / "landed" / "measurement").iterdir())) == n_landed, "nothing new: none lands"
    write(project, "one", seed=1)
    run("one", project, storage)
    assert results.query(NUMBERS) != first
    write(project, "one", seed=0)
    run("one", project, storage)
    assert results.query(NUMBERS) == first


class KilledBehindTheirWork(InThisProcess):
    """Every worker stores its measurement and is killed before it can say so; the next one fails by itself."""

    def run(self, jobs: list[WorkerJob], **_) -> Iterator[WorkerResult]:
        first, second = jobs
        (result,) = super().run([first])
        yield WorkerResult(result.label, -9, "killed by signal SIGKILL", 1.0, 1.0, 1.0, "")
        yield WorkerResult(second.label, 1, "exit 1", 1.0, 1.0, 1.0, "no convergence")


def test_status_shows_what_failed_why_and_how_often_it_was_tried(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one")
    run("one", project, storage, n_cells=0)
    study, where = load_project().study("one"), platform(project, storage)
    killing = type(where)(where.artifacts, where.results, KilledBehindTheirWork(project.parent), where.machine)
    cells = list(study.cells())
    for first in (0, 1):
        attempts = Measuring("one", study, killing).run([cells[first], cells[-1]])
        assert [one.status for one in attempts] == ["failed", "failed"]
    show_status("one", as_json=False)
    shown = capsys.readouterr().out
    assert "(tried 2 times): exit 1: no convergence (attempt 2)" in shown
    assert "(tried 1 time): killed by signal SIGKILL" in shown
    run("one", project, storage)
    show_status("one", as_json=False)
    assert "tried" not in capsys.readouterr().out
    counts = Results(storage).query("select status, count(*) as n from run group by all order by all")
    assert counts == [
        {"status": "failed", "n": 4},
        {"status": "reused", "n": 2},
        {"status": "succeeded", "n": 6},
    ]


class AskingWhatIsNew(InThisProcess):
    """After each worker it asks what those that wait need now."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(scratch)
        self.needs_mib: dict[str, list[int]] = {}

    def run(self, jobs: list[WorkerJob], renew: Renew, **_) -> Iterator[WorkerResult]:
        waiting = {job.label: job for job in jobs}
        while waiting:
            label = next(iter(waiting))
            self.needs_mib.setdefault(label, []).append(waiting[label].memory_mib)
            yield from super().run([waiting.pop(label)])
            for job in renew(list(waiting.values())):
                waiting[job.label] = job


def test_what_a_worker_used_is_what_others_of_its_size_ask_for_in_the_same_run(project: Path, storage: Path) -> None:
    write(project, "one")
    run("one", project, storage, n_cells=0)
    study, where = load_project().study("one"), platform(project, storage)
    asking = AskingWhatIsNew(project.parent)
    cells = [cell for cell in study.cells() if cell.n_cells == min(study.sizes)]
    outcomes = list(Measuring("one", study, replace(where, dispatcher=asking)).run(cells))
    assert len(outcomes) > 1
    first, *others = asking.needs_mib.values()
    assert first[0] > 100
    assert others == [[100]] * len(others)
