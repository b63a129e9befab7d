from dataclasses import replace

import numpy as np
import pytest
from sklearn.random_projection import GaussianRandomProjection

from nsl_assets.errors import MeasurementError, StorageError
from nsl_assets.models import RandomProjection, create
from nsl_assets.models.linear import gaussian_directions


def fitted(cells, *, seed=0, **settings):
    model = create(RandomProjection(**settings), task=None, level=1.0)
    return model, model.fit(cells, cells, seed=seed)


def test_projection_is_that_of_standardised_expression(cells, counts):
    model, report = fitted(cells, seed=3)
    expression = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4)
    deviation = expression.std(0)
    scaled = (expression - expression.mean(0)) / np.where(deviation == 0, 1, deviation)
    expected = scaled @ gaussian_directions(cells.gene_names, 16, seed=3)
    np.testing.assert_allclose(model.embed(cells), expected, rtol=1e-5, atol=1e-5)
    assert report.n_parameters == 120 * 16 and report.n_nonempty_train_cells == 299


def test_genes_are_chosen_and_the_statistics_are_those_of_training_cells(cells):
    train = replace(cells, rows=cells.rows[:200], cell_names=cells.cell_names[:200])
    model, report = fitted(train, n_highly_variable_genes=30)
    assert report.notes["n_genes_used"] == 30
    np.testing.assert_allclose(model.embed(train).mean(0), 0, atol=1e-4)
    assert np.abs(model.embed(cells).mean(0)).max() > 1e-3


def test_raw_input_is_sklearns_projection_of_raw_counts(cells, counts):
    model, _ = fitted(cells, input="raw", fixed_seed=42, seed=9)
    expected = GaussianRandomProjection(16, random_state=42).fit_transform(counts.astype(float))
    np.testing.assert_allclose(model.embed(cells), expected, rtol=1e-5, atol=1e-5)
    untrained = create(RandomProjection(input="raw", fixed_seed=42), task=None, level=1.0)
    untrained.initialise(cells, seed=1)
    assert untrained.embed(cells).tobytes() == model.embed(cells).tobytes()


@pytest.mark.parametrize("settings", [{}, {"input": "raw"}])
def test_the_seed_of_the_replicate_draws_the_directions(cells, settings):
    same = [fitted(cells, seed=1, **settings)[0].embed(cells) for _ in range(2)]
    assert same[0].tobytes() == same[1].tobytes()
    assert not np.allclose(same[0], fitted(cells, seed=2, **settings)[0].embed(cells))


def test_a_fixed_seed_makes_replicates_equal(cells):
    first, second = (fitted(cells, seed=s, fixed_seed=42)[0].embed(cells) for s in (1, 2))
    assert first.tobytes() == second.tobytes()


def test_directions_are_standard_normal_and_follow_the_gene_not_its_place():
    names = np.array([f"gene{i}" for i in range(4000)])
    directions = gaussian_directions(names, 16, seed=0)
    assert abs(directions.mean()) < 0.02 and abs(directions.std() - 1) < 0.02
    assert np.abs(np.corrcoef(directions.T) - np.eye(16)).max() < 0.1
    np.testing.assert_array_equal(gaussian_directions(names[::-2], 16, seed=0), directions[::-2])


def test_untrained_baseline_uses_all_genes_unstandardised(cells, counts):
    model = create(RandomProjection(n_highly_variable_genes=10), task=None, level=1.0)
    model.initialise(cells, seed=4)
    expression = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4)
    expected = expression @ gaussian_directions(cells.gene_names, 16, seed=4)
    np.testing.assert_allclose(model.embed(cells), expected, rtol=1e-5, atol=1e-5)


def test_all_cells_empty_cannot_be_standardised(make_cells):
    empty = make_cells(np.zeros((20, 5)))
    with pytest.raises(MeasurementError, match="0 of 20 training cells"):
        fitted(empty)
    raw, _ = fitted(empty, input="raw")
    assert not raw.embed(empty).any()


def test_saved_and_loaded_embeds_the_same_bytes(cells, tmp_path):
    for settings in ({}, {"input": "raw"}):
        model, _ = fitted(cells, **settings)
        model.save(tmp_path)
        loaded = create(RandomProjection(**settings), task=None, level=1.0)
        loaded.load(tmp_path)
        assert loaded.embed(cells).tobytes() == model.embed(cells).tobytes()


def test_a_damaged_folder_is_named(cells, tmp_path):
    model, _ = fitted(cells)
    with pytest.raises(StorageError, match="does not hold a saved linear model"):
        model.load(tmp_path / "nothing")
    model.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(StorageError, match="train again"):
        model.load(tmp_path)
