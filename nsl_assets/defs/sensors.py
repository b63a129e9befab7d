"""Sensors beside automation: what failed and why, leases of processes that died, results that lag behind."""

from itertools import takewhile

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.freshness import RESULTS_ARE_FRESH, results_lag
from nsl_assets.defs.lost_runs import end_lost_runs, repeat_forgotten_failures
from nsl_assets.study import Project
from nsl_resources.gpu import Ledger
from nsl_resources.run_process import FAILURE_TAG

STEP_TAG = "nsl/failed_step"
LONGEST_TAG = 200
FROM_OUTSIDE = "from outside the execution context"
LOST_RUNS_EVERY_S, LEASES_EVERY_S, FRESHNESS_EVERY_S = 30, 60, 300


def failed_runs_sensor() -> dg.SensorDefinition:
    """Says in the log what failed and why, and marks the run with it, so that the list of runs shows it."""

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Marks every failed run with what failed and why, and logs it. It starts nothing: a cell of the"
        " grid whose worker died is tried again inside its run, a run whose process died by the daemon (run_retries).",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        failures = [(event.step_key or "", failure_text(event)) for event in context.get_step_failure_events()]
        failures = failures or [("", _engine_text(context))]
        for step, text in failures:
            context.log.error(f"run {run.run_id[:8]} failed{f' in {step}' if step else ''}: {text}")
        step, text = failures[0]
        context.instance.add_run_tags(run.run_id, {FAILURE_TAG: _tag_value(text), STEP_TAG: step or "none"})

    return failed_runs


def failure_text(event: dg.DagsterEvent) -> str:
    """The message of the error that made a step fail: ours as it is, any other with the step's name."""
    failure = event.step_failure_data
    if failure.user_failure_data is not None and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message if error else event.message}".strip()


def _engine_text(context: dg.RunFailureSensorContext) -> str:
    """Why a run failed before or outside its steps, such as code that does not load, or a signal.

    Dagster says in a message "from outside the execution context" alone where the engine said why just before.
    """
    kinds = {dg.DagsterEventType.ENGINE_EVENT, dg.DagsterEventType.RUN_FAILURE}
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=kinds)
    found = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
    events = list(takewhile(lambda event: event.is_engine_event, found))  # behind the failure: "Retrying the run"
    errors = [event.engine_event_data.error for event in events if event.engine_event_data.error is not None]
    message = context.failure_event.message or ""
    if errors:
        return f"{message} {errors[-1].message}".strip()
    is_explained = FROM_OUTSIDE not in message or not events
    return message if is_explained else events[-1].message or message


def _tag_value(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= LONGEST_TAG else f"{one_line[: LONGEST_TAG - 1]}…"


def lost_runs_sensor() -> dg.SensorDefinition:
    """Ends runs whose process is gone, sees to it that retries are launched, and says which."""

    @dg.sensor(
        name="lost_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=LOST_RUNS_EVERY_S,
        description="Ends runs whose process is gone, as after a reboot, so that the daemon launches them again; and"
        " repeats a failure that the daemon overlooked, so that the retry is launched.",
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_lost_runs(context.instance)
        for run in ended:
            context.log.warning(f"run {run.run_id[:8]} is ended: its process is gone")
        repeated = repeat_forgotten_failures(context.instance)
        for run in repeated:
            context.log.warning(f"the retry of run {run.run_id[:8]} was not launched: its failure is said again")
        return dg.SkipReason(
            f"{len(ended)} runs whose process is gone were ended; {len(repeated)} failures were said again."
        )

    return lost_runs


def stale_leases_sensor() -> dg.SensorDefinition:
    """Removes leases whose process died, and says which."""

    @dg.sensor(
        name="stale_leases",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=LEASES_EVERY_S,
        description="Gives back memory, cores and GPUs that the ledger holds for workers whose process died.",
    )
    def stale_leases(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        reaped = Ledger().reap()
        for lease in reaped:
            context.log.warning(f"the process {lease.pid} of {lease.label} is gone: {lease.need} given back")
        return dg.SkipReason(f"{len(reaped)} leases of dead processes were given back.")

    return stale_leases


def freshness_sensor(project: Project) -> dg.SensorDefinition:
    """Evaluates the check of the results' freshness without a run, also when nothing happens any more."""
    upstream = keys.all_landing_keys(project)

    @dg.sensor(
        name="freshness_of_results",
        target=[keys.RESULTS],
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=FRESHNESS_EVERY_S,
        description="Reports the check `is_fresh` of `results` whenever its outcome changes.",
    )
    def freshness_of_results(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = results_lag(context.instance, upstream)
        cursor = str(found.passed)
        if cursor == context.cursor:
            return dg.SensorResult(skip_reason=f"as before: {found.description}", cursor=cursor)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=keys.RESULTS,
            check_name=RESULTS_ARE_FRESH,
            passed=found.passed,
            severity=found.severity,
            description=found.description,
        )
        return dg.SensorResult(asset_events=[evaluation], cursor=cursor)

    return freshness_of_results
