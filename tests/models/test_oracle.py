from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.errors import MeasurementError, StorageError
from nsl_assets.models import Model, Oracle, create
from nsl_assets.tasks import SimulatedCells, open_task, write_auxiliary, write_data


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    (folder / "data").mkdir()
    (folder / "auxiliary").mkdir()
    settings = SimulatedCells(n_cells=1500, n_genes=60, umis_per_cell=300, correlation=0.99)
    write_data(settings, folder / "data")
    write_auxiliary(settings, folder / "auxiliary")
    return open_task(folder / "data", folder / "auxiliary")


def test_posterior_means_tell_the_latent_state_in_the_order_of_the_cells(task):
    model = create(Oracle(), task=task, level=1.0)
    assert isinstance(model, Model)
    rows = np.random.default_rng(0).permutation(1500)
    cells = task.cells(rows)
    assert model.fit(cells, cells, seed=0).n_parameters == 0
    embedding = model.embed(cells)
    assert embedding.shape == (1500, 2) and embedding.dtype == np.float32
    for dimension in range(2):
        truth = task.auxiliary.values[rows, dimension]
        assert np.corrcoef(embedding[:, dimension], truth)[0, 1] > 0.8
    direct = task.simulation.posterior_mean(task.counts.take(rows[:5]))
    np.testing.assert_allclose(embedding[:5], direct, rtol=1e-5)


def test_no_cells_are_embedded_as_none(task):
    none = replace(task.cells(np.arange(0)), cell_names=np.array([], dtype=object))
    assert create(Oracle(), task=task, level=1.0).embed(none).shape == (0, 2)


def test_there_is_no_untrained_oracle_and_its_folder_is_checked(task, tmp_path):
    model = create(Oracle(), task=task, level=0.5)
    with pytest.raises(MeasurementError, match="no untrained baseline"):
        model.initialise(task.cells(np.arange(5)), seed=0)
    with pytest.raises(StorageError, match="is no oracle"):
        model.load(tmp_path)
    model.save(tmp_path)
    model.load(tmp_path)
