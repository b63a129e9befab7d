"""Which dispatcher settings name, and what is said where it cannot be used."""

import os
import re
from pathlib import Path

import pytest

from nsl_assets.errors import InputError, StudyError
from nsl_assets.study import Machine, parse_project
from nsl_resources.dispatch import DispatcherChoice, LocalPool, NodeBudget, WorkerJob
from nsl_resources.dispatch.storage_probe import StorageProbe, storage_probe
from nsl_resources.gpu import AdmissionError
from nsl_resources.resources import WorkersResource


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "ledger"))


def test_this_machine_is_the_default(storage: Path) -> None:
    assert isinstance(Machine().dispatcher_choice().make(storage), LocalPool)
    assert isinstance(WorkersResource().dispatcher(), LocalPool)


def test_the_budget_of_the_machine_reaches_the_dispatcher(storage: Path) -> None:
    for dispatcher in (
        Machine(memory_mib=50, device="cpu").dispatcher_choice().make(storage),
        WorkersResource(memory_mib=50, use_gpus=False).dispatcher(),
    ):
        with pytest.raises(AdmissionError, match="a needs 100 MiB"):
            dispatcher.run([WorkerJob("a", ["/bin/true"], 100)])


def test_the_machine_and_the_resource_choose_alike(storage: Path) -> None:
    machine = Machine(
        dispatcher="slurm", cores=3, max_workers=7, node_gpu_memory_mib=80_000, slurm_options=("--partition=gpu",)
    )
    assert machine.dispatcher_choice() == DispatcherChoice(
        "slurm", NodeBudget(None, 3, True), 7, 80_000, "auto", ("--partition=gpu",)
    )


def test_an_unknown_dispatcher_is_named_with_those_that_there_are(storage: Path) -> None:
    with pytest.raises(StudyError, match=r"machine.dispatcher: found 'sge': Input should be 'local', 'ray' or 'slurm'"):
        parse_project({"machine": {"dispatcher": "sge"}})
    with pytest.raises(InputError, match=r"no dispatcher is named 'sge'. There are: local, ray, slurm"):
        WorkersResource(dispatcher_name="sge").dispatcher()


def test_slurm_without_its_commands_is_refused_before_any_work(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="sbatch, squeue, sacct, scancel cannot be found"):
        Machine(dispatcher="slurm").dispatcher_choice().make(storage)


def test_ray_that_is_not_installed_says_what_to_install(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsl_resources.dispatch.ray_cluster.find_spec", lambda _: None)
    with pytest.raises(InputError, match=re.escape('pip install "nsl[ray]"')):
        WorkersResource(dispatcher_name="ray", ray_address="local", storage=str(storage)).dispatcher()


def test_a_host_sees_the_probe_file_of_the_storage_that_it_shares_and_no_other(storage: Path) -> None:
    with storage_probe(storage) as probe:
        assert probe.is_seen()
        assert not StorageProbe(probe.path, "the word of another run").is_seen()
        assert not StorageProbe(Path("/nowhere") / probe.path.name, probe.word).is_seen()
    assert not probe.is_seen()
    assert os.listdir(storage) == []  # noqa: PTH208
