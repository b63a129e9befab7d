"""`nsl status`: what is done, what failed and why, what is left, and how long it will take."""

from collections.abc import Mapping
from typing import Any

from nsl_assets.cli.output import show, show_json, table
from nsl_assets.cli.run import platform_of
from nsl_assets.errors import NslError
from nsl_assets.estimate import study_cost
from nsl_assets.grid import Platform
from nsl_assets.progress import duration
from nsl_assets.public_data import missing_data_sets
from nsl_assets.study import Project, load_project

FAILED = """
select task, model, n_cells, level, seed, reason, n_attempts from failed_run where study = $study
order by task, model, n_cells, level desc, seed
"""


def show_status(study: str | None, *, as_json: bool) -> None:
    """Print the state of one study, or of all."""
    project = load_project()
    names = [study] if study is not None else sorted(project.studies)
    states = [_state(name, project, platform_of(project)) for name in names]
    if as_json:
        show_json(states)
        return
    shown = ("study", "grid_cells", "done", "failed", "left", "eta", "note")
    show(table([{key: state[key] for key in shown} for state in states]))
    for state in states:
        for failure in state["failures"]:
            tried = f"tried {failure['n_attempts']} time{'s' * (failure['n_attempts'] > 1)}"
            show(f"failed: {state['study']} {_cell_text(failure)} ({tried}): {failure['reason']}")


def _state(name: str, project: Project, platform: Platform) -> dict[str, Any]:
    study = project.study(name)
    platform.results.publish()
    failures = _failures(name, platform)
    n_cells = sum(1 for _ in study.cells())
    state = {"study": name, "grid_cells": n_cells, "failed": len(failures), "failures": failures}
    missing = missing_data_sets(study)
    note = f"data not here: {', '.join(where.command for where in missing.values())}" if missing else ""
    here = [task for task in study.tasks if task not in missing]
    if not here:
        return {**state, "done": None, "left": None, "eta_s": None, "eta": "unknown", "note": note}
    try:
        cost = study_cost(name, study, platform, here)
    except NslError as error:
        # The data of one study may be gone (moved file); the others still have a state.
        return {**state, "done": None, "left": None, "eta_s": None, "eta": "unknown", "note": str(error)}
    eta = duration(cost.seconds) if cost.n_left or missing else "done"
    return {
        **state,
        "done": cost.n_grid_cells - cost.n_left,
        "left": cost.n_left,
        "eta_s": cost.seconds,
        "eta": eta,
        "note": note,
    }


def _failures(name: str, platform: Platform) -> list[dict[str, Any]]:
    with platform.results.connect() as database:
        found = database.execute(FAILED, {"study": name})
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _cell_text(failure: Mapping[str, Any]) -> str:
    return "{task} {model} n={n_cells} q={level:g} seed={seed}".format(**failure)
