"""KSG and Ross's form for classes against plain NumPy, scikit-learn and closed forms, with ties and atoms."""

import json

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.ksg import class_terms_bits, ksg_terms_bits, measure_ksg
from nsl_assets.probing.ksg_neighbours import Neighbours
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import KsgSettings


def distances(points):
    return np.abs(points[:, None, :] - points[None, :, :]).max(axis=2)


def nearest_others(distance, k):
    """Distance to the k-th nearest other point, and how many points decide the term: k, or all that coincide."""
    others = distance[~np.eye(len(distance), dtype=bool)].reshape(len(distance), -1)
    radius = np.sort(others, axis=1)[:, k - 1]
    return radius, np.where(radius > 0, k, (others == 0).sum(axis=1))


def n_nearer(distance, radius):
    """Points nearer than a radius, or coinciding where it is zero; the point itself included."""
    return np.where(radius > 0, (distance < radius[:, None]).sum(axis=1), (distance == 0).sum(axis=1))


def plain_ksg_terms_bits(x, y, k):
    x_distance, y_distance = distances(x), distances(y)
    radius, n_joint = nearest_others(np.maximum(x_distance, y_distance), k)
    n_x, n_y = n_nearer(x_distance, radius), n_nearer(y_distance, radius)
    return (digamma(n_joint) + digamma(len(x)) - digamma(n_x) - digamma(n_y)) / np.log(2)


def plain_class_terms_bits(x, classes, k):
    distance, terms = distances(x), np.full(len(x), np.nan)
    for code in np.unique(classes):
        members = np.flatnonzero(classes == code)
        if len(members) == 1:
            continue
        radius, n_near = nearest_others(distance[np.ix_(members, members)], min(k, len(members) - 1))
        n_all = n_nearer(distance[members], radius)
        nats = digamma(n_near) + digamma(len(x)) - digamma(n_all) - digamma(len(members))
        terms[members] = nats / np.log(2)
    return terms


def correlated(n_pairs, n_x, n_y, n_shared, *, bits=1.5, seed=0):
    """``bits`` spread over the first columns of both sides; the others are noise."""
    draws = np.random.default_rng(seed)
    noise = 2.0 ** (-bits / n_shared)
    x, y = draws.standard_normal((n_pairs, n_x)), draws.standard_normal((n_pairs, n_y))
    y[:, :n_shared] = np.sqrt(1 - noise**2) * x[:, :n_shared] + noise * y[:, :n_shared]
    return x, y


def rounded(n_pairs):
    return [np.round(2 * side) / 2 for side in correlated(n_pairs, 3, 2, 2)]


