"""Automation: a change is never lost, whenever it comes, and is answered once."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nsl_assets.defs import keys
from nsl_assets.defs.automation import WHEN_ANYTHING_UPSTREAM_CHANGES
from nsl_assets.defs.build import build_definitions
from nsl_assets.study import Project, Study

LEVELS = dg.StaticPartitionsDefinition(["q0.1", "q0.5", "q1.0"])


@dg.asset(partitions_def=LEVELS)
def measured() -> None: ...


@dg.asset(deps=[measured], automation_condition=WHEN_ANYTHING_UPSTREAM_CHANGES)
def law() -> None: ...


def test_a_change_right_after_a_request_is_answered_too():
    definitions = dg.Definitions([measured, law])
    with dg.instance_for_test() as instance:

        def tick(cursor: Any = None) -> tuple[int, Any]:
            result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
            return result.total_requested, result.cursor

        def lands(level: str) -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization(measured.key, partition=level))

        def fitted() -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization(law.key))

        n_requested, cursor = tick()
        assert n_requested == 0
        lands("q1.0")
        n_requested, cursor = tick(cursor)
        assert n_requested == 1

        lands("q0.5")  # before automation sees its own request
        n_requested, cursor = tick(cursor)
        assert n_requested == 1

        n_requested, cursor = tick(cursor)
        assert n_requested == 0
        fitted()
        n_requested, cursor = tick(cursor)
        assert n_requested == 0

        lands("q0.1")
        fitted()  # by a run that began before the last level landed
        n_requested, cursor = tick(cursor)
        assert n_requested == 1


def test_a_study_without_its_data_costs_the_daemon_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NSL_DATA", str(tmp_path))
    here = {"kind": "simulated_cells", "n_cells": 300, "n_genes": 20}
    absent = {
        "kind": "clonal_pairs",
        "path": str(tmp_path / "larry" / "larry.h5ad"),
        "clone": "obs:clone",
        "time": "obs:day",
    }
    absent |= {"early": ["2"], "late": ["6"]}
    grid = {"models": {"pca": {"kind": "pca"}}, "noise": {"levels": [1.0, 0.5, 0.2]}, "sizes": [100]}
    studies = {
        name: Study.model_validate({**grid, "tasks": tasks})
        for name, tasks in (
            ("quick", {"cells": here}),
            ("mixed", {"cells": here, "larry": absent}),
            ("far", {"larry": absent}),
        )
    }
    repository = build_definitions(Project(studies=studies)).get_repository_def()
    sensors = {one.name: one for one in repository.sensor_defs if one.name.startswith("laws_results_and_report")}
    on, off = sensors["laws_results_and_report"], sensors["laws_results_and_report_without_data"]
    assert on.default_status == dg.DefaultSensorStatus.RUNNING
    assert off.default_status == dg.DefaultSensorStatus.STOPPED
    assert "far" in off.description
    evaluated, left_out = (one.asset_selection.resolve(repository.asset_graph) for one in (on, off))
    assert {key.path[0] for key in left_out} == {"far"}
    assert {key.path[0] for key in evaluated} == {"quick", "mixed", *keys.RESULTS.path[:1]}
    graph = repository.asset_graph
    checked, unchecked = (one.asset_selection.resolve_checks(graph) for one in (on, off))
    assert checked | unchecked == graph.asset_check_keys
    assert {check.asset_key.path[0] for check in unchecked} == {"far"}
