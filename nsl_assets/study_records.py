"""What a study's runs and stored data say beside the measurements: training, split, versions."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from nsl_assets import laws, noise, probing, report, tasks
from nsl_assets.errors import NslError
from nsl_assets.grid import stored_task
from nsl_assets.report import Leakage, Provenance, Training
from nsl_assets.study import Study, definition_text
from nsl_assets.tasks import Task
from nsl_resources.artifacts import Artifacts
from nsl_resources.results import Results

TRAINED = """
select task, model, n_cells, level, seed,
    arg_max(losses, finished_at) filter (losses is not null) as losses,
    arg_max(n_parameters, finished_at) filter (n_parameters is not null) as n_parameters,
    arg_max(training_seconds, finished_at) filter (training_seconds is not null) as seconds,
    sum(cpu_seconds) as cpu_seconds, max(peak_memory_mib) as peak_memory_mib,
    coalesce(arg_max(device, finished_at) filter (device is not null), '') as device,
    coalesce(arg_max(stop_reason, finished_at) filter (stop_reason is not null), '') as stop_reason
from run where study = ? and status <> 'failed'
group by task, model, n_cells, level, seed order by task, model, n_cells, level desc, seed
"""
VERSIONS = "select distinct library_versions from run where study = ? and status <> 'failed'"


def training_records(results: Results, name: str, study: Study) -> list[Training]:
    """Every trained cell of the grid that the study asks for as it stands now; attempts are taken together."""
    wanted = {(cell.task, cell.model, cell.n_cells, cell.level, cell.seed) for cell in study.cells()}
    return [
        Training(**{**row, "losses": _losses(row["losses"])})
        for row in _rows(results, TRAINED, name)
        if (row["task"], row["model"], row["n_cells"], row["level"], row["seed"]) in wanted
    ]


def _losses(stored: str | None) -> Mapping[str, Sequence[float]]:
    return json.loads(stored) if stored else {}


def leakage_records(results: Results, study: Study) -> list[Leakage]:
    """What probe cells share with the cells that models see; tasks whose data are not in storage have none."""
    artifacts = Artifacts(results.root)
    return [
        _leakage(task, opened)
        for task, settings in study.tasks.items()
        if (opened := _opened(settings, artifacts)) is not None
    ]


def _opened(settings: tasks.TaskSettings, artifacts: Artifacts) -> Task | None:
    try:
        return stored_task(settings, artifacts)
    except (NslError, OSError):
        # The user's file may have moved, or the artifacts may have been deleted: the report says that it cannot check.
        return None


def _leakage(name: str, task: Task) -> Leakage:
    shared = tasks.leakage(task, task.pairs(0, 1.0))
    return Leakage(
        task=name,
        n_shared_cells=shared.n_shared_cells,
        n_shared_groups=shared.n_shared_groups,
        n_shared_partners=shared.n_shared_partners,
        n_train_pool_cells=task.n_train_pool,
        n_validation_cells=len(task.validation_rows()),
        n_probe_cells=len(task.probe_rows()),
    )


def provenance(results: Results, name: str, study: Study) -> Provenance:
    """Definition, seeds, and the versions of code and libraries that its numbers came from."""
    found: dict[str, set[str]] = {}
    for row in _rows(results, VERSIONS, name):
        for library, version in json.loads(row["library_versions"] or "{}").items():
            found.setdefault(library, set()).add(str(version))
    rooms = {"tasks": tasks, "noise": noise, "probing": probing, "laws": laws, "report": report}
    return Provenance(
        definition=definition_text(study),
        seeds=tuple(study.seeds),
        code_versions={room: module.CODE_VERSION for room, module in rooms.items()},
        library_versions={library: ", ".join(sorted(versions)) for library, versions in sorted(found.items())},
    )


def _rows(results: Results, query: str, name: str) -> list[dict[str, Any]]:
    results.publish()
    with results.connect() as database:
        found = database.execute(query, [name])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
