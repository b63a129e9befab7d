"""Materializes the assets of a study in this process, step by step, on the instance that the UI shows."""

import dagster as dg

from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.defs.checks import checks_job_name
from nsl_assets.defs.sensors import failure_text
from nsl_assets.noise import level_key
from nsl_assets.progress import Progress
from nsl_assets.study import Project, Study

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def execute_study(name: str, project: Project, progress: Progress) -> list[str]:
    """Run every step of a study; what fails stops what depends on it, and nothing else. Returns the failures."""
    study = project.study(name)
    progress.begin_overall(sum(1 for _ in study.cells()))
    definitions = build_definitions(project, resource_overrides={"progress": progress})
    with dg.DagsterInstance.get() as instance:
        return _Execution(name, study, definitions, instance).run()


class _Execution:
    def __init__(self, name: str, study: Study, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.name, self.study, self.instance = name, study, instance
        self.job = definitions.resolve_implicit_global_asset_job_def()
        self.checks = definitions.resolve_job_def(checks_job_name(name))
        self.failures: list[str] = []

    def run(self) -> list[str]:
        for task in self.study.tasks:
            self._task(keys.TaskKeys(self.name, task))
        self._materialize([keys.RESULTS, keys.report_key(self.name)])
        self._check()
        return self.failures

    def _task(self, of_task: keys.TaskKeys) -> None:
        levels = sorted(level_key(level) for level in self.study.levels_of(of_task.task))
        if not self._materialize([of_task.source]) or not self._materialize([of_task.noised], levels):
            return
        for model in self.study.models:
            sizes = self.study.sizes_of(of_task.task, model)
            grid = [of_task.of_model(model, asset) for asset in keys.GRID_ASSETS]
            corners = [f"{keys.size_key(sizes[0])}|{levels[0]}", f"{keys.size_key(sizes[-1])}|{levels[-1]}"]
            self._materialize(grid, corners)
            self._laws(of_task, model, levels)
        if len(self.study.models) > 1:
            self._materialize([of_task.model_comparison])
        self._materialize([of_task.advice])

    def _laws(self, of_task: keys.TaskKeys, model: str, levels: list[str]) -> None:
        sizes = [keys.size_key(n_cells) for n_cells in self.study.sizes_of(of_task.task, model)]
        partitions: dict[str, list[str] | None] = {"noise_law": sizes, "cell_number_law": levels, "joint_law": None}
        for law in keys.law_names(self.study, of_task.task, model):
            self._materialize([of_task.of_model(model, law)], partitions[law])

    def _materialize(self, assets: list[dg.AssetKey], partitions: list[str] | None = None) -> bool:
        """One Dagster run over a range of partitions. What is stored already costs its assets next to nothing."""
        tags = {} if partitions is None else {keys.RANGE_START: partitions[0], keys.RANGE_END: partitions[-1]}
        job = self.job.get_subset(asset_selection=set(assets), asset_check_selection=set())
        return bool(self._execute(job, tags).success)

    def _check(self) -> None:
        """All checks in one run; those that fail as errors are failures of the study."""
        for checked in self._execute(self.checks, {}).get_asset_check_evaluations():
            if not checked.passed and checked.severity == dg.AssetCheckSeverity.ERROR:
                name = f"{checked.asset_key.to_user_string()}: {checked.check_name}"
                self.failures.append(f"check {name} failed: {checked.description or 'see the UI'}")

    def _execute(self, job: dg.JobDefinition, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        result = job.execute_in_process(
            instance=self.instance,
            tags={"nsl/study": self.name, **tags},
            run_config=QUIET,
            raise_on_error=False,
        )
        failed = [event for event in result.all_events if event.is_step_failure]
        if any(_is_interruption(event) for event in failed):
            # Dagster turns SIGINT and SIGTERM into a failed step; the user meant all of it.
            raise KeyboardInterrupt
        self.failures += [failure_text(event) for event in failed]
        return result


def _is_interruption(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == dg.DagsterExecutionInterruptedError.__name__
