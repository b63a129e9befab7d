"""Public data sets that tasks of a study need and that are not here yet: which, and what to do about it."""

from collections.abc import Iterable, Mapping

from nsl_assets.datasets import Place, place_of_file
from nsl_assets.errors import InputError
from nsl_assets.study import Study, data_root
from nsl_assets.tasks import FileTask, Finding, TaskSettings, inspect


def missing_data(task: TaskSettings) -> Place | None:
    """The public data set that a task needs and that is not here; None where there is nothing to fetch."""
    if not isinstance(task, FileTask) or task.path.exists():
        return None
    return place_of_file(task.path, data_root())


def missing_data_sets(study: Study) -> Mapping[str, Place]:
    """By task: the public data set that it needs and that is not here. No file is opened."""
    found = {name: missing_data(task) for name, task in study.tasks.items()}
    return {name: where for name, where in found.items() if where is not None}


def missing_text(where: Place) -> str:
    """That a data set is not here, and what to do."""
    return f"the public data set {where.data_set.name} is not here ({where.path}). {where.advice()}"


def findings(task: TaskSettings) -> list[Finding]:
    """All findings about a task before it runs; how to get its data set where that is not here."""
    missing = missing_data(task)
    return inspect(task) if missing is None else [Finding("error", "file", missing_text(missing))]


def require_data_sets(study: Study, tasks: Iterable[str] | None = None) -> None:
    """InputError, saying how to get them, where public data sets of these tasks (None: of all) are not here."""
    asked = set(study.tasks if tasks is None else tasks)
    missing = [
        f"task '{task}': {missing_text(where)}" for task, where in missing_data_sets(study).items() if task in asked
    ]
    if missing:
        raise InputError("\n".join(missing))
