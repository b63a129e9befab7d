"""The size of a task before its counts are read is its size after they were written."""

from pathlib import Path

import pytest

from nsl_assets.tasks import H5adTask, SimulatedCells, TaskSettings, open_task, outline, write_auxiliary, write_data


def settings_of(kind: str, file: Path) -> TaskSettings:
    if kind == "simulated":
        return SimulatedCells(n_cells=300, n_genes=30)
    group = "donor" if kind == "grouped" else None
    return H5adTask(path=file, auxiliary="obs:cell_type", group=group, max_cells=250)


@pytest.mark.parametrize("kind", ["plain", "grouped", "simulated"])
def test_outline_agrees_with_what_is_written(kind: str, small_h5ad: Path, tmp_path: Path):
    settings, data, auxiliary = settings_of(kind, small_h5ad), tmp_path / "data", tmp_path / "auxiliary"
    data.mkdir()
    auxiliary.mkdir()
    write_data(settings, data)
    write_auxiliary(settings, auxiliary)
    task, size = open_task(data, auxiliary), outline(settings)
    assert (size.n_cells, size.n_genes) == task.counts.shape
    assert size.n_train_pool == task.n_train_pool
    assert size.n_probe == len(task.probe_rows())
    assert size.n_validation == len(task.validation_rows())
