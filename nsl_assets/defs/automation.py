"""What runs by itself: laws, checks, results and report, whenever something upstream changes. Training never does."""

from typing import Any, Final

import dagster as dg

from nsl_assets.public_data import missing_data_sets
from nsl_assets.study import Project

Condition = dg.AutomationCondition[Any]
SENSOR: Final = "laws_results_and_report"
FITS: Final = "Fits laws, checks and redraws reports as measurements land. Never trains a model."


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


def automation_sensors(project: Project) -> list[dg.AutomationConditionSensorDefinition]:
    """Evaluate the conditions: one sensor that is on from the start, one for studies without data that is off.

    An evaluation costs time for every asset, also where nothing ever happened. Where the public data sets of a study
    came after this code was loaded, reload it or switch the second sensor on.
    """
    everything = dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks()
    studies = project.studies.items()
    without_data = [name for name, study in studies if len(missing_data_sets(study)) == len(study.tasks)]
    if not without_data:
        return [_sensor(SENSOR, everything, dg.DefaultSensorStatus.RUNNING, FITS)]
    absent = dg.AssetSelection.groups(*without_data)
    reload = f"{FITS} Off: no data of {', '.join(without_data)} were here when this code was loaded."
    return [
        _sensor(SENSOR, everything - absent, dg.DefaultSensorStatus.RUNNING, FITS),
        _sensor(f"{SENSOR}_without_data", absent, dg.DefaultSensorStatus.STOPPED, reload),
    ]


def _sensor(
    name: str, target: dg.AssetSelection, status: dg.DefaultSensorStatus, description: str
) -> dg.AutomationConditionSensorDefinition:
    return dg.AutomationConditionSensorDefinition(
        name, target=target, default_status=status, minimum_interval_seconds=30, description=description
    )
