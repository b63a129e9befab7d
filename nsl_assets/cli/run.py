"""`nsl run` and `nsl plan`: the same assets as in the UI, on the same Dagster instance, in this process."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nsl_assets import models
from nsl_assets.cli.derive import Request, derive, require_free_name
from nsl_assets.cli.instance import init_instance
from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.errors import InputError
from nsl_assets.estimate import StudyCost, study_cost
from nsl_assets.grid import Platform, require_enough_cells
from nsl_assets.launching import require_launchable, require_room
from nsl_assets.progress import Progress, duration
from nsl_assets.public_data import missing_data_sets, missing_text, require_data_sets
from nsl_assets.study import Project, Study, load_project, parse_project, save_study, storage_root
from nsl_assets.tasks import inspect, outline
from nsl_resources.artifacts import Artifacts
from nsl_resources.results import Results

MADE_BY = "Made by nsl run --h5ad"
HEADER = f"""{MADE_BY}, which writes it anew: to edit it, copy it under another name.
Lines that are commented out are defaults."""
SLOW_CELL_S = 600.0
"""From this time for one cell of the grid on, a smaller budget is pointed out."""
FORMULA = {"cpu": "formula", "gpu": "formula of a CPU"}


def plan_only(study: str | None, request: Request | None, *, as_json: bool) -> None:
    """Check the data, price the study, print it. Nothing is written."""
    name, project = _project_with(study, request)
    missing = missing_data_sets(project.study(name))
    tasks = [task for task in project.study(name).tasks if task not in missing]
    if not tasks:
        require_data_sets(project.study(name))
    warnings = _checked(project.study(name), tasks)
    cost = _cost(name, project, tasks)
    if as_json:
        unpriced = {task: where.command for task, where in missing.items()}
        models = [asdict(model) for model in cost.models]
        show_json({"study": name, **_summary(cost), "models": models, "not_priced": unpriced, "warnings": warnings})
    else:
        show("\n".join([_plan_text(name, project.study(name), cost, tasks), *(f"warning: {one}" for one in warnings)]))
        for task, where in missing.items():
            show(f"task '{task}' is not priced: {missing_text(where)}")


def run_study(study: str | None, request: Request | None, *, as_json: bool) -> int:
    """Run what is missing of a study; print the law table. 1 where a cell of the grid failed."""
    if request is not None:
        project = load_project()
        name, content = derive(request, project)
        require_free_name(name, content, project, made_by=MADE_BY)
        _require_storage()
        save_study(name, content, storage_root(), header=HEADER)
    else:
        name = _named(study, load_project())
        _require_storage()
    project = load_project()
    require_data_sets(project.study(name))
    tasks = list(project.study(name).tasks)
    warnings = _checked(project.study(name), tasks)
    cost = _cost(name, project, tasks)
    require_launchable(cost, project.machine, Artifacts(storage_root()))
    progress = Progress.on_stderr()
    for warning in warnings:
        progress.say(f"warning: {warning}")
    _announce(name, project.study(name), cost, progress)
    init_instance()
    from nsl_assets.cli.execution import execute_study

    failures = execute_study(name, project, progress)
    _show_result(name, project.study(name), failures, as_json=as_json)
    return 1 if failures else 0


def platform_of(project: Project) -> Platform:
    """Storage and workers of this machine, for commands that do not go through Dagster."""
    root, machine = storage_root(), project.machine
    return Platform(Artifacts(root), Results(root), machine.dispatcher_choice().make(root), machine)


def _project_with(study: str | None, request: Request | None) -> tuple[str, Project]:
    """The project, with the study for the user's file added in memory where one is asked for."""
    project = load_project()
    if request is None:
        return _named(study, project), project
    name, content = derive(request, project)
    require_free_name(name, content, project, made_by=MADE_BY)
    derived = parse_project({"studies": {name: content}}).studies[name]
    return name, project.model_copy(update={"studies": {**project.studies, name: derived}})


def _named(study: str | None, project: Project) -> str:
    if study is None:
        raise InputError(f"name a study ({', '.join(sorted(project.studies))}), or give --h5ad FILE --auxiliary KEY.")
    project.study(study)
    return study


def _checked(study: Study, tasks: Sequence[str]) -> list[str]:
    """What should be known about the tasks before anything runs. InputError with everything that cannot be used."""
    found = [(task, finding) for task in tasks for finding in inspect(study.tasks[task])]
    said = {
        level: [f"task '{task}': {finding.message}" for task, finding in found if finding.level == level]
        for level in ("error", "warning")
    }
    if said["error"]:
        raise InputError("\n".join(said["error"]))
    return said["warning"]


