"""KSG against an independent implementation with neighbour trees, closed forms, and data with ties."""

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.neighbors import KDTree

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.ksg import ksg_terms_bits


def tree_reference_bits(x, y, k):
    """Kraskov et al. 2004, equation 8, by scikit-learn's trees."""
    joint = np.hstack([x, y])
    radius = KDTree(joint, metric="chebyshev").query(joint, k=k + 1)[0][:, k]
    within = [
        KDTree(side, metric="chebyshev").query_radius(side, np.nextafter(radius, 0), count_only=True) for side in (x, y)
    ]
    nats = digamma(k) + digamma(len(x)) - digamma(within[0]) - digamma(within[1])
    return float(nats.mean() / np.log(2))


def correlated(n_pairs, d, bits, seed=0):
    draws = np.random.default_rng(seed)
    noise = 2.0 ** (-bits / d)
    x = draws.standard_normal((n_pairs, d))
    return x, np.sqrt(1 - noise**2) * x + noise * draws.standard_normal((n_pairs, d))


@pytest.mark.parametrize("d", [1, 3, 16])
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_neighbour_trees(d, k, dtype):
    x, y = correlated(700, d, 1.5)
    x, y = x.astype(dtype), y.astype(dtype)
    assert ksg_terms_bits(x, y, k=k).mean() == pytest.approx(tree_reference_bits(x, y, k), abs=5e-4)


def test_recovers_the_information_of_a_gaussian_pair():
    x, y = correlated(4_000, 1, 1.0)
    assert ksg_terms_bits(x, y).mean() == pytest.approx(1.0, abs=0.05)


def test_independent_pairs_have_none():
    draws = np.random.default_rng(1)
    x, y = draws.standard_normal((3_000, 3)), draws.standard_normal((3_000, 2))
    assert ksg_terms_bits(x, y).mean() == pytest.approx(0.0, abs=0.04)


def test_coinciding_pairs_give_the_entropy_of_their_atoms():
    codes = np.random.default_rng(2).integers(0, 4, 2_000).astype(np.float64)[:, None]
    assert ksg_terms_bits(codes, codes).mean() == pytest.approx(2.0, abs=0.01)


def test_a_constant_side_has_no_information():
    y = np.random.default_rng(3).standard_normal((200, 2))
    assert ksg_terms_bits(np.zeros((200, 3)), y).mean() == pytest.approx(0.0, abs=1e-12)


def test_too_few_pairs_for_the_neighbours():
    with pytest.raises(MeasurementError, match="at least 4 are needed"):
        ksg_terms_bits(np.zeros((3, 1)), np.zeros((3, 1)), k=3)
