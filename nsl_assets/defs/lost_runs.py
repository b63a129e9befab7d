"""Runs that nobody would ever go on with: those whose process is gone, and those whose retry was forgotten.

After a reboot a run would stay started: it would hold its places in the queue and the pool, a backfill would wait for
it, and automation would never touch its assets again. It is ended, so that the daemon launches it again.
"""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg

from nsl_resources.run_process import lost_process

BEGUN = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
WILL_RETRY, RETRIED_AS, SAID_AGAIN = "dagster/will_retry", "dagster/auto_retry_run_id", ".dagster/nsl_said_again"
RETRY_PATIENCE_S = 60.0
"""The daemon looks for failures every five seconds."""
RETRIES_AT_MOST = timedelta(days=1)


def end_lost_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """End the runs whose process, of this host, is gone; what was to be cancelled is cancelled. Returns them.

    A run names its process when its resources are made (`StorageResource`). One that never came so far is ended by
    Dagster's run monitoring (`start_timeout_seconds`).
    """
    begun = instance.get_runs(filters=dg.RunsFilter(statuses=list(BEGUN)))
    return [run for run in begun if _end_if_lost(instance, run)]


def _end_if_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    pid = lost_process(run.run_id, run.tags)
    now = None if pid is None else instance.get_run_by_id(run.run_id)
    if now is None or now.status not in BEGUN:
        return False  # it lives, or has ended by itself since the list was read
    text = f"The process of this run (pid {pid}) is gone: it was killed, or the machine stopped."
    if now.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, message=text)
    else:
        instance.report_run_failed(now, message=text)
    return True


def repeat_forgotten_failures(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Report once more the failure of every run that is to be retried and was not; returns them.

    Dagster stores a failure before it marks the run as failed. Where its daemon looks in between, it takes the run for
    one that goes on and never looks again, while a backfill waits for the retry for ever (seen on a busy machine).
    """
    since = datetime.now(UTC) - RETRIES_AT_MOST
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY: "true"}, updated_after=since)
    forgotten = [
        record.dagster_run
        for record in instance.get_run_records(failed)
        if not {RETRIED_AS, SAID_AGAIN} & record.dagster_run.tags.keys()
        and time.time() - (record.end_time or 0.0) > RETRY_PATIENCE_S
    ]
    for run in forgotten:
        instance.add_run_tags(run.run_id, {SAID_AGAIN: "true"})
        said = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        instance.report_run_failed(
            run, message=said[0].dagster_event.message if said and said[0].dagster_event else None
        )
    return forgotten
