"""Folds: disjoint, complete, groups whole, classes spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.folds import cross_fitting_folds


def folds_of(n_pairs, seed=0, n_folds=3, **options):
    draws = np.random.default_rng(seed)
    return cross_fitting_folds(n_pairs, n_folds=n_folds, validation_fraction=0.15, generator=draws, **options)


@settings(max_examples=40, deadline=None)
@given(
    n_pairs=st.integers(50, 400),
    n_folds=st.integers(2, 5),
    n_groups=st.one_of(st.none(), st.integers(2, 60)),
    seed=st.integers(0, 99),
)
def test_sets_partition_the_pairs(n_pairs, n_folds, n_groups, seed):
    group = None
    if n_groups is not None:
        group = np.arange(n_pairs) % n_groups
    folds = folds_of(n_pairs, seed, n_folds, group=group)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(n_pairs))
    for fold in folds:
        parts = np.concatenate([fold.train, fold.validation, fold.test])
        np.testing.assert_array_equal(np.sort(parts), np.arange(n_pairs))
        assert len(fold.train) and len(fold.validation) and len(fold.test)
        assert len(fold.train) >= len(fold.validation)  # equal where three groups are one each
        if group is not None:
            assert not set(group[fold.test]) & set(group[np.r_[fold.train, fold.validation]])


def test_groups_are_whole_in_all_three_sets():
    group = np.random.default_rng(0).integers(0, 60, 600)
    for fold in folds_of(600, group=group):
        sets = [set(group[rows]) for rows in (fold.train, fold.validation, fold.test)]
        assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
        assert 40 <= len(fold.validation) <= 120


def test_classes_are_spread_over_the_test_sets():
    classes = np.r_[np.zeros(270, int), np.ones(27, int), np.full(3, 2)]
    for fold in folds_of(300, classes=classes):
        np.testing.assert_array_equal(np.bincount(classes[fold.test]), [90, 9, 1])


def test_one_group_cannot_be_kept_whole():
    with pytest.raises(MeasurementError, match="1 group"):
        folds_of(100, group=np.zeros(100, dtype=int))


def test_fewer_groups_than_folds():
    assert len(folds_of(100, n_folds=5, group=np.arange(100) % 2)) == 2
