"""A study whose tasks have grids of their own, from its plan to its report; workers run in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nsl_assets.cli import main
from nsl_assets.defs import keys
from nsl_assets.defs.build import build_definitions
from nsl_assets.study import load_project
from nsl_resources.resources import WorkersResource
from nsl_resources.results import Results

from .small_studies import InThisProcess

Nsl = Callable[..., tuple[int, str, str]]
SHARED = """
[studies.{name}]
sizes = [60, 90]
n_seeds = 1
untrained_baseline = "none"
[studies.{name}.models.pca]
kind = "pca"
n_components = 4
[studies.{name}.noise]
kind = "binomial_thinning"
levels = [1.0, 0.3]
[studies.{name}.probing]
estimators = ["gaussian_copula"]
"""
TASK = '[studies.{name}.tasks.{task}]\nkind = "h5ad"\npath = "cells.h5ad"\nauxiliary = "{auxiliary}"\n'
AUXILIARY = {"plain": "obs:age", "own": "obsm:protein"}
GRID = "[studies.{name}.grids.{task}]\nsizes = {sizes}\nlevels = {levels}\n"
SIZES, LEVELS = [40, 70, 100, 130], [0.8, 0.5, 0.2]


def study_text(name: str, tasks: list[str], own: str = "") -> str:
    described = [TASK.format(name=name, task=task, auxiliary=AUXILIARY[task]) for task in tasks]
    grid = GRID.format(name=name, task=own, sizes=SIZES, levels=LEVELS) if own else ""
    return "".join([SHARED.format(name=name), *described, grid])


@pytest.fixture
def nsl(
    storage: Path,
    tmp_path: Path,
    small_h5ad: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Nsl:
    """Runs the command line on a study `two` of two tasks, one of them with a grid of its own."""
    assert small_h5ad.name == "cells.h5ad"
    (tmp_path / "dagster_project.toml").write_text(study_text("two", ["plain", "own"], own="own"))
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.setattr(WorkersResource, "dispatcher", lambda _: InThisProcess(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def partitions_of(graph: Any, *path: str) -> set[str]:
    definition = graph.get(dg.AssetKey(path)).partitions_def
    assert definition is not None
    return set(definition.get_partition_keys())


def test_assets_have_the_partitions_and_laws_of_their_task(nsl: Nsl) -> None:
    graph = build_definitions(load_project()).resolve_asset_graph()
    for task, sizes, levels in (("plain", [60, 90], [1.0, 0.3]), ("own", SIZES, LEVELS)):
        grid = {str(keys.grid_key(n, q)) for n in sizes for q in levels}
        assert partitions_of(graph, "two", task, "noised") == {keys.level_key(q) for q in levels}
        assert partitions_of(graph, "two", task, "pca", "trained") == grid
        assert partitions_of(graph, "two", task, "pca", "mutual_information") == grid
        assert partitions_of(graph, "two", task, "pca", "noise_law") == {keys.size_key(n) for n in sizes}
    # Four training sizes are enough for a cell-number law, two are not.
    assert partitions_of(graph, "two", "own", "pca", "cell_number_law") == {keys.level_key(q) for q in LEVELS}
    assert not graph.has(dg.AssetKey(["two", "plain", "pca", "cell_number_law"]))


def test_a_grid_that_says_what_the_study_says_changes_no_key_and_no_partition(nsl: Nsl, tmp_path: Path) -> None:
    def partitions(text: str) -> dict[dg.AssetKey, list[str] | None]:
        (tmp_path / "dagster_project.toml").write_text(text)
        specs = build_definitions(load_project()).resolve_all_asset_specs()
        return {
            spec.key: None if spec.partitions_def is None else list(spec.partitions_def.get_partition_keys())
            for spec in specs
        }

    plain = study_text("one", ["plain"])
    same = GRID.format(name="one", task="plain", sizes=[90, 60], levels=[0.3, 1.0])
    assert partitions(plain) == partitions(plain + same)


def test_plan_prices_each_task_on_its_own_grid(nsl: Nsl) -> None:
    code, out, _ = nsl("plan", "two")
    assert code == 0
    assert "plain: 2 training sizes × 2 noise levels × 1 seeds" in out
    assert "own: 4 training sizes × 3 noise levels × 1 seeds" in out
    plan = json.loads(nsl("plan", "two", "--json")[1])
    assert {model["task"]: model["n_grid_cells"] for model in plan["models"]} == {"plain": 4, "own": 12}


@pytest.mark.slow
def test_it_runs_to_its_report(nsl: Nsl, storage: Path) -> None:
    code, out, err = nsl("run", "two")
    assert code == 0, err
    assert "own" in out and "plain" in out
    (state,) = json.loads(nsl("status", "two", "--json")[1])
    assert (state["grid_cells"], state["done"], state["left"], state["eta"]) == (16, 16, 0, "done")
    assert (storage / "reports" / "two" / "report.html").is_file()
    with dg.DagsterInstance.get() as instance:
        laws = instance.get_materialized_partitions(dg.AssetKey(["two", "own", "pca", "cell_number_law"]))
    assert laws == {keys.level_key(q) for q in LEVELS}
    results = Results(storage)
    assert results.query("select distinct n_cells from noise_law where task = 'own' order by all") == [
        {"n_cells": n} for n in SIZES
    ]