def _cost(name: str, project: Project, tasks: Sequence[str]) -> StudyCost:
    """Cost of some tasks of a study. InputError where they cannot run on this machine."""
    study = project.study(name)
    for task in tasks:
        require_enough_cells(study, task, outline(study.tasks[task]).n_train_pool)
    cost = study_cost(name, study, platform_of(project), tasks)
    require_room(cost, project.machine)
    return cost


def _require_storage() -> None:
    Artifacts(storage_root()).require_writable()


def _announce(name: str, study: Study, cost: StudyCost, progress: Progress) -> None:
    stored = cost.n_grid_cells - cost.n_left
    progress.say(
        f"study {name}: {cost.n_grid_cells} cells of the grid, {stored} stored already, {cost.n_left} to compute,"
        f" {duration(cost.seconds)} with {cost.n_workers} workers"
    )
    if hint := _budget_hint(study, cost):
        progress.say(hint)


def _budget_hint(study: Study, cost: StudyCost) -> str:
    """What to do about models that train with the paper's budget on a CPU; empty where there is none."""
    slow = [
        model.model
        for model in cost.models
        if model.device == "cpu"
        and model.seconds_a_cell > SLOW_CELL_S
        and models.budget(study.models[model.model]) == "paper"
    ]
    if not slow:
        return ""
    return (
        f"{', '.join(slow)}: trained with the paper's budget, which is meant for a GPU. On this CPU take the budget"
        ' `quick`: --budget quick for a study of a file, or budget = "quick" of the model in the study.'
    )


def _summary(cost: StudyCost) -> dict[str, Any]:
    return {
        "n_grid_cells": cost.n_grid_cells,
        "n_left": cost.n_left,
        "seconds": cost.seconds,
        "n_workers": cost.n_workers,
        "memory_mib": cost.memory_mib,
        "disk_mib": cost.disk_mib,
    }


def _plan_text(name: str, study: Study, cost: StudyCost, tasks: Sequence[str]) -> str:
    rows = [
        {
            "task": model.task,
            "model": model.model,
            "grid cells": model.n_grid_cells,
            "left": model.n_left,
            "s a cell": model.seconds_a_cell,
            "known from": "earlier runs" if model.is_recorded else FORMULA[model.device],
            "on": model.device,
            "workers": model.n_workers,
            "MiB a worker": model.memory_mib,
        }
        for model in cost.models
    ]
    return (
        f"study {name}: {_grid_text(study, tasks)}\n{table(rows)}\n"
        f"{cost.n_left} of {cost.n_grid_cells} cells of the grid to compute: {duration(cost.seconds)} with"
        f" {cost.n_workers} workers, {cost.memory_mib:,.0f} MiB of memory, {cost.disk_mib:,.0f} MiB of disk"
        f"{_crossed_text(study, tasks)}\n{_budget_hint(study, cost)}".rstrip()
    )


def _grid_text(study: Study, tasks: Sequence[str]) -> str:
    """How large the grid of these tasks is; task by task where they differ in that."""
    by_task = {
        task: f"{len(study.task_sizes(task))} training sizes × {len(study.levels_of(task))} noise levels"
        f" × {study.n_seeds} seeds"
        for task in tasks
    }
    if len(set(by_task.values())) == 1:
        return f"{next(iter(by_task.values()))}{' for each task' * (len(by_task) > 1)}"
    return ", ".join(f"{task}: {grid}" for task, grid in by_task.items())


def _crossed_text(study: Study, tasks: Sequence[str]) -> str:
    """How much is probed at other noise levels than that of training; empty where nothing is."""
    n_crossed = sum(len(study.probe_levels_of(cell)) for cell in study.cells() if cell.task in tasks)
    return f"\nprobed at other levels than those of training: {n_crossed} measurements in all" if n_crossed else ""


def _show_result(name: str, study: Study, failures: list[str], *, as_json: bool) -> None:
    from nsl_assets.curve_bias import study_bias
    from nsl_assets.report import PAGE_NAME
    from nsl_assets.reporting import bias_records, headline_curves, law_records, report_folder, report_summary

    results = Results(storage_root())
    if as_json:
        curves = headline_curves(results, name, study)
        biases = bias_records(study_bias(results, name, study))
        show_json({"study": name, "laws": law_records(name, curves), "calibration": biases, "failures": failures})
    else:
        laws, warning = report_summary(results, name, study)
        page = report_folder(results, name) / PAGE_NAME  # the asset `report` wrote it
        show(f"{laws}\n")
        show(f'report:   {page}\nresults:  {results.public_path}   (nsl sql "…")\nUI:       make ui')
        if warning:
            show_error(f"warning: {warning}. See {page}, section Calibration.")
    for failure in failures:
        show_error(failure)
