"""The fixed auxiliary of partners: principal components at the measured depth that the probe did not shape."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nsl_assets.models import Pca, Runtime, create
from nsl_assets.tasks import PROBE, TRAIN, SpatialPairs, Task, TaskSettings

Make = Callable[..., Path]
Opened = Callable[[TaskSettings], Task]


def test_components_are_those_of_the_pca_model(spatial_h5ad: Make, opened: Opened, tmp_path: Path):
    """An independent implementation: the model of the same name, trained on the whole train pool at level 1."""
    task = opened(SpatialPairs(path=spatial_h5ad(), n_blocks=24, n_reference_components=3))
    model = create(Pca(n_components=3), task=task, level=1.0, runtime=Runtime(scratch=tmp_path))
    model.fit(task.cells(task.train_rows(task.n_train_pool, 0)), task.cells(task.validation_rows()), seed=0)
    expected = model.embed(task.cells(np.arange(len(task.role))))
    np.testing.assert_allclose(np.abs(task.auxiliary.values), np.abs(expected), atol=2e-4)


def test_the_probe_does_not_shape_them_and_empty_cells_have_them(spatial_h5ad: Make, opened: Opened):
    path = spatial_h5ad()
    before = opened(SpatialPairs(path=path, n_blocks=24))
    adata = anndata.read_h5ad(path)
    counts = adata.X.toarray()
    is_probe = before.role == PROBE
    counts[is_probe] = 0
    adata.X = csr_matrix(counts)
    adata.write_h5ad(path)
    after = opened(SpatialPairs(path=path, n_blocks=24))
    np.testing.assert_array_equal(before.auxiliary.values[~is_probe], after.auxiliary.values[~is_probe])
    empty = after.auxiliary.values[is_probe]
    assert np.isfinite(empty).all()
    assert np.ptp(empty, axis=0).max() == 0
    np.testing.assert_array_equal(after.pairs(0, 1.0).rows, after.probe_rows()), "empty cells stay in"


def test_they_are_centred_on_the_train_pool_and_fall_in_variance(spatial_h5ad: Make, opened: Opened):
    task = opened(SpatialPairs(path=spatial_h5ad(), n_blocks=24, n_reference_components=4))
    train = task.auxiliary.values[task.role == TRAIN]
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-8)
    assert (np.diff(train.var(axis=0)) < 0).all()
    covariance = np.cov(train, rowvar=False)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-8)


@pytest.mark.parametrize("paired_auxiliary", ["fixed", "same_model"])
def test_they_are_stored_only_where_they_are_the_signal(spatial_h5ad: Make, opened: Opened, paired_auxiliary: str):
    settings = {"path": spatial_h5ad(), "n_blocks": 24, "paired_auxiliary": paired_auxiliary}
    task = opened(SpatialPairs.model_validate(settings))
    assert task.auxiliary.values.shape[1] == (16 if paired_auxiliary == "fixed" else 0)
