"""`benchmarks/gpu_quickstart.py` with its real pool, ledger and processes, on a driver and a torch of this folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_quickstart.py"
NVML = """
import os
from pathlib import Path
from types import SimpleNamespace

MIB = 2**20
USES = Path(os.environ["STAND_IN"])
NVML_DEVICE_MIG_ENABLE, nvmlMemory_v2 = 1, 2
class NVMLError(Exception): pass
for name in "LibraryNotFound DriverNotLoaded NotSupported NotFound FunctionNotFound NoPermission".split():
    globals()[f"NVMLError_{name}"] = type(name, (NVMLError,), {})
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(gpu): return "GPU-stand-in"
def nvmlDeviceGetMigMode(gpu): raise NVMLError_NotSupported
def uses():
    found = ((int(path.name), int(path.read_text() or 0)) for path in USES.glob("[0-9]*"))
    return {pid: mib for pid, mib in found if Path(f"/proc/{pid}").exists()}
def nvmlDeviceGetMemoryInfo(gpu, version=1):
    used = sum(uses().values())
    return SimpleNamespace(used=used * MIB, free=(24_000 - used) * MIB)
def nvmlDeviceGetComputeRunningProcesses(gpu):
    return [SimpleNamespace(pid=pid, usedGpuMemory=mib * MIB) for pid, mib in uses().items()]
"""
TORCH = """
import os
import time
from pathlib import Path
from types import SimpleNamespace

path = Path(os.environ["STAND_IN"]) / str(os.getpid())
held = [int(os.environ["CONTEXT_MIB"])]
class Tensor:
    def add_(self, number): time.sleep(0.02)
def zeros(shape, device):
    held.append(shape[0])
    path.write_text(str(sum(held)))
    return Tensor()
cuda = SimpleNamespace(synchronize=lambda: None, max_memory_reserved=lambda: sum(held) * 2**20)
"""


def quickstart(folder: Path, context_mib: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("pynvml.py", NVML), ("torch.py", TORCH)):
        (folder / name).write_text(text)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(SCRIPT.parents[1])]),
        "STAND_IN": str(folder),
        "CONTEXT_MIB": str(context_mib),
    }
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, str(SCRIPT), "--host-mib", "100", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_workers_that_share_a_gpu_are_shown_beside_their_reservations(tmp_path: Path) -> None:
    ended = quickstart(tmp_path, 500, "--workers", "6", "--at-once", "4", "--seconds", "4")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "verdict: not over-committed; 6 of 6 workers ended well, 4 at most on one GPU at once" in ended.stdout
    assert "reserved 23,400 of 23,400 by 4" in ended.stdout


@pytest.mark.slow
def test_a_worker_that_uses_more_than_it_reserved_is_found(tmp_path: Path) -> None:
    ended = quickstart(tmp_path, 1_100, "--workers", "4", "--at-once", "4", "--seconds", "4")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "verdict: OVER-COMMITTED" in ended.stdout
    assert "reserved\n" in ended.stdout


def test_what_is_not_installed_is_named() -> None:
    bare = [sys.executable, "-I", "-S", str(SCRIPT)]
    ended = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "not installed: torch, psutil, pynvml" in ended.stdout
