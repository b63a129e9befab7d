"""Sensors: what failed and why is said and marked, leases of dead processes go, late results are seen."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._utils.error import SerializableErrorInfo

from nsl_assets.defs import freshness, keys, lost_runs
from nsl_assets.defs.build import build_definitions
from nsl_assets.defs.sensors import failed_runs_sensor, lost_runs_sensor
from nsl_assets.study import load_project
from nsl_resources.gpu import HostBudget, HostProbe, Ledger, Need
from nsl_resources.resources import StorageResource
from nsl_resources.run_process import PROCESS_TAG, process_tag


@dg.op
def fails_as_users_see_it() -> None:
    raise dg.Failure("layer 'counts' holds 0.37: raw integer counts are needed.")


@dg.op
def fails_inside() -> None:
    try:
        raise KeyError("gene")
    except KeyError as error:
        raise RuntimeError("the model cannot be read") from error


@pytest.mark.parametrize(
    ("op", "words"), [(fails_as_users_see_it, "raw integer counts"), (fails_inside, "KeyError: 'gene'")]
)
def test_a_failed_run_is_marked_with_what_failed_and_why(op: dg.OpDefinition, words: str):
    @dg.job(executor_def=dg.in_process_executor)
    def work() -> None:
        op()

    with dg.instance_for_test() as instance:
        result = work.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        failed_runs_sensor()(context)
        (run,) = instance.get_runs()
    assert words in run.tags["nsl/failure"]
    assert run.tags["nsl/failed_step"] == op.name


def test_a_run_that_never_began_is_marked_with_what_the_engine_said():
    with dg.instance_for_test() as instance:
        run = dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        error = SerializableErrorInfo("NameError: name 'Self' is not defined", [], "NameError")
        instance.report_engine_event("Could not load job definition.", run, EngineEventData(error=error))
        failure = instance.report_run_failed(run)
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_runs", dagster_instance=instance, dagster_run=run, dagster_event=failure
        ).for_run_failure()
        failed_runs_sensor()(context)
        marked = instance.get_run_by_id(run.run_id)
    assert marked is not None
    assert "name 'Self' is not defined" in marked.tags["nsl/failure"]
    assert marked.tags["nsl/failed_step"] == "none"


def test_a_run_that_was_ended_from_outside_is_marked_with_what_the_engine_saw():
    with dg.instance_for_test() as instance:
        run = dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.STARTED)
        instance.add_run(run)
        instance.report_engine_event("Executing steps in process.", run)
        instance.report_engine_event("Run execution process was terminated by signal 9 (SIGKILL).", run)
        failure = instance.report_run_failed(run)
        instance.report_engine_event("Retrying the run", run)
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_runs", dagster_instance=instance, dagster_run=run, dagster_event=failure
        ).for_run_failure()
        failed_runs_sensor()(context)
        marked = instance.get_run_by_id(run.run_id)
    assert marked is not None
    assert marked.tags["nsl/failure"] == "Run execution process was terminated by signal 9 (SIGKILL)."


def test_a_retry_says_whose_failure_it_bears():
    @dg.op
    def works(storage: StorageResource) -> None: ...

    @dg.job(resource_defs={"storage": StorageResource(root="unused")}, executor_def=dg.in_process_executor)
    def work() -> None:
        works()

    copied = {"nsl/failure": "out of memory", "dagster/parent_run_id": "0123456789"}
    with dg.instance_for_test() as instance:
        assert work.execute_in_process(instance=instance, tags=copied).success
        (run,) = instance.get_runs()
        assert work.execute_in_process(instance=instance, tags=run.tags).success
        tags = [run.tags["nsl/failure"] for run in instance.get_runs()]
    assert tags == ["the run before, 01234567: out of memory"] * 2


def test_a_lease_whose_process_died_is_given_back_and_named(tmp_path: Path):
    # The whole host: what this process itself has grown to counts as used by the leases that it holds.
    ledger = Ledger(HostProbe(HostBudget(1_000_000, 2)), tmp_path / "ledger.sqlite")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lost = ledger.try_acquire(Need(memory_mib=600), "pca, 500 cells")
        held = ledger.try_acquire(Need(memory_mib=300), "scvi, 500 cells")
        assert lost is not None and held is not None
        lost.hand_to(process.pid)
        assert ledger.reap() == []
        process.kill()
        process.wait()
        assert [lease.label for lease in ledger.reap()] == ["pca, 500 cells"]
    assert [lease.label for lease in ledger.leases()] == ["scvi, 500 cells"]
    held.release()


def test_results_are_late_only_where_something_newer_waits(project: Path, monkeypatch: pytest.MonkeyPatch):
    upstream = keys.all_landing_keys(load_project())
    with dg.instance_for_test() as instance:
        monkeypatch.setattr(freshness, "LONGEST_LAG_S", -1.0)
        instance.report_runless_asset_event(dg.AssetMaterialization(upstream[0], partition="n000000100|q1.000000"))
        late = freshness.results_lag(instance, upstream)
        monkeypatch.setattr(freshness, "LONGEST_LAG_S", 600.0)
        assert freshness.results_lag(instance, upstream).passed
        instance.report_runless_asset_event(dg.AssetMaterialization(keys.RESULTS))
        monkeypatch.setattr(freshness, "LONGEST_LAG_S", 0.0)
        assert freshness.results_lag(instance, upstream).passed
    assert not late.passed
    assert late.severity == dg.AssetCheckSeverity.WARN
    assert "daemon" in str(late.description)


def test_the_freshness_sensor_speaks_when_the_outcome_changes(project: Path):
    definitions = build_definitions(load_project())
    sensor = definitions.resolve_sensor_def("freshness_of_results")
    repository = definitions.get_repository_def()
    with dg.instance_for_test() as instance:
        with dg.build_sensor_context(instance, repository_def=repository) as context:
            first = sensor.evaluate_tick(context)
        with dg.build_sensor_context(instance, cursor=first.cursor, repository_def=repository) as context:
            again = sensor.evaluate_tick(context)
    (evaluation,) = first.asset_events
    assert evaluation.passed
    assert evaluation.check_name == "is_fresh"
    assert again.asset_events == []
    assert "as before" in again.skip_message


RUN_FAILURE = dg.DagsterEventType.RUN_FAILURE
LOST = """
import os, sys
import dagster as dg
from nsl_resources.resources import StorageResource
@dg.op
def dies(storage: StorageResource): os.kill(os.getpid(), 9)
@dg.job(resource_defs={"storage": StorageResource(root="unused")}, executor_def=dg.in_process_executor)
def work(): dies()
with dg.DagsterInstance.from_ref(dg.deserialize_value(sys.argv[1])) as instance:
    work.execute_in_process(instance=instance)
