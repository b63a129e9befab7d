"""What runs by itself: laws, checks, results and report, whenever something upstream changes. Training never does."""

from typing import Any

import dagster as dg

# `eager()` waits until no dependency is missing, so one failed cell would keep every law from being fitted.
# Laws are fitted to incomplete curves, which they flag: so any update will do.
WHEN_ANYTHING_UPSTREAM_CHANGES: dg.AutomationCondition[Any] = (
    dg.AutomationCondition.any_deps_updated().since_last_handled() & ~dg.AutomationCondition.in_progress()
).with_label("when anything upstream changes")

# `any_deps_updated()` leaves out what a run updated that planned the check as well. Runs over partitions return
# nothing, so that Dagster skips the checks that they planned: those would stay unevaluated.
WHEN_WHAT_IT_CHECKS_CHANGES: dg.AutomationCondition[Any] = (
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()
    ).since_last_handled()
    & ~dg.AutomationCondition.in_progress()
).with_label("when what it checks changes")


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions; on from the start."""
    return dg.AutomationConditionSensorDefinition(
        "laws_results_and_report",
        target=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Fits laws, checks and redraws reports as measurements land. Never trains a model.",
    )
