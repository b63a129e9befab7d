"""Tasks with training sizes and noise levels of their own, and studies without any."""

from pathlib import Path
from typing import Any

import pytest

from nsl_assets.errors import InputError, StudyError
from nsl_assets.grid import require_enough_cells
from nsl_assets.identity import cell_hashes
from nsl_assets.study import GridCell, Study, load_project, parse_project, save_study

STUDY = {
    "sizes": [100, 200],
    "n_seeds": 2,
    "tasks": {
        "wide": {"kind": "simulated_cells", "n_cells": 500},
        "deep": {"kind": "simulated_cells", "n_cells": 400},
    },
    "models": {"pca": {"kind": "pca"}, "oracle": {"kind": "oracle"}},
    "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.1]},
}
DEEP = {"deep": {"sizes": [90, 60, 30], "levels": [0.2, 0.4]}}


def study_with(grids: dict[str, Any]) -> Study:
    return parse_project({"studies": {"s": {**STUDY, "grids": grids}}}).study("s")


def test_a_task_has_its_own_sizes_and_levels_and_the_others_those_of_the_study() -> None:
    study = study_with(DEEP)
    assert (study.task_sizes("deep"), study.levels_of("deep")) == ((30, 60, 90), (0.4, 0.2))
    assert (study.task_sizes("wide"), study.levels_of("wide")) == ((100, 200), (1.0, 0.1))
    assert study.sizes_of("deep", "oracle") == (90,)
    points = {(cell.task, cell.n_cells, cell.level) for cell in study.cells() if cell.model == "pca"}
    assert points == {("wide", n, q) for n in (100, 200) for q in (1.0, 0.1)} | {
        ("deep", n, q) for n in (30, 60, 90) for q in (0.4, 0.2)
    }


def test_what_a_grid_leaves_out_is_the_studys() -> None:
    assert study_with({"deep": {"sizes": [30]}}).levels_of("deep") == (1.0, 0.1)
    assert study_with({"deep": {"levels": [0.5]}}).task_sizes("deep") == (100, 200)


def test_the_untrained_baseline_is_at_the_deepest_level_and_largest_size_of_the_task() -> None:
    study = study_with(DEEP)
    measured = {(c.task, c.n_cells, c.level) for c in study.cells() if cell_hashes(study, c).untrained is not None}
    assert measured == {("wide", 200, 1.0), ("deep", 90, 0.4)}


def test_a_task_is_asked_for_its_own_largest_size() -> None:
    require_enough_cells(study_with(DEEP), "deep", 90)
    with pytest.raises(InputError, match="90 training cells"):
        require_enough_cells(study_with(DEEP), "deep", 89)


@pytest.mark.parametrize(
    ("grids", "named"),
    [
        ({"depe": {"sizes": [30]}}, ["grids.depe", "wide, deep"]),
        ({"deep": {"sizes": [1]}}, ["grids.deep.sizes", "at least 2"]),
        ({"deep": {"sizes": []}}, ["grids.deep.sizes", "at least 1"]),
        ({"deep": {"levels": [1.5]}}, ["grids.deep.levels", "1.5"]),
        ({"deep": {"levels": [0.5, 0.5]}}, ["grids.deep.levels", "more than once"]),
        ({"deep": {"level": [0.5]}}, ["grids.deep.level"]),
    ],
)
def test_a_mistake_names_task_field_and_what_is_allowed(grids: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(StudyError) as error:
        study_with(grids)
    for part in named:
        assert part in str(error.value)


def test_grids_change_no_hash_of_a_cell_that_both_studies_have() -> None:
    plain, other = study_with({}), study_with({"wide": {"sizes": [50, 200]}, "deep": {"levels": [1.0, 0.05]}})
    cells = [
        GridCell(task="wide", model="pca", n_cells=200, level=0.1, seed=1),
        GridCell(task="wide", model="pca", n_cells=200, level=1.0, seed=0),
        GridCell(task="deep", model="oracle", n_cells=200, level=1.0, seed=0),
    ]
    for cell in cells:
        assert cell_hashes(plain, cell) == cell_hashes(other, cell)


def test_a_saved_study_keeps_its_grids(tmp_path: Path) -> None:
    save_study("mine", {**STUDY, "grids": DEEP}, tmp_path)
    (tmp_path / "dagster_project.toml").write_text("")
    assert load_project(tmp_path, tmp_path).study("mine") == study_with(DEEP)
