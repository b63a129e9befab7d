"""Automation: a change is never lost, whenever it comes, and is answered once."""

from typing import Any

import dagster as dg

from nsl_assets.defs.automation import WHEN_ANYTHING_UPSTREAM_CHANGES

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
