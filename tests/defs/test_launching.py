"""A run that this machine cannot bear is refused before any work, with the numbers, also when the UI launches it."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions, workers_resource
from nsl_assets.study import load_project, parse_project

from .conftest import study_toml

OF_TASK = keys.TaskKeys("wide", "simulated")
GRID = [OF_TASK.of_model("random_projection", asset) for asset in keys.GRID_ASSETS]
ONE_CELL = {"dagster/partition": "n000000100|q0.200000"}


def refusal(assets: list[dg.AssetKey], tags: dict[str, str] | None = None) -> str:
    """The message with which the step of these assets fails."""
    job = build_definitions(load_project()).resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(assets), asset_check_selection=set())
    with dg.instance_for_test() as instance:
        result = subset.execute_in_process(
            instance=instance, tags=tags, raise_on_error=False, partition_key=(tags or {}).get("dagster/partition")
        )
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    return str(failure.step_failure_data.user_failure_data.description)


@pytest.mark.parametrize(("assets", "tags"), [([OF_TASK.source], None), (GRID, ONE_CELL)], ids=["source", "grid"])
def test_more_memory_than_the_machine_has(project: Path, storage: Path, assets: list[dg.AssetKey], tags: dict | None):
    machine = "[machine]\nmemory_mib = 300\n"
    (project / "dagster_project.toml").write_text(machine + study_toml("wide", sizes=[100], levels=[1.0, 0.2]))
    message = refusal(assets, tags)
    assert "MiB" in message and "300 MiB here" in message
    assert not (storage / "artifacts").exists()


@pytest.mark.parametrize(("assets", "tags"), [([OF_TASK.source], None), (GRID, ONE_CELL)], ids=["source", "grid"])
def test_more_disk_than_is_free(
    project: Path, storage: Path, monkeypatch: pytest.MonkeyPatch, assets: list[dg.AssetKey], tags: dict | None
):
    usage = shutil.disk_usage(storage)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 * 2**20))
    message = refusal(assets, tags)
    assert "100.0 MiB free" in message and "are needed" in message
    assert not (storage / "artifacts").exists()


def test_the_machine_of_the_project_reaches_the_dispatcher(storage: Path):
    text = {"machine": {"dispatcher": "slurm", "slurm_options": ["--partition=gpu"], "max_workers": 7, "cores": 3}}
    workers = workers_resource(parse_project(text).machine)
    assert (workers.dispatcher_name, workers.slurm_options) == ("slurm", ["--partition=gpu"])
    assert (workers.max_workers, workers.cores, workers.storage) == (7, 3, str(storage))
