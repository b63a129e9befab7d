"""Linear algebra of the Gaussian base against closed forms and scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf

from nsl_assets.probing.gaussian import (
    CanonicalBase,
    canonical_bases,
    gaussian_information,
    ledoit_wolf,
    shrunk_canonical,
    shrunk_spiked,
)
from nsl_assets.probing.margins import leading_components, rank_normal, standardised, with_bumps


def correlated(n_pairs, n_x, n_y, rhos, seed):
    draws = np.random.default_rng(seed)
    x, y = draws.standard_normal((n_pairs, n_x)), draws.standard_normal((n_pairs, n_y))
    m = len(rhos)
    y[:, :m] = np.asarray(rhos) * x[:, :m] + np.sqrt(1 - np.square(rhos)) * y[:, :m]
    return x, y


def test_ledoit_wolf_agrees_with_scikit_learn():
    columns = np.random.default_rng(0).standard_normal((80, 12)) @ np.diag(np.arange(1.0, 13.0))
    columns -= columns.mean(axis=0)
    np.testing.assert_allclose(ledoit_wolf(columns), sklearn_ledoit_wolf(columns)[0], rtol=1e-10)


def test_factors_are_the_log_density_ratio():
    base = CanonicalBase(np.zeros(2), np.zeros(2), np.eye(2), np.eye(2), np.array([0.8, 0.3]))
    draws = np.random.default_rng(1)
    x, y = draws.standard_normal((5, 2)), draws.standard_normal((5, 2))
    u, v = base.factors(x, y)
    correlation = np.diag([0.8, 0.3])
    joint = multivariate_normal(cov=np.block([[np.eye(2), correlation], [correlation, np.eye(2)]]))
    single = multivariate_normal(cov=np.eye(2))
    ratio = np.array([[joint.logpdf(np.r_[a, b]) - single.logpdf(a) - single.logpdf(b) for b in y] for a in x])
    constant = -0.5 * np.log(1 - np.array([0.8, 0.3]) ** 2).sum()
    np.testing.assert_allclose(u @ v.T + constant, ratio, atol=1e-12)


def test_a_scaled_base_is_less_sure():
    base = CanonicalBase(np.zeros(1), np.zeros(1), np.eye(1), np.eye(1), np.array([0.8]))
    x, y = np.random.default_rng(8).standard_normal((2, 6, 1))
    (u, v), (half_u, half_v) = base.factors(x, y), replace(base, scale=0.5).factors(x, y)
    np.testing.assert_allclose(half_u @ half_v.T, 0.5 * u @ v.T)


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.97])
def test_shrunk_canonical_correlations_are_those_of_the_population(rho):
    x, y = correlated(1_500, 60, 40, [rho], seed=2)
    base = canonical_bases(x, y)[0]
    sample = np.linalg.svd(np.linalg.qr(x)[0].T @ np.linalg.qr(y)[0], compute_uv=False)[0]
    assert base.correlations[0] == pytest.approx(rho, abs=0.03)
    assert sample > base.correlations[0]


def test_pure_noise_has_no_canonical_correlation():
    x, y = correlated(1_000, 40, 30, [], seed=3)
    assert all(len(base.correlations) <= 1 for base in canonical_bases(x, y))


def test_shrinkage_leaves_low_dimensions_alone():
    sample = np.array([0.9, 0.5])
    for shrink in (shrunk_canonical, shrunk_spiked):
        np.testing.assert_allclose(shrink(sample, 100_000, 2, 2), sample, atol=1e-3)


@pytest.mark.parametrize("n_pairs", [120, 400])
def test_gaussian_copula_is_unbiased(n_pairs):
    rhos = np.sqrt(1 - 2.0 ** (-2 * np.array([1.0, 0.5, 0.5])))
    values = [gaussian_information(*correlated(n_pairs, 10, 8, rhos, seed)).value_bits for seed in range(60)]
    assert np.mean(values) == pytest.approx(2.0, abs=4 * np.std(values) / np.sqrt(60))


def test_scatter_of_the_gaussian_copula():
    """By chance as `chance_bits` says, and around real information as the terms' spread says."""
    chance = [gaussian_information(*correlated(400, 10, 8, [], seed)) for seed in range(80)]
    assert np.std([one.value_bits for one in chance]) == pytest.approx(chance[0].chance_bits, rel=0.25)
    real = [gaussian_information(*correlated(400, 3, 3, [0.8, 0.6], seed)) for seed in range(80)]
    assert np.std([one.value_bits for one in real]) == pytest.approx(real[0].terms_bits.std() / 20, rel=0.25)


def test_gaussian_copula_where_it_is_not_defined():
    x, y = correlated(40, 20, 12, [], seed=4)
    assert gaussian_information(x, y) is None
    x, y = correlated(400, 3, 3, [], seed=5)
    assert gaussian_information(x, x[:, :1] + x[:, 1:2]) is None


def test_copies_of_columns_change_nothing():
    x, y = correlated(400, 4, 3, [0.7], seed=6)
    twice, once = gaussian_information(np.hstack([x, x]), y), gaussian_information(x, y)
    np.testing.assert_allclose(twice.terms_bits, once.terms_bits, atol=1e-9)


def test_rank_normal_columns_do_not_see_monotone_maps_and_keep_ties():
    draws = np.random.default_rng(7)
    x = draws.standard_normal((300, 2))
    np.testing.assert_array_equal(rank_normal(x), rank_normal(np.sinh(3 * x)))
    tied = rank_normal(draws.poisson(0.5, (300, 1)).astype(float))
    assert len(np.unique(tied)) < 8
    np.testing.assert_allclose(rank_normal(x).std(axis=0), 1.0)


def test_columns_before_networks():
    draws = np.random.default_rng(8)
    wide = draws.standard_normal((200, 30)) * np.r_[np.full(3, 9.0), np.ones(27)]
    components = leading_components(wide, 3)
    assert components.shape == (200, 3)
    assert components.std() == pytest.approx(1.0)
    assert np.linalg.lstsq(components, wide[:, :3], rcond=None)[1].max() < 0.05 * (200 * 81)
    assert leading_components(wide, 30) is wide
    assert with_bumps(wide[:, :2], 16).shape == (200, 34)
    huge = standardised(wide * 1e200, clip=2.0)
    assert np.abs(huge).max() == 2.0
