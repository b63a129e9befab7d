"""Runs whose process is gone, as after a reboot: they are ended, so that the daemon launches them again.

Left as started, they would hold their places in the queue and the pool, a backfill would wait for them, and automation
would never touch their assets again.
"""

import dagster as dg

from nsl_resources.run_process import lost_process

BEGUN = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


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
