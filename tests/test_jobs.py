"""A cell of the grid as a job: memory, device, what is preloaded, and how its failures are told."""

import math
from pathlib import Path

import pytest

from nsl_assets import jobs
from nsl_assets.identity import CellHashes, ModelHashes
from nsl_assets.jobs import PROBING_MIB, JobMaker, failure_text
from nsl_assets.models import Custom, Pca, estimate_cost
from nsl_assets.study import GridCell, Machine, parse_project
from nsl_assets.worker import WorkerOrder
from nsl_resources.dispatch import Failure, Log, Report
from nsl_resources.gpu import Device

CELL = GridCell(task="cells", model="model", n_cells=500, level=0.1, seed=1)
HASHES = CellHashes(
    data="d",
    auxiliary="a",
    noised="n",
    trained=ModelHashes(model="m", embedding="e", measurement={"infonce": "i"}),
    untrained=None,
)
ON_GPU = {"kind": "custom", "class_path": "x.py:X", "device_memory_mib": 3000.4}


def make(monkeypatch: pytest.MonkeyPatch, model: dict, *gpus_mib: int, has_cuda: bool = True, **machine: object):
    devices = [Device("gpu", f"GPU-{i}", mib + 1000, 1000, mib, 0) for i, mib in enumerate(gpus_mib)]
    monkeypatch.setattr(jobs, "gpu_devices", lambda: devices)
    monkeypatch.setattr(jobs, "torch_has_cuda", lambda: has_cuda)
    study = {
        "sizes": [500],
        "tasks": {"cells": {"kind": "simulated_cells"}},
        "models": {"model": model},
        "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.5, 0.1]},
    }
    project = parse_project({"studies": {"s": study}})
    return JobMaker(project.study("s"), Machine(**machine), Path("storage")).job(CELL, HASHES, 2_000)


def test_a_cpu_model_gets_the_memory_of_its_formula_and_of_probing(monkeypatch: pytest.MonkeyPatch):
    job = make(monkeypatch, {"kind": "pca"}, 80_000, worker_threads=2)
    assert job.memory_mib == math.ceil(estimate_cost(Pca(), 500, 2_000).memory_mib) + PROBING_MIB
    assert (job.cores, job.n_gpus, job.gpu_memory_mib) == (2, 0, 0)
    order = WorkerOrder.model_validate(job.payload)
    assert (order.runtime.device, order.runtime.n_threads, order.cell) == ("cpu", 2, CELL)
    assert "nsl_assets.worker" in job.preload and "scvi" not in job.preload


def test_a_model_that_can_use_a_gpu_gets_one_where_one_is_large_enough(monkeypatch: pytest.MonkeyPatch):
    job = make(monkeypatch, ON_GPU, 2_000, 80_000, gpu_precision="bfloat16")
    assert (job.n_gpus, job.gpu_memory_mib) == (1, 3001)
    runtime = WorkerOrder.model_validate(job.payload).runtime
    assert (runtime.device, runtime.precision) == ("cuda", "bfloat16")


@pytest.mark.parametrize(("gpus", "device"), [((), "auto"), ((80_000,), "cpu"), ((2_000,), "cpu")])
def test_it_runs_on_the_cpu_where_no_gpu_is_there_or_wanted(monkeypatch: pytest.MonkeyPatch, gpus, device):
    job = make(monkeypatch, ON_GPU, *gpus, device=device, gpu_precision="bfloat16")
    assert (job.n_gpus, job.gpu_memory_mib) == (0, 0)
    runtime = WorkerOrder.model_validate(job.payload).runtime
    assert (runtime.device, runtime.precision) == ("cpu", "float32")


def test_gpus_of_a_cluster_are_those_that_were_declared(monkeypatch: pytest.MonkeyPatch):
    on_nodes = make(monkeypatch, ON_GPU, dispatcher="slurm", node_gpus=2, node_gpu_memory_mib=80_000)
    assert (on_nodes.n_gpus, on_nodes.gpu_memory_mib > 0) == (1, True)
    assert make(monkeypatch, ON_GPU, 80_000, dispatcher="ray").n_gpus == 0
    with pytest.raises(ValueError, match="node_gpu_memory_mib"):
        Machine(dispatcher="ray", node_gpus=2)


def test_a_torch_without_cuda_trains_on_the_cpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    job = make(monkeypatch, ON_GPU, 80_000, has_cuda=False)
    assert (job.n_gpus, WorkerOrder.model_validate(job.payload).runtime.device) == (0, "cpu")
    assert "CUDA build of torch" in caplog.text


def test_failures_are_told_in_words_and_other_messages_are_none(monkeypatch: pytest.MonkeyPatch):
    job = make(monkeypatch, ON_GPU, 80_000)
    assert failure_text(Failure("ValueError", "bad", "trace"), job) == "ValueError: bad"
    assert failure_text(Report({"failure": "the loss became nan"}), job) == "the loss became nan"
    told = failure_text(Report({"out_of_memory": "CUDA out of memory.\nmore"}), job)
    assert told is not None
    assert "CUDA out of memory." in told and "3,001 MiB of a GPU" in told and "more" not in told
    assert "no details" in str(failure_text(Report({"out_of_memory": ""}), job))
    assert failure_text(Report({"step": "training"}), job) is None
    assert failure_text(Log("INFO", "waiting"), job) is None
    assert Custom(class_path="x.py:X").devices_wanted() == 1
