"""Training on several devices from within one worker: torchrun as a child process, see docs/decisions."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nsl_assets.errors import MeasurementError
from nsl_assets.models.geneformer.orders import Order, read_error, read_result, write_order

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.checkpoint import Parameters
    from nsl_assets.models.geneformer.training import History
    from nsl_assets.models.protocol import Runtime

_RANK_MODULE: Final = "nsl_assets.models.geneformer.distributed"
_GRACE_S: Final = 10
_SHOWN_LINES: Final = 5


def train_on_several(order: Order) -> tuple[Parameters, History]:
    """Train by `runtime.n_devices` ranks; returns the best weights and what happened.

    Raises the error of a rank, or MeasurementError where one was killed or failed otherwise.
    """
    with tempfile.TemporaryDirectory(dir=order.runtime.scratch) as name:
        folder = Path(name)
        write_order(order, folder)
        return_code = _run(folder, order.runtime)
        if return_code != 0:
            raise read_error(folder) or _failure(folder / "stderr.txt", return_code, order.runtime.n_devices)
        return read_result(folder, order.runtime)


def _run(folder: Path, runtime: Runtime) -> int:
    """Run torchrun to its end, and pass its lines of progress on."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={runtime.n_devices}"]
    with (
        (folder / "stderr.txt").open("wb") as errors,
        subprocess.Popen(
            [*command, "-m", _RANK_MODULE, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **_environment(runtime)},
        ) as child,
    ):
        try:
            for line in child.stdout or ():
                runtime.say(line.rstrip())
            return child.wait()
        finally:
            _end(child)


def _environment(runtime: Runtime) -> dict[str, str]:
    """DeepSpeed takes the device that was granted, and looks for no compiler."""
    return {
        "OMP_NUM_THREADS": str(runtime.n_threads),
        "DS_ACCELERATOR": runtime.device,
        "DS_SKIP_CUDA_CHECK": "1",
        "DS_BUILD_OPS": "0",
    }


def _end(child: subprocess.Popen[str]) -> None:
    """Make sure that torchrun has ended, and with it its ranks."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _failure(errors: Path, return_code: int, n_ranks: int) -> MeasurementError:
    """What a rank left on standard error when it could say no more."""
    lines = [line.strip() for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    signals = [line for line in lines if "Signal" in line]
    said = [line for line in lines if "Error" in line and "ChildFailedError" not in line]
    shown = "\n".join((signals or said or lines)[-_SHOWN_LINES:])
    return MeasurementError(
        f"training on {n_ranks} devices ended with exit code {return_code} before it was done; a rank that is killed"
        f" (SIGKILL) often lacks memory. Train with fewer n_devices, or lower batch_size. It said:\n{shown}"
    )
