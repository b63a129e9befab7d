"""The nights of a study: a schedule that starts what is missing of its grid, within a limit. Off by default.

The dry run is "Preview tick result" in the UI: it shows the runs of a tick, each with the plan in words as a tag.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.grid import Platform
from nsl_assets.nightly import GridPoint, NightPlan, failed_runs, plan_night, priced
from nsl_assets.study import Machine, Study
from nsl_resources.resources import StorageResource, WorkersResource

EVERY_ASSET_JOB = "__ASSET_JOB"
"""Dagster's own job over all assets; jobs that are defined cannot hold grids of different models."""
NIGHT_TAG, PLAN_TAG = "nsl/night", "nsl/plan"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def night_schedule(name: str, study: Study, machine: Machine) -> dg.ScheduleDefinition:
    """`night_<study>`: each night the next missing noise levels, deepest first."""
    hour, minute = study.night.starts_at.split(":")

    @dg.schedule(
        name=f"night_{name}",
        job_name=EVERY_ASSET_JOB,
        cron_schedule=f"{int(minute)} {int(hour)} * * *",
        execution_timezone=study.night.timezone,
        description=(
            f"Starts what is missing of the grid of study `{name}`, deepest noise levels first, at most"
            f" {study.night.max_grid_cells} cells of the grid and {study.night.max_hours:g} h a night"
            f" ([studies.{name}.night])."
        ),
        tags={"nsl/study": name},
    )
    def night(
        context: dg.ScheduleEvaluationContext, storage: StorageResource, workers: WorkersResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        unfinished = dg.RunsFilter(tags={NIGHT_TAG: name}, statuses=UNFINISHED)
        if n_runs := context.instance.get_runs_count(unfinished):
            yield dg.SkipReason(f"{n_runs} runs of an earlier night are not finished.")
            return
        platform = Platform(storage.artifacts, storage.results, workers.dispatcher(), machine)
        tasks = [task for task in study.tasks if _has_source(context.instance, keys.TaskKeys(name, task))]
        plan = _plan(name, study, tasks, context.instance, platform)
        text = " ".join([plan.text, *_waiting_text(name, study, tasks)])
        context.log.info(text)
        if not plan.chosen:
            yield dg.SkipReason(text)
        yield from _requests(name, plan, f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}")

    return night


def _has_source(instance: dg.DagsterInstance, of_task: keys.TaskKeys) -> bool:
    return instance.get_latest_materialization_event(of_task.source) is not None


def _waiting_text(name: str, study: Study, ready: Sequence[str]) -> list[str]:
    waiting = [f"{name}/{task}/source" for task in study.tasks if task not in ready]
    return [f"Not stored yet: {', '.join(waiting)}; materialize it first."] if waiting else []


def _plan(name: str, study: Study, tasks: Sequence[str], instance: dg.DagsterInstance, platform: Platform) -> NightPlan:
    """What is neither materialized nor failing is missing."""
    failed = failed_runs(name, platform.results)
    missing = [point for task in tasks for point in _missing(keys.TaskKeys(name, task), study, instance)]
    given_up = [point for point in missing if failed.get(point, 0) >= study.night.max_failed_runs]
    left = priced(name, study, [point for point in missing if point not in given_up], platform)
    return plan_night(left, given_up, study.night)


def _missing(of_task: keys.TaskKeys, study: Study, instance: dg.DagsterInstance) -> list[GridPoint]:
    found = []
    for model in study.models:
        there = instance.get_materialized_partitions(of_task.of_model(model, "mutual_information"))
        found += [
            GridPoint(of_task.task, model, n_cells, level)
            for level in study.levels_of(of_task.task)
            for n_cells in study.sizes_of(of_task.task, model)
            if keys.grid_key(n_cells, level) not in there
        ]
    return found


def _requests(name: str, plan: NightPlan, night: str) -> Iterator[dg.RunRequest]:
    """One run a noise level, task and model; what comes first in the plan is queued first."""
    blocks = plan.blocks
    for rank, block in enumerate(blocks):
        first, last = block[0], block[-1]
        of_task = keys.TaskKeys(name, first.task)
        yield dg.RunRequest(
            run_key=f"{night} {first.label}",
            asset_selection=[of_task.of_model(first.model, asset) for asset in keys.GRID_ASSETS],
            asset_check_keys=[],
            tags={
                NIGHT_TAG: name,
                PLAN_TAG: plan.text,
                "nsl/study": name,
                "nsl/task": first.task,
                "nsl/model": first.model,
                "dagster/priority": str(len(blocks) - rank),
                keys.RANGE_START: keys.grid_key(first.n_cells, first.level),
                keys.RANGE_END: keys.grid_key(last.n_cells, last.level),
            },
        )
