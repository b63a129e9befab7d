"""What workers say and how their ends are told: the Pipes protocol without Dagster, and the reasons in results."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nsl_resources.dispatch import (
    OUT_OF_MEMORY_EXIT_CODE,
    Failure,
    LocalPool,
    Log,
    Message,
    Report,
    WorkerJob,
)
from nsl_resources.dispatch.messages import MessageFile, as_line, parse
from nsl_resources.dispatch.outcome import Ending, count_kernel_kills, reason
from nsl_resources.gpu import HostBudget, HostProbe, Ledger

MakeJob = Callable[..., WorkerJob]
PIPES_WORKER = """
import sys
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as context:
    context.log.info(f"training on {context.extras['n_cells']} cells")
    context.report_custom_message({"mi_bits": 1.25, "model": context.extras["model"]})
    if context.extras.get("fails"):
        raise ValueError("the loss became NaN")
    if context.extras.get("is_too_large"):
        raise MemoryError("no room for the Gram matrix")
"""


@pytest.fixture
def pool(tmp_path: Path) -> LocalPool:
    return LocalPool(Ledger(HostProbe(HostBudget(1_000, 2)), tmp_path / "ledger.sqlite"))


def test_a_worker_of_dagster_pipes_reads_its_payload_and_is_heard(pool: LocalPool, python_job: MakeJob) -> None:
    said: list[tuple[str, Message]] = []
    payload = {"n_cells": 500, "model": "pca"}
    job = python_job("seed 0", PIPES_WORKER, payload=payload)
    (result,) = pool.run([job], on_message=lambda label, message: said.append((label, message)))
    assert result.reason == "succeeded", result.stderr_tail
    assert said == [
        ("seed 0", Log("INFO", "training on 500 cells")),
        ("seed 0", Report({"mi_bits": 1.25, "model": "pca"})),
    ]


def test_the_exception_of_a_worker_reaches_the_caller(pool: LocalPool, python_job: MakeJob) -> None:
    said: list[Message] = []
    payload = {"n_cells": 1, "model": "pca"}
    jobs = [
        python_job("bad", PIPES_WORKER, payload={**payload, "fails": True}),
        python_job("big", PIPES_WORKER, payload={**payload, "is_too_large": True}),
    ]
    results = {r.label: r for r in pool.run(jobs, on_message=lambda _, message: said.append(message))}
    failures = {message.error: message for message in said if isinstance(message, Failure)}
    assert failures["ValueError"].text == "ValueError: the loss became NaN"
    assert "<string>" in failures["ValueError"].traceback
    assert results["bad"].reason == "exit 1"
    assert "the loss became NaN" in results["bad"].stderr_tail
    assert results["big"].reason == "out of memory"


def message(method: str, **parameters: object) -> bytes:
    content = {"__dagster_pipes_version": "0.1", "method": method, "params": parameters}
    return json.dumps(content).encode() + b"\n"


def test_a_line_still_being_written_waits_for_its_end(tmp_path: Path) -> None:
    file = MessageFile(tmp_path)
    path = tmp_path / "messages.jsonl"
    line = message("log", level="INFO", message="naïve Ü")
    path.write_bytes(message("opened", extras={}) + line[:-20])
    assert list(file.read()) == []
    path.write_bytes(message("opened", extras={}) + line + line)
    assert list(file.read()) == [Log("INFO", "naïve Ü")] * 2
    assert list(file.read()) == []


@pytest.mark.parametrize("line", [b"Epoch 1/10\n", b"[1]\n", b'{"method": "log"}\n', b"\xff\xfe\n"])
def test_what_is_no_message_is_shown_and_does_no_harm(tmp_path: Path, line: bytes) -> None:
    file = MessageFile(tmp_path)
    (tmp_path / "messages.jsonl").write_bytes(line + message("report_custom_message", payload=[1]))
    remark, report = file.read()
    assert isinstance(remark, Log) and remark.level == "WARNING"
    assert report == Report([1])


def test_messages_without_meaning_here_are_named(tmp_path: Path) -> None:
    file = MessageFile(tmp_path)
    (tmp_path / "messages.jsonl").write_bytes(message("report_asset_materialization", metadata={}))
    (remark,) = file.read()
    assert isinstance(remark, Log) and "report_asset_materialization" in remark.text


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Ending(0), "succeeded"),
        (Ending(3), "exit 3"),
        (Ending(-signal.SIGSEGV), "killed by signal SIGSEGV"),
        (Ending(-signal.SIGKILL), "killed by signal SIGKILL"),
        (Ending(OUT_OF_MEMORY_EXIT_CODE), "out of memory"),
        (Ending(-signal.SIGKILL, n_kernel_kills=1), "out of memory"),
        (Ending(-signal.SIGTERM, n_kernel_kills=1), "killed by signal SIGTERM"),
        (Ending(-signal.SIGKILL, peak_memory_mib=990, memory_limit_mib=1_000), "out of memory"),
        (Ending(1, failure=Failure("OutOfMemoryError", "CUDA out of memory", "")), "out of memory"),
        (Ending(1, failure=Failure("_ArrayMemoryError", "Unable to allocate", "")), "out of memory"),
        (Ending(-signal.SIGINT, stopped_for="timeout"), "timeout"),
        (Ending(0, stopped_for="cancelled"), "cancelled"),
    ],
)
def test_reasons(ending: Ending, expected: str) -> None:
    assert reason(ending) == expected


def test_kernel_kills_are_counted_by_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 10\noom_kill 7\n")
    assert count_kernel_kills(tmp_path) == 7
    assert count_kernel_kills(tmp_path / "nowhere") == 0


def test_messages_arrive_while_the_worker_runs(pool: LocalPool, python_job: MakeJob) -> None:
    """The worker waits for an answer to its message: it ends well only if it was heard before its end."""
    worker = """
import time
from pathlib import Path
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as context:
    context.report_custom_message("ready")
    for _ in range(3_000):
        if Path(context.extras["answer"]).exists():
            break
        time.sleep(0.01)
    else:
        raise SystemExit(5)
"""
    answer = Path(pool._ledger.path.parent / "answer")
    job = python_job("asks", worker, payload={"answer": str(answer)})
    (result,) = pool.run([job], on_message=lambda *_: answer.touch())
    assert result.reason == "succeeded", result.stderr_tail


@pytest.mark.parametrize(
    "message",
    [
        Log("WARNING", "two\nlines, «quoted»"),
        Report({"step": "training", "loss": [1.5, None]}),
        Failure("ValueError", "ValueError: no convergence", "  File x, line 3\nValueError: no convergence"),
    ],
)
def test_a_message_that_is_passed_on_stays_what_it_was(message: Message) -> None:
    line = as_line(message)
    assert "\n" not in line
    assert parse(line.encode()) == message
