"""Assembles what the other modules of this room make."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.assets import StudyAssets, results_asset
from nsl_assets.defs.automation import automation_sensors
from nsl_assets.defs.checks import checks_job_name, study_checks
from nsl_assets.defs.freshness import results_freshness
from nsl_assets.defs.schedules import night_schedule
from nsl_assets.defs.sensors import failed_runs_sensor, freshness_sensor, lost_runs_sensor, stale_leases_sensor
from nsl_assets.progress import Progress
from nsl_assets.study import Machine, Project, storage_root
from nsl_resources.resources import StorageResource, WorkersResource

RESULTS_CHECKS = dg.AssetSelection.checks_for_assets(keys.RESULTS)


def build_definitions(project: Project, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All assets, checks, automation and resources of a project. Tests and the command line swap resources."""
    machine = project.machine
    resources: dict[str, Any] = {
        "storage": StorageResource(root=str(storage_root())),
        "workers": workers_resource(machine),
        "progress": Progress(),
    }
    studies = project.studies.items()
    return dg.Definitions(
        assets=[
            *(asset for name, study in studies for asset in StudyAssets(name, study, machine).build()),
            results_asset(project),
        ],
        asset_checks=[
            *(check for name, study in studies for check in study_checks(name, study)),
            results_freshness(project),
        ],
        # Runs that record partitions one by one return nothing: Dagster skips the checks that it plans in them.
        jobs=[
            dg.define_asset_job(
                checks_job_name(name),
                (dg.AssetSelection.groups(name) & dg.AssetSelection.all_asset_checks()) | RESULTS_CHECKS,
                description=f"Checks everything of study `{name}`.",
            )
            for name in project.studies
        ],
        schedules=[night_schedule(name, study, machine) for name, study in studies],
        sensors=[
            *automation_sensors(project),
            failed_runs_sensor(),
            lost_runs_sensor(),
            stale_leases_sensor(),
            freshness_sensor(project),
        ],
        resources=resources | dict(resource_overrides or {}),
        executor=dg.in_process_executor,
    )


def workers_resource(machine: Machine) -> WorkersResource:
    """The dispatcher and the budget that a project names."""
    return WorkersResource(
        dispatcher_name=machine.dispatcher,
        storage=str(storage_root()),
        memory_mib=machine.memory_mib,
        cores=machine.cores,
        use_gpus=machine.device == "auto",
        max_workers=machine.max_workers,
        node_gpu_memory_mib=machine.node_gpu_memory_mib,
        ray_address=machine.ray_address,
        slurm_options=list(machine.slurm_options),
    )
