"""The certificate of a measurement sees faults of the split, of the pairing and of what is handed to models."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nsl_assets.tasks import (
    PROBE,
    TRAIN,
    VALIDATION,
    ClonalPairs,
    H5adTask,
    SpatialPairs,
    Task,
    TaskSettings,
    cell_plan,
    leakage,
)
from nsl_assets.tasks.neighbourhood import nearest_cells

Make = Callable[..., Path]
Opened = Callable[[TaskSettings], Task]


@pytest.fixture
def clonal(clonal_h5ad: Make) -> ClonalPairs:
    return ClonalPairs(
        path=clonal_h5ad(), clone="obs:clone", time="obs:day", early=("2",), late=("6",), n_reference_components=2
    )


@pytest.fixture
def spatial(spatial_h5ad: Make) -> SpatialPairs:
    return SpatialPairs(path=spatial_h5ad(), n_blocks=24, n_reference_components=2)


@pytest.fixture
def donors(small_h5ad: Path) -> H5adTask:
    return H5adTask(path=small_h5ad, auxiliary="obs:cell_type", group="donor")


def split_cell_by_cell(first: Any, *_others: Any) -> np.ndarray:
    """A split that forgets groups."""
    return np.random.default_rng(0).choice(np.array([TRAIN, VALIDATION, PROBE], np.int8), len(first), p=[0.5, 0.2, 0.3])


@pytest.mark.parametrize("kind", ["clonal", "spatial", "donors"])
def test_a_split_through_groups_is_seen(
    kind: str, opened: Opened, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    settings = request.getfixturevalue(kind)
    sound = opened(settings)
    assert leakage(sound, sound.pairs(0, 1.0)).is_clean
    monkeypatch.setattr(cell_plan, "split_cells", split_cell_by_cell)
    monkeypatch.setattr(cell_plan, "split_around_probe", split_cell_by_cell)
    faulty = opened(settings)
    shared = leakage(faulty, faulty.pairs(0, 1.0))
    assert shared.n_shared_groups is not None
    assert shared.n_shared_groups > 0
    assert not shared.is_clean


def test_partners_from_the_train_pool_are_seen(spatial: SpatialPairs, opened: Opened, monkeypatch: pytest.MonkeyPatch):
    def among_all_cells(file: Any, settings: SpatialPairs, plan: Any) -> np.ndarray:
        places = cell_plan.read_coordinates(file, settings)
        return nearest_cells(places, np.zeros(len(places)), plan.names, settings.n_neighbours)

    monkeypatch.setattr(cell_plan, "probed_neighbours", among_all_cells)
    faulty = opened(spatial)
    shared = leakage(faulty, faulty.pairs(0, 1.0))
    assert shared.n_shared_cells == 0
    assert shared.n_shared_partners is not None
    assert shared.n_shared_partners > 0


@pytest.mark.parametrize("handed_out", ["train_rows", "validation_rows"])
def test_probed_cells_that_are_handed_to_models_are_seen(
    handed_out: str, donors: H5adTask, opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    task = opened(donors)
    monkeypatch.setattr(Task, handed_out, lambda self, *_asked, **_named: np.arange(len(self.role) // 2))
    shared = leakage(task, task.pairs(0, 1.0))
    assert shared.n_shared_cells == (task.role[: len(task.role) // 2] == PROBE).sum() > 0


def test_a_cell_that_occurs_twice_is_seen(donors: H5adTask, opened: Opened):
    task = opened(donors)
    names = task.cell_names.copy()
    names[np.flatnonzero(task.role == PROBE)[0]] = names[np.flatnonzero(task.role == TRAIN)[0]]
    doubled = replace(task, cell_names=names)
    assert leakage(doubled, doubled.pairs(0, 1.0)).n_shared_cells == 1
