"""Assembles what the other modules of this room make."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nsl_assets.defs.assets import StudyAssets, results_asset
from nsl_assets.defs.automation import automation_sensor
from nsl_assets.defs.checks import checks_job_name, study_checks
from nsl_assets.progress import Progress
from nsl_assets.study import Project, storage_root
from nsl_resources.resources import StorageResource, WorkersResource


def build_definitions(project: Project, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All assets, checks, automation and resources of a project. Tests and the command line swap resources."""
    machine = project.machine
    resources: dict[str, Any] = {
        "storage": StorageResource(root=str(storage_root())),
        "workers": WorkersResource(
            memory_mib=machine.memory_mib, cores=machine.cores, use_gpus=machine.device == "auto"
        ),
        "progress": Progress(),
    }
    studies = project.studies.items()
    return dg.Definitions(
        assets=[
            *(asset for name, study in studies for asset in StudyAssets(name, study, machine).build()),
            results_asset(project),
        ],
        asset_checks=[check for name, study in studies for check in study_checks(name, study)],
        # Runs that record partitions one by one return nothing: Dagster skips the checks that it plans in them.
        jobs=[
            dg.define_asset_job(
                checks_job_name(name),
                dg.AssetSelection.groups(name) & dg.AssetSelection.all_asset_checks(),
                description=f"Checks everything of study `{name}`.",
            )
            for name in project.studies
        ],
        sensors=[automation_sensor()],
        resources=resources | dict(resource_overrides or {}),
        executor=dg.in_process_executor,
    )