def empty_cells(n_pairs):
    """Two fifths of the pairs coincide on the left, half of those on the right too."""
    x, y = correlated(n_pairs, 5, 4, 4)
    x[: 2 * n_pairs // 5] = 0
    y[: n_pairs // 5] = 0
    order = np.random.default_rng(1).permutation(n_pairs)
    return x[order], y[order]


def heavy_tailed(n_pairs):
    x, y = correlated(n_pairs, 4, 4, 4)
    return x * np.exp(3 * np.random.default_rng(2).standard_normal((n_pairs, 1))), y


PAIRS = {
    "one_column_each": lambda: correlated(700, 1, 1, 1),
    "five_columns_each": lambda: correlated(1_100, 5, 5, 5),
    "sixteen_columns_each": lambda: correlated(700, 16, 16, 5),
    "one_column_beside_many": lambda: correlated(600, 16, 1, 1),
    "wide": lambda: correlated(300, 16, 130, 5),
    "fewer_than_a_leaf": lambda: correlated(40, 2, 3, 2),
    "two_full_leaves": lambda: correlated(512, 3, 2, 2),
    "one_more_than_a_leaf": lambda: correlated(257, 3, 2, 2),
    "ties": lambda: rounded(900),
    "empty_cells": lambda: empty_cells(900),
    "classes_as_columns": lambda: (correlated(600, 4, 1, 1)[0], np.eye(5)[np.arange(600) % 5]),
    "heavy_tailed": lambda: heavy_tailed(800),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_term_agrees_with_all_distances(name, k, dtype):
    x, y = (side.astype(dtype) for side in PAIRS[name]())
    np.testing.assert_allclose(ksg_terms_bits(x, y, k=k), plain_ksg_terms_bits(x, y, k), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["five_columns_each", "ties", "empty_cells"])
def test_terms_do_not_depend_on_the_order_of_the_pairs(name):
    x, y = PAIRS[name]()
    order = np.random.default_rng(3).permutation(len(x))
    np.testing.assert_array_equal(ksg_terms_bits(x[order], y[order]), ksg_terms_bits(x, y)[order])


def test_neighbours_are_counted_at_exactly_the_radius():
    points = np.arange(600.0)[:, None]
    neighbours = Neighbours(points)
    inner = slice(2, -2)
    np.testing.assert_array_equal(neighbours.kth_distance(4)[inner], 2.0)
    np.testing.assert_array_equal(neighbours.n_within(np.full(600, 2.0))[inner], 5)
    np.testing.assert_array_equal(neighbours.n_within(np.full(600, np.nextafter(2.0, 0)))[inner], 3)
    np.testing.assert_array_equal(neighbours.n_within(np.full(600, -1.0)), 0)


def test_recovers_the_information_of_a_gaussian_pair():
    x, y = correlated(4_000, 1, 1, 1, bits=1.0)
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


def test_points_must_be_finite():
    x, y = correlated(50, 2, 2, 2)
    x[7, 1] = np.nan
    with pytest.raises(MeasurementError, match="1 of 50 points hold NaN or infinity"):
        ksg_terms_bits(x, y)


def clusters(n_pairs, sizes, *, n_columns=3, seed=4):
    """Points around one centre a class, and the class codes; ``sizes`` are the classes' shares."""
    draws = np.random.default_rng(seed)
    classes = draws.choice(len(sizes), n_pairs, p=sizes)
    centres = draws.standard_normal((len(sizes), n_columns))
    return centres[classes] + draws.standard_normal((n_pairs, n_columns)), classes


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_terms_of_classes_agree_with_all_distances(k, dtype):
    x, classes = clusters(900, [0.5, 0.3, 0.19, 0.01])
    x = x.astype(dtype)
    x[:100] = 0
    np.testing.assert_allclose(class_terms_bits(x, classes, k=k), plain_class_terms_bits(x, classes, k), atol=1e-12)


def test_classes_agree_with_scikit_learn():
    x, classes = clusters(1_500, [0.6, 0.3, 0.1], n_columns=1)
    theirs = mutual_info_classif(x, classes, discrete_features=False, n_neighbors=3, random_state=0)[0] / np.log(2)
    assert theirs > 0.1
    assert class_terms_bits(x, classes).mean() == pytest.approx(theirs, abs=1e-4)


def test_classes_are_columns_with_wide_gaps():
    x, classes = clusters(800, [0.5, 0.4, 0.1])
    np.testing.assert_array_equal(class_terms_bits(x, classes), ksg_terms_bits(x, 1e3 * classes[:, None]))


def test_separate_classes_have_their_entropy():
    x, _ = clusters(2_000, [1.0])
    classes = np.arange(2_000) % 4
    assert class_terms_bits(x + 100.0 * classes[:, None], classes).mean() == pytest.approx(2.0, abs=0.002)


def test_shuffled_classes_have_no_information():
    x, classes = clusters(3_000, [0.5, 0.3, 0.2])
    shuffled = np.random.default_rng(5).permutation(classes)
    assert class_terms_bits(x, shuffled).mean() == pytest.approx(0.0, abs=0.02)


def with_rare_classes():
    """Three common classes; then two members of one class, and the only members of two others."""
    x, classes = clusters(300, [0.5, 0.3, 0.2])
    classes[-4:] = [3, 3, 4, 5]
    return x, classes


def test_a_class_of_few_uses_fewer_neighbours_and_a_class_of_one_has_no_term():
    x, classes = with_rare_classes()
    terms = class_terms_bits(x, classes, k=3)
    np.testing.assert_allclose(terms, plain_class_terms_bits(x, classes, 3), atol=1e-12)
    assert np.flatnonzero(np.isnan(terms)).tolist() == [298, 299]


def test_classes_without_a_second_member():
    with pytest.raises(MeasurementError, match="each of the 60 classes has one member"):
        class_terms_bits(np.random.default_rng(6).standard_normal((60, 2)), np.arange(60))


def pairs_of(x, columns=None, classes=None, group=None):
    return Pairs(x, columns, classes, group)


def test_measures_columns_with_interval_and_floor():
    x, y = correlated(2_000, 2, 1, 1, bits=1.0)
    measured = measure_ksg(pairs_of(x, columns=y), KsgSettings(), seed=1)
    assert measured.low_bits < measured.value_bits < measured.high_bits
    assert measured.value_bits == pytest.approx(1.0, abs=0.1)
    assert measured.floor_bits == pytest.approx(0.0, abs=0.06)
    error = measured.diagnostics["standard_error_bits"]
    assert measured.high_bits - measured.low_bits == pytest.approx(2 * 1.96 * error)
    expected = {"k_neighbours": 3, "n_dimensions": 2, "n_columns": 1, "n_lone_pairs": 0}
    assert json.loads(json.dumps(measured.diagnostics)) == {"standard_error_bits": error, **expected}


def test_monotone_maps_of_columns_change_nothing():
    x, y = correlated(600, 3, 2, 2)
    plain = measure_ksg(pairs_of(x, columns=y), KsgSettings(), seed=1)
    mapped = measure_ksg(pairs_of(np.exp(3 * x), columns=y**3), KsgSettings(), seed=1)
    assert mapped == plain


def test_the_seed_changes_the_floor_alone():
    x, y = correlated(400, 2, 2, 2)
    first, second = (measure_ksg(pairs_of(x, columns=y), KsgSettings(), seed) for seed in (1, 2))
    assert first.value_bits == second.value_bits
    assert first.floor_bits != second.floor_bits


def test_the_settings_give_the_number_of_neighbours():
    x, y = correlated(500, 2, 2, 2)
    few, many = (measure_ksg(pairs_of(x, columns=y), KsgSettings(k_neighbours=k), seed=1) for k in (1, 10))
    assert many.diagnostics["standard_error_bits"] < few.diagnostics["standard_error_bits"]


def test_pairs_of_a_group_move_together():
    x, y = correlated(200, 2, 2, 2)
    x, y = np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0)
    x, y = (side + 0.3 * np.random.default_rng(7).standard_normal(side.shape) for side in (x, y))
    alone, grouped = (
        measure_ksg(pairs_of(x, columns=y, group=group), KsgSettings(), seed=1)
        for group in (None, np.repeat(np.arange(200), 4))
    )
    assert grouped.value_bits == alone.value_bits
    assert grouped.diagnostics["standard_error_bits"] > alone.diagnostics["standard_error_bits"]


def test_measures_classes_and_counts_who_is_alone():
    x, classes = with_rare_classes()
    measured = measure_ksg(pairs_of(x, classes=classes, group=np.arange(300) // 3), KsgSettings(), seed=1)
    assert measured.diagnostics["n_lone_pairs"] == 2
    assert measured.low_bits < measured.value_bits < measured.high_bits
    assert abs(measured.floor_bits) < 0.15 < measured.value_bits
