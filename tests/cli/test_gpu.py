"""`nsl gpu`: devices, leases, queue and predictions, on a node with simulated GPUs and on one without."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import pytest

from nsl_assets.cli import gpu as command
from nsl_assets.cli import main
from nsl_resources.gpu import Device, HostBudget, HostProbe, Ledger, Need, Peak, PeakRecords, WorkerKind

Nsl = Callable[..., tuple[int, str, str]]


class TwoGpus:
    """A host of 10,000 MiB, of which we use 150, and two GPUs of 8,000, of which others use 1,000."""

    def devices(self) -> tuple[Device, ...]:
        gpus = (Device("gpu", f"GPU-{i}", 8_500, 500, 8_000, 0) for i in range(2))
        return (Device("host", "host", 11_000, 1_000, 10_000, 4), *gpus)

    def used_mib(self, device: Device) -> int:
        return 1_000 if device.kind == "gpu" else 150

    def used_by_mib(self, device: Device, pids: Collection[int]) -> Mapping[int, int]:  # noqa: ARG002
        """This process, which holds every lease here."""
        return {os.getpid(): 0 if device.kind == "gpu" else 150}


@pytest.fixture
def nsl(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs the command line in a project without studies, with a ledger of its own."""
    (tmp_path / "dagster_project.toml").write_text("")
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "ledger"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def with_gpus(nsl: Nsl, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(command, "node_probe", lambda *_arguments: TwoGpus())
    return Ledger(TwoGpus())


def test_devices_leases_and_queue_are_shown_with_their_numbers(nsl: Nsl, with_gpus: Ledger) -> None:
    line = with_gpus.line()
    with with_gpus.acquire(Need(2_000, 1, 1, 6_500), "scvi of cells"):
        for label, n_gpus, gpu_mib in (("small", 1, 7_100), ("large", 2, 7_500)):
            line.ask(label, Need(9_000, 2, n_gpus, gpu_mib), label)
        assert line.poll() == {}
        code, out, _ = nsl("gpu", "--json")
        state = json.loads(out)
        assert code == 0
        host, first, second = state["devices"]
        assert (host["total_mib"], host["budget_mib"], host["leased_mib"], host["free_cores"]) == (
            11_000,
            10_000,
            2_000,
            3,
        )
        assert [gpu["foreign_mib"] for gpu in (first, second)] == [1_000, 1_000]
        assert sorted(gpu["leased_mib"] for gpu in (first, second)) == [0, 6_500]
        assert sorted(gpu["free_mib"] for gpu in (first, second)) == [500, 7_000]
        (lease,) = state["leases"]
        assert (lease["label"], lease["pid"], lease["gpu_memory_mib"]) == ("scvi of cells", os.getpid(), 6_500)
        assert 0 <= lease["age_s"] < 60
        assert (lease["used_mib"], lease["gpu_used_mib"]) == (150, 0)
        assert [(waiting["rank"], waiting["label"]) for waiting in state["queue"]] == [(1, "large"), (2, "small")]
        large, small = (waiting["lacks"] for waiting in state["queue"])
        assert large == ["1,000 MiB of the host", "2 GPUs with 7,500 MiB free (most: 7,000)"]
        assert small == ["1,000 MiB of the host", "1 GPU with 7,100 MiB free (most: 7,000)"]
        _, text, _ = nsl("gpu")
        assert "scvi of cells" in text and "2 GPUs with 7,500 MiB free" in text and "GPU-1" in text
        assert [lease.label for lease in with_gpus.leases()] == ["scvi of cells"]  # looking takes nothing
    line.close()


def test_without_a_gpu_the_host_is_shown(nsl: Nsl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "node_probe", lambda *_arguments: HostProbe(HostBudget(500, 1)))
    code, out, _ = nsl("gpu")
    assert code == 0
    assert "No GPU is visible" in out and "host" in out
    assert "none: no worker runs" in out and "empty: a run puts workers in line" in out
    with Ledger(HostProbe(HostBudget(500, 1))).acquire(Need(300), "pca of cells"):
        _, out, _ = nsl("gpu")
    (row,) = (line for line in out.splitlines() if line.startswith("pca of cells"))
    assert "300" in row
    assert "GPU" not in next(line for line in out.splitlines() if line.startswith("worker"))
    _, out, _ = nsl("gpu", "--json")
    (host,) = json.loads(out)["devices"]
    assert (host["kind"], host["budget_mib"], host["cores"]) == ("host", 500, 1)


def test_predictions_are_shown_beside_their_formulas(nsl: Nsl, with_gpus: Ledger, storage: Path) -> None:
    kind = WorkerKind("scvi", "{}", n_genes=2_000, batch_size=512, device="gpu")
    PeakRecords(storage).note(kind, 500, Peak(1_000, 1_400), Peak(3_000, 2_500))
    _, out, _ = nsl("gpu", "--json")
    (prediction,) = json.loads(out)["predictions"]
    assert (prediction["model"], prediction["n_genes"], prediction["batch_size"]) == ("scvi", 2_000, 512)
    assert (prediction["n_cells"], prediction["predicted_mib"], prediction["gpu_predicted_mib"]) == (500, 1_400, 2_500)
    _, text, _ = nsl("gpu")
    assert "predictions" in text and "2500" in text.replace(",", "")


# Ctrl-C as in a terminal, also where the tests themselves were started by a shell that ignores it.
WATCH = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from nsl_assets.cli import main; sys.argv = ['nsl', 'gpu', '--watch']; sys.exit(main())"
)


def test_watching_repeats_blocks_in_a_pipe_until_ctrl_c(nsl: Nsl, tmp_path: Path) -> None:
    """Whole blocks and no control characters; Ctrl-C is no error."""
    watching = subprocess.Popen(
        [sys.executable, "-c", WATCH],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    lines: list[str] = []
    while sum(line.startswith("devices") for line in lines) < 2:
        lines.append(watching.stdout.readline())
        assert lines[-1], "it ended by itself"
    watching.send_signal(signal.SIGINT)
    rest, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert "\x1b" not in "".join(lines) + rest
    assert sum(line.startswith("-" * 40) for line in lines) == 1