"""


def test_a_run_whose_process_is_gone_is_ended_and_its_retry_is_not(tmp_path: Path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        reference = dg.serialize_value(instance.get_ref())
        assert subprocess.run([sys.executable, "-c", LOST, reference], check=False).returncode == -9
        (lost,) = instance.get_runs()
        assert lost.status == dg.DagsterRunStatus.STARTED
        retry = dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.STARTED, tags=lost.tags)
        alive = dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.STARTED)
        cancelled = dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.CANCELING)
        for run in (retry, alive, cancelled):
            instance.add_run(run)
        instance.add_run_tags(alive.run_id, process_tag(alive.run_id))
        as_lost = lost.tags[PROCESS_TAG].replace(lost.run_id, cancelled.run_id)
        instance.add_run_tags(cancelled.run_id, {PROCESS_TAG: as_lost})

        with dg.build_sensor_context(instance) as context:
            said = lost_runs_sensor().evaluate_tick(context).skip_message
        status = {run.run_id: run.status for run in instance.get_runs()}
    assert said == "2 runs whose process is gone were ended; 0 failures were said again."
    assert status[lost.run_id] == dg.DagsterRunStatus.FAILURE
    assert status[cancelled.run_id] == dg.DagsterRunStatus.CANCELED
    assert {status[retry.run_id], status[alive.run_id]} == {dg.DagsterRunStatus.STARTED}


def test_a_failure_whose_retry_was_forgotten_is_said_again_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lost_runs, "RETRY_PATIENCE_S", -1.0)
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 2}}) as instance:
        runs = [dg.DagsterRun(job_name="work", status=dg.DagsterRunStatus.STARTED) for _ in range(3)]
        forgotten, retried, final = runs
        for run in runs:
            instance.add_run(run)
        instance.add_run_tags(final.run_id, {"dagster/max_retries": "0"})
        for run in runs:
            instance.report_run_failed(run, message="The process is gone.")
        instance.add_run_tags(retried.run_id, {"dagster/auto_retry_run_id": "another"})

        said = [[run.run_id for run in lost_runs.repeat_forgotten_failures(instance)] for _ in range(2)]
        failures = [
            [entry.dagster_event.message for entry in instance.all_logs(run.run_id, of_type=RUN_FAILURE)]
            for run in runs
        ]
    assert said == [[forgotten.run_id], []]
    assert failures == [["The process is gone."] * n for n in (2, 1, 1)]
