"""The known information of simulated cells, against enumeration, dense grids and limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import logsumexp

from nsl_assets.errors import InputError
from nsl_assets.tasks import SimulatedCells, SimulationTruth
from nsl_assets.tasks.simulated import CellModel, cell_model

LEVELS = (1.0, 0.3, 0.1, 0.03, 0.01)


def two_genes(umis_per_cell: float) -> CellModel:
    """Strongly skewed: expression of the first gene runs from nearly 0 to nearly 1."""
    return CellModel(np.array([-1.0, 0.5]), np.array([[2.0], [-0.5]]), 0.9, umis_per_cell, 0.0, seed=3)


def enumerated_bits(model: CellModel, level: float) -> float:
    """I(counts; Y) by summing over every pair of counts, with dense grids for s and Y: no Monte Carlo."""
    s = np.linspace(-7, 7, 561)
    y = np.linspace(-6, 6, 321)
    c = model.correlation
    p_s = stats.norm.pdf(s) * (s[1] - s[0])
    joint = p_s[:, None] * stats.norm.pdf(y, loc=c * s[:, None], scale=np.sqrt(1 - c**2)) * (y[1] - y[0])
    p_y = joint.sum(axis=0)
    first_gene = model.profiles(s[:, None])[:, 0]
    totals = np.arange(60)
    bits = 0.0
    for total, weight in zip(totals, stats.poisson.pmf(totals, level * model.umis_per_cell), strict=True):
        given_s = stats.binom.pmf(np.arange(total + 1)[:, None], total, first_gene)
        p_xy = given_s @ joint
        expected = p_xy.sum(axis=1, keepdims=True) * p_y
        bits += weight * float((p_xy * np.log2(p_xy / expected, where=p_xy > 0, out=p_xy * 0)).sum())
    return bits


@pytest.mark.parametrize("level", [1.0, 0.3, 0.05])
def test_information_equals_enumeration(level: float) -> None:
    model = two_genes(umis_per_cell=20)
    estimate = SimulationTruth(model).information_bits([level], n_cells=20_000)
    assert estimate.standard_error_bits[0] < 0.01
    assert abs(estimate.bits[0] - enumerated_bits(model, level)) < 4 * estimate.standard_error_bits[0]


def test_posterior_mean_equals_a_dense_grid_in_two_dimensions() -> None:
    model = cell_model(SimulatedCells(n_genes=30, loading_sd=1.0, seed=1))
    rng = np.random.default_rng(0)
    latent, _ = model.draw_latent(rng, 6)
    counts = model.draw_counts(rng, latent, np.array([0.0, 1.0, 3.0, 20.0, 200.0, 3000.0]))
    axis = np.linspace(-6, 6, 601)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prior = -0.5 * (grid**2).sum(axis=1)
    log_p = np.log(model.profiles(grid))
    for x, mean in zip(counts, SimulationTruth(model).posterior_mean(csr_array(counts)), strict=True):
        log_posterior = log_prior + log_p @ x
        weights = np.exp(log_posterior - logsumexp(log_posterior))
        np.testing.assert_allclose(mean, weights @ grid, atol=2e-4)


def test_the_posterior_mean_is_calibrated() -> None:
    """E[(s - m) m] = 0 for the posterior mean m of cells drawn from the prior, and for nothing larger."""
    model = cell_model(SimulatedCells(umis_per_cell=50))
    rng = np.random.default_rng(5)
    latent, _ = model.draw_latent(rng, 4000)
    counts = model.draw_counts(rng, latent, model.draw_library_sizes(rng, 4000))
    mean = SimulationTruth(model).posterior_mean(csr_array(counts))
    slopes = ((latent - mean) * mean).mean(axis=0) / (mean**2).mean(axis=0)
    assert np.abs(slopes).max() < 0.06


def test_information_grows_with_the_level_between_its_limits() -> None:
    truth = SimulationTruth(cell_model(SimulatedCells(latent_dimensions=1)))
    curve = truth.information_bits([0.0, *LEVELS])
    assert curve.bits[0] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(curve.bits[:0:-1]) > 0)
    assert curve.bits[1] < truth.ceiling_bits
    assert curve.standard_error_bits.max() < 0.01


@pytest.mark.parametrize("dimensions", [1, 2])
def test_very_deep_counts_reach_the_ceiling(dimensions: int) -> None:
    settings = SimulatedCells(latent_dimensions=dimensions, umis_per_cell=1e6, correlation=0.8)
    truth = SimulationTruth(cell_model(settings))
    assert truth.ceiling_bits == pytest.approx(-dimensions / 2 * np.log2(1 - 0.64))
    assert truth.information_bits([1.0], n_cells=1000).bits[0] == pytest.approx(truth.ceiling_bits, abs=1e-3)


def test_an_unrelated_auxiliary_has_no_information() -> None:
    truth = SimulationTruth(cell_model(SimulatedCells(correlation=0.0)))
    assert truth.information_bits([1.0], n_cells=500).bits[0] == pytest.approx(0, abs=1e-9)


def test_the_default_curve_is_precise_and_falls_clearly() -> None:
    curve = SimulationTruth(cell_model(SimulatedCells())).information_bits(LEVELS, n_cells=1500)
    assert curve.standard_error_bits.max() < 0.01
    assert curve.bits[0] > 3
    assert curve.bits[-1] < 1.1
    assert np.all(-np.diff(curve.bits) > 0.2)


def test_levels_keep_their_order_and_repeats() -> None:
    truth = SimulationTruth(cell_model(SimulatedCells(latent_dimensions=1)))
    bits = truth.information_bits([0.1, 1.0, 0.1], n_cells=300).bits
    assert bits[0] == bits[2] < bits[1]


def test_impossible_levels_are_refused() -> None:
    with pytest.raises(InputError, match=r"between 0.5 and 2"):
        SimulationTruth(two_genes(10)).information_bits([0.5, 2.0])
