"""The files by which a dispatcher and the tasks of a batch system talk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsl_resources.dispatch import NodeBudget, WorkerJob, WorkerResult
from nsl_resources.dispatch.exchange import Exchange, Order, Silence, read_result, write_result


def test_an_order_arrives_as_it_was_given_but_for_what_is_preloaded(tmp_path: Path) -> None:
    job = WorkerJob(
        "a",
        (sys.executable, "-P", "-m", "json.tool"),
        100,
        cores=2,
        payload={"levels": [1.0, 0.1]},
        env={"COLOUR": "blue"},
        cwd=tmp_path,
        timeout_s=2.5,
        log_path=tmp_path / "a.log",
        preload=("json",),
        n_gpus=1,
        gpu_memory_mib=7,
    )
    Order(job, NodeBudget(500, None, use_gpus=False), 60.0).write(tmp_path)
    read = Order.read(tmp_path)
    assert (read.budget, read.silence_s) == (NodeBudget(500, None, use_gpus=False), 60.0)
    assert read.job.preload == ()
    assert list(read.job.argv) == list(job.argv)
    assert {**vars(read.job), "argv": 0, "preload": 0} == {**vars(job), "argv": 0, "preload": 0}


def test_a_result_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    result = WorkerResult("a", -9, "out of memory", 1.5, 2.5, 100.25, "the end\nof it", "node7")
    assert read_result(tmp_path) is None
    (tmp_path / ".result.json.tmp").write_text('{"label"')
    assert read_result(tmp_path) is None
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result


class Clock:
    """A clock that tests set."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


def test_a_task_gives_up_only_after_a_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("nsl_resources.dispatch.exchange.time", clock)
    run = Exchange.create(tmp_path, "slurm", silence_s=100)
    silence = Silence(run.folder, 100)
    assert not silence.is_too_long()
    clock.now_s = 90
    run.beat()
    assert not silence.is_too_long()
    clock.now_s = 185
    assert not silence.is_too_long()
    clock.now_s = 191
    assert silence.is_too_long()
    run.remove()
    clock.now_s = 300
    assert silence.is_too_long()


def test_runs_of_the_dead_are_left_behind_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    mine = Exchange.create(tmp_path, "slurm", silence_s=100)
    of_the_living = Exchange.create(tmp_path, "slurm", silence_s=100)
    code = "import sys; from pathlib import Path; from nsl_resources.dispatch.exchange import Exchange\n"
    code += "print(Exchange.create(Path(sys.argv[1]), 'slurm', 100).name)"
    dead = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert [other.name for other in mine.left_behind()] == [dead.stdout.strip()]

    # Of another host only the heartbeat is seen.
    owner = json.loads(of_the_living.token.read_text())
    of_the_living.token.write_text(json.dumps({**owner, "host": "elsewhere"}))
    assert len(list(mine.left_behind())) == 1
    os.utime(of_the_living.folder / "heartbeat", (0, 0))
    assert len(list(mine.left_behind())) == 2
