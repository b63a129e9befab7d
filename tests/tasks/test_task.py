"""A task as the other rooms see it: written, opened, and identified by content."""

import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
from pydantic import TypeAdapter

from nsl_assets.errors import InputError, StorageError
from nsl_assets.tasks import (
    H5adTask,
    SimulatedCells,
    Task,
    TaskSettings,
    auxiliary_identity,
    data_identity,
    open_task,
    write_auxiliary,
    write_data,
)


def opened(settings: H5adTask | SimulatedCells, folder: Path) -> Task:
    for part in ("data", "auxiliary"):
        (folder / part).mkdir(parents=True)
    write_data(settings, folder / "data")
    write_auxiliary(settings, folder / "auxiliary")
    return open_task(folder / "data", folder / "auxiliary")


def test_a_file_becomes_a_task(small_h5ad: Path, tmp_path: Path) -> None:
    task = opened(H5adTask(path=small_h5ad, auxiliary="obs:cell_type", group="donor"), tmp_path / "task")
    adata = anndata.read_h5ad(small_h5ad)
    np.testing.assert_array_equal(task.counts.rows(0, 400).toarray(), adata.X.toarray())
    assert task.cell_names.tolist() == adata.obs_names.tolist()
    assert task.gene_names.tolist() == adata.var_names.tolist()
    assert task.group is not None
    rows = [task.train_rows(task.n_train_pool, 0), task.validation_rows(), task.probe_rows()]
    assert sorted(np.concatenate(rows).tolist()) == list(range(400))
    groups = [set(task.group[some].tolist()) for some in rows]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8


def test_training_cells_are_nested_and_follow_identity(small_h5ad: Path, tmp_path: Path) -> None:
    settings = H5adTask(path=small_h5ad, auxiliary="obs:cell_type")
    task = opened(settings, tmp_path / "one")
    adata = anndata.read_h5ad(small_h5ad)
    adata[np.random.default_rng(0).permutation(400)].copy().write_h5ad(small_h5ad)
    shuffled = opened(settings, tmp_path / "two")
    for seed in (0, 1):
        small, large = task.train_rows(50, seed), task.train_rows(120, seed)
        assert set(small) < set(large)
        again = shuffled.cell_names[shuffled.train_rows(50, seed)]
        assert set(task.cell_names[small]) == set(again)
    assert set(task.train_rows(50, 0)) != set(task.train_rows(50, 1))


def test_more_cells_than_the_pool_has_are_refused(small_h5ad: Path, tmp_path: Path) -> None:
    task = opened(H5adTask(path=small_h5ad, auxiliary="obs:cell_type"), tmp_path / "task")
    with pytest.raises(InputError, match="241 training cells were asked for; the train pool has 240 of the 400"):
        task.train_rows(241, 0)


def test_a_selection_of_cells_keeps_their_auxiliary(small_h5ad: Path, tmp_path: Path) -> None:
    settings = H5adTask(path=small_h5ad, auxiliary="obs:cell_type", max_cells=150)
    task = opened(settings, tmp_path / "task")
    expected = anndata.read_h5ad(small_h5ad)[task.cell_names.astype(str)]
    assert task.counts.shape == (150, 60)
    np.testing.assert_array_equal(task.counts.rows(0, 150).toarray(), expected.X.toarray())
    labels = np.array(task.auxiliary.names)[task.auxiliary.values]
    np.testing.assert_array_equal(labels, expected.obs["cell_type"].to_numpy())


def test_the_auxiliary_of_other_cells_is_refused(small_h5ad: Path, tmp_path: Path) -> None:
    opened(H5adTask(path=small_h5ad, auxiliary="obs:cell_type"), tmp_path / "one")
    opened(SimulatedCells(n_cells=100), tmp_path / "two")
    with pytest.raises(StorageError, match="no auxiliary of cell 'cell0'"):
        open_task(tmp_path / "one" / "data", tmp_path / "two" / "auxiliary")


def test_simulated_cells_know_their_answer(tmp_path: Path) -> None:
    task = opened(SimulatedCells(n_cells=600, n_genes=50), tmp_path / "task")
    assert task.simulation is not None
    estimate = task.simulation.posterior_mean(task.cells(task.probe_rows()).read())
    auxiliary = task.auxiliary.values[task.probe_rows()]
    for column in range(2):
        assert np.corrcoef(estimate[:, column], auxiliary[:, column])[0, 1] > 0.8


def test_identity_is_the_content_and_not_the_path(small_h5ad: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5ad"
    copy.write_bytes(small_h5ad.read_bytes())
    first, second = (H5adTask(path=path, auxiliary="obs:age") for path in (small_h5ad, copy))
    assert data_identity(first) == data_identity(second)
    assert auxiliary_identity(first) == auxiliary_identity(second)
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert data_identity(first) != data_identity(second)


@pytest.mark.parametrize(
    ("change", "data_changes", "auxiliary_changes"),
    [
        ({"auxiliary": "obs:cell_type"}, False, True),
        ({"auxiliary_transform": "none"}, False, True),
        ({"split_seed": 1}, True, False),
        ({"group": "donor"}, True, False),
        ({"layer": "normalised"}, True, False),
    ],
)
def test_each_setting_decides_its_part(
    small_h5ad: Path, change: dict[str, object], data_changes: bool, auxiliary_changes: bool
) -> None:
    base = H5adTask(path=small_h5ad, auxiliary="obs:age")
    other = base.model_copy(update=change)
    assert (data_identity(base) != data_identity(other)) is data_changes
    assert (auxiliary_identity(base) != auxiliary_identity(other)) is auxiliary_changes


def test_a_kind_chooses_the_settings() -> None:
    adapter: TypeAdapter[H5adTask | SimulatedCells] = TypeAdapter(TaskSettings)
    assert isinstance(adapter.validate_python({"kind": "simulated_cells"}), SimulatedCells)
    with pytest.raises(ValueError, match="n_cell"):
        adapter.validate_python({"kind": "simulated_cells", "n_cell": 5})


def test_importing_the_room_loads_no_heavy_library() -> None:
    heavy = "scipy zarr pandas h5py anndata pyarrow torch numba sklearn"
    code = f"import sys, nsl_assets.tasks; print(sorted(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
