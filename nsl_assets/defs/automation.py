"""What runs by itself: laws, checks, results and report, whenever something upstream changes. Training never does."""

from typing import Any

import dagster as dg

Condition = dg.AutomationCondition[Any]


def _whenever(trigger: Condition, label: str) -> Condition:
    """True from the trigger on until the next request, unless the target is in progress.

    Dagster's `since_last_handled()` loses a trigger in the tick that learns of the last request, and one that comes
    while the requested run is at work: the last partition of a study may then never reach its law.
    """
    asked = dg.AutomationCondition.newly_requested() | dg.AutomationCondition.initial_evaluation()
    is_due = trigger.since(asked) | (trigger & asked).since(asked & ~trigger)
    return (is_due & ~dg.AutomationCondition.in_progress()).with_label(label)


# `eager()` waits until no dependency is missing, so one failed cell would keep every law from being fitted.
# Laws are fitted to incomplete curves, which they flag: so any update will do.
WHEN_ANYTHING_UPSTREAM_CHANGES = _whenever(dg.AutomationCondition.any_deps_updated(), "when anything upstream changes")

# `any_deps_updated()` leaves out what a run updated that planned the check as well. Runs over partitions return
# nothing, so that Dagster skips the checks that they planned: those would stay unevaluated.
WHEN_WHAT_IT_CHECKS_CHANGES = _whenever(
    dg.AutomationCondition.any_deps_match(
        dg.AutomationCondition.newly_updated() | dg.AutomationCondition.will_be_requested()
    ),
    "when what it checks changes",
)


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions; on from the start."""
    return dg.AutomationConditionSensorDefinition(
        "laws_results_and_report",
        target=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Fits laws, checks and redraws reports as measurements land. Never trains a model.",
    )
