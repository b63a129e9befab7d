"""Simulated cells have the distribution that they are said to have."""

from pathlib import Path

import numpy as np
from scipy.sparse import csr_array, vstack

from nsl_assets.tasks import SimulatedCells
from nsl_assets.tasks.simulated import cell_model, load_cell_model, simulated_auxiliary, simulated_counts


def all_counts(settings: SimulatedCells) -> csr_array:
    return csr_array(vstack(list(simulated_counts(settings))))


def test_the_first_cells_are_the_same_however_many_are_asked_for() -> None:
    few, many = SimulatedCells(n_cells=150), SimulatedCells(n_cells=5000)
    assert (all_counts(few) != all_counts(many)[:150]).nnz == 0
    np.testing.assert_array_equal(simulated_auxiliary(few).values, simulated_auxiliary(many).values[:150])


def test_library_sizes_have_the_stated_mean_and_spread_and_say_nothing_about_the_auxiliary() -> None:
    settings = SimulatedCells(n_cells=20_000, n_genes=50, library_size_cv=0.5, umis_per_cell=300)
    totals = all_counts(settings).sum(axis=1)
    assert abs(totals.mean() / 300 - 1) < 0.02
    assert abs(totals.var() - (300 + (0.5 * 300) ** 2)) / totals.var() < 0.1  # Poisson plus log-normal
    auxiliary = simulated_auxiliary(settings).values
    assert abs(np.corrcoef(np.log(totals), auxiliary[:, 0])[0, 1]) < 4 / np.sqrt(20_000)


def test_the_auxiliary_follows_the_latent_state_with_the_stated_correlation() -> None:
    model = cell_model(SimulatedCells(correlation=0.7))
    latent, auxiliary = model.draw_latent(np.random.default_rng(0), 40_000)
    correlations = np.corrcoef(latent.T, auxiliary.T)[:2, 2:]
    np.testing.assert_allclose(correlations, 0.7 * np.eye(2), atol=0.02)
    np.testing.assert_allclose(auxiliary.std(axis=0), 1, atol=0.02)


def test_profiles_are_softmax() -> None:
    model = cell_model(SimulatedCells(n_genes=20))
    latent = np.array([[0.5, -1.0]])
    unscaled = np.exp(model.log_expression + model.loadings @ latent[0])
    np.testing.assert_allclose(model.profiles(latent)[0], unscaled / unscaled.sum())


def test_a_saved_model_comes_back_exactly(tmp_path: Path) -> None:
    model = cell_model(SimulatedCells())
    model.save(tmp_path / "simulation.json")
    loaded = load_cell_model(tmp_path / "simulation.json")
    for field in model.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(loaded, field), getattr(model, field))


def test_another_seed_is_another_data_set() -> None:
    first, second = (all_counts(SimulatedCells(n_cells=100, seed=seed)) for seed in (0, 1))
    assert (first != second).nnz > 1000
