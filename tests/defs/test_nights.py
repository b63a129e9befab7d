"""The nights of a study: what a night takes on, in which order, within which limit, and what a dry run says."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.nightly import GridPoint, Missing, plan_night
from nsl_assets.study import Night, load_project
from nsl_resources.results import Results

from .conftest import study_toml
from .rows import run_row

MODEL = ("wide", "simulated", "random_projection")
SOURCE = dg.AssetKey(["wide", "simulated", "source"])


def missing(
    level: float, n_cells: int = 100, model: str = "cheap", seconds: float = 60.0, n_grid_cells: int = 1
) -> Missing:
    return Missing(GridPoint("task", model, n_cells, level), n_grid_cells, seconds)


def test_deepest_levels_come_first_and_at_each_the_cheapest_model_from_few_cells_to_many():
    dear = [missing(level, n, "dear", seconds=600.0) for level in (0.1, 1.0) for n in (200, 100)]
    cheap = [missing(level, n, "cheap") for level in (0.1, 1.0) for n in (200, 100)]
    plan = plan_night([*dear, *cheap], [], Night())
    assert [(one.point.level, one.point.model, one.point.n_cells) for one in plan.chosen] == [
        (1.0, "cheap", 100), (1.0, "cheap", 200), (1.0, "dear", 100), (1.0, "dear", 200),
        (0.1, "cheap", 100), (0.1, "cheap", 200), (0.1, "dear", 100), (0.1, "dear", 200),
    ]  # fmt: skip
    assert [len(block) for block in plan.blocks] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("night", "n_chosen"),
    [
        (Night(max_grid_cells=6), 2),
        (Night(max_grid_cells=8), 2),
        (Night(max_grid_cells=9), 3),
        (Night(max_hours=2.5), 2),
        (Night(max_grid_cells=3, max_hours=2.5), 1),
    ],
)
def test_neither_limit_is_exceeded(night: Night, n_chosen: int):
    every = [missing(level, n_grid_cells=3, seconds=3_600) for level in (1.0, 0.5, 0.2, 0.1)]
    plan = plan_night(every, [], night)
    assert [one.point.level for one in plan.chosen] == [1.0, 0.5, 0.2, 0.1][:n_chosen]
    assert f"{n_chosen} of 4 missing partitions" in plan.text


def test_a_limit_below_the_first_partition_is_named():
    plan = plan_night([missing(1.0, seconds=7_200)], [], Night(max_hours=1))
    assert plan.chosen == ()
    assert "1 h a night" in plan.text and "raise" in plan.text


def test_a_partition_that_keeps_failing_is_left_out_of_every_range():
    given_up = GridPoint("task", "cheap", 200, 1.0)
    plan = plan_night([missing(1.0, n) for n in (100, 300, 400)], [given_up], Night())
    assert [[point.n_cells for point in block] for block in plan.blocks] == [[100], [300, 400]]
    assert given_up.label in plan.text


def tick(instance: dg.DagsterInstance, study: str = "wide") -> ScheduleExecutionData:
    definitions = build_definitions(load_project())
    with dg.build_schedule_context(
        instance,
        scheduled_execution_time=datetime(2030, 1, 1, 20, tzinfo=UTC),
        resources=definitions.resources or {},
        repository_def=definitions.get_repository_def(),
    ) as context:
        return definitions.resolve_schedule_def(f"night_{study}").evaluate_tick(context)


def materialize(instance: dg.DagsterInstance, key: dg.AssetKey, *partitions: str) -> None:
    for partition in partitions or (None,):
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))


def ranges(data: ScheduleExecutionData) -> list[tuple[str, str]]:
    tags = [request.tags for request in data.run_requests or []]
    return [(tag["dagster/asset_partition_range_start"], tag["dagster/asset_partition_range_end"]) for tag in tags]


def test_a_tick_asks_for_the_missing_levels_of_the_instance(project: Path):
    with dg.instance_for_test() as instance:
        assert "wide/simulated/source" in str(tick(instance).skip_message)

        materialize(instance, SOURCE)
        there = [keys.grid_key(100, 1.0), keys.grid_key(200, 1.0), keys.grid_key(100, 0.5)]
        materialize(instance, dg.AssetKey([*MODEL, "mutual_information"]), *there)
        data = tick(instance)
        assert ranges(data) == [
            ("n000000200|q0.500000", "n000000200|q0.500000"),
            ("n000000100|q0.200000", "n000000200|q0.200000"),
        ]
        first, second = data.run_requests
        assert int(first.tags["dagster/priority"]) > int(second.tags["dagster/priority"])
        assert "3 of 3 missing partitions" in first.tags["nsl/plan"]
        assert {key.path[-1] for key in first.asset_selection} == set(keys.GRID_ASSETS)
        assert (first.tags["nsl/task"], first.tags["nsl/model"]) == ("simulated", "random_projection")

        every = [keys.grid_key(n, q) for n in (100, 200) for q in (1.0, 0.5, 0.2)]
        materialize(instance, dg.AssetKey([*MODEL, "mutual_information"]), *every)
        assert tick(instance).skip_message == "no partition of the grid is missing."


def test_a_night_waits_for_the_one_before(project: Path):
    with dg.instance_for_test() as instance:
        materialize(instance, SOURCE)
        assert len(ranges(tick(instance))) == 3
        run = dg.DagsterRun(job_name="__ASSET_JOB", status=dg.DagsterRunStatus.STARTED, tags={"nsl/night": "wide"})
        instance.add_run(run)
        assert "earlier night" in str(tick(instance).skip_message)


def test_what_failed_in_two_runs_is_not_started_again(project: Path, storage: Path):
    results = Results(storage)
    results.land("run", [run_row(study="wide", n_cells=100, level=0.5, dagster_run_id=run) for run in ("a", "a", "b")])
    results.land("run", [run_row(study="wide", n_cells=100, level=0.2, dagster_run_id="a")])
    with dg.instance_for_test() as instance:
        materialize(instance, SOURCE)
        starts = [start for start, _ in ranges(tick(instance))]
    assert starts == ["n000000100|q1.000000", "n000000200|q0.500000", "n000000100|q0.200000"]


def test_it_is_off_until_somebody_switches_it_on_and_starts_when_the_study_says(project: Path):
    night = '[studies.wide.night]\nstarts_at = "21:30"\ntimezone = "Europe/Berlin"\n'
    text = study_toml("wide", sizes=[100], levels=[1.0, 0.5]) + night
    (project / "dagster_project.toml").write_text(text)
    schedule = build_definitions(load_project()).resolve_schedule_def("night_wide")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 21 * * *", "Europe/Berlin")
