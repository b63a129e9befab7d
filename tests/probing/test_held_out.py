"""The headline rule and its bracket, from bounds that are made up."""

import numpy as np
import pytest

from nsl_assets.probing.gaussian import GaussianInformation
from nsl_assets.probing.held_out import FoldBound, HeldOutBounds, infonce_measurement, pooled_measurement


def fold(number, bound, train, *, is_zero=False, contrast=0.0, base=0.0):
    return FoldBound(
        rows=np.arange(50) + 50 * number,
        terms_bits=np.full(50, bound),
        train_bits=train,
        is_zero=is_zero,
        weights=(1.0, 1.0),
        contrast_bits=contrast,
        base_bits=base,
    )


def bounds(*folds, gaussian=None, columns=None, group=None, n_contrasts=1_000):
    def information(value):
        return None if value is None else GaussianInformation(np.full(100, value), chance_bits=0.05)

    return HeldOutBounds(
        folds=folds,
        floor=fold(0, 0.0, 0.0),
        group=group,
        gaussian=information(gaussian),
        columns_gaussian=information(columns),
        n_contrasts=n_contrasts,
        steps=(1,),
    )


@pytest.mark.parametrize("gaussian", [None, 0.5, 1.15, 9.0])
def test_the_headline_adds_half_the_gap_whatever_the_copula_says(gaussian):
    two = bounds(fold(0, 1.0, 1.2), fold(1, 1.0, 1.2), gaussian=gaussian)
    assert pooled_measurement(two).value_bits == pytest.approx(1.1)
    assert infonce_measurement(two).value_bits == pytest.approx(1.0)
    assert two.gap_bits == pytest.approx(0.2)


def test_between_groups_the_gap_is_not_added():
    group = np.repeat(np.arange(10), 10)
    two = bounds(fold(0, 1.0, 1.4, base=1.0), fold(1, 1.0, 1.4, base=1.0), gaussian=1.1, group=group)
    measured = pooled_measurement(two)
    assert measured.value_bits == pytest.approx(1.0)
    assert measured.high_bits == pytest.approx(1.4)


def test_a_finite_number_of_contrasts_is_made_up_for():
    two = bounds(fold(0, 4.0, 4.0, contrast=0.1), fold(1, 4.0, 4.0, contrast=0.1))
    assert pooled_measurement(two).value_bits == pytest.approx(4.1)
    assert infonce_measurement(two).value_bits == pytest.approx(4.0)
    assert pooled_measurement(two).high_bits >= 4.2


@pytest.mark.parametrize(
    ("bound", "train", "is_unreliable"), [(2.0, 2.4, False), (2.0, 2.6, True), (0.5, 0.6, False), (0.5, 0.9, True)]
)
def test_a_large_gap_is_unreliable(bound, train, is_unreliable):
    flags = pooled_measurement(bounds(fold(0, bound, train), fold(1, bound, train))).flags
    assert ("unreliable" in flags) == is_unreliable


def test_an_unreliable_bracket_reaches_up_to_the_gaussian_information():
    two = bounds(fold(0, 0.1, 0.2, base=0.1), fold(1, 0.1, 0.2, base=0.1), gaussian=0.8)
    assert pooled_measurement(two).value_bits == pytest.approx(0.15)
    assert pooled_measurement(two).high_bits == pytest.approx(0.8 + 1.96 * 0.05)


@pytest.mark.parametrize(("gaussian", "headline"), [(0.4, 0.2), (0.14, 0.0), (-0.1, 0.0)])
def test_where_no_fold_finds_anything_half_of_the_copula_beyond_chance_counts(gaussian, headline):
    two = bounds(fold(0, 0.0, 0.0, is_zero=True), fold(1, 0.0, 0.0, is_zero=True), gaussian=gaussian)
    assert pooled_measurement(two).value_bits == pytest.approx(headline)
    assert "nothing_found" in pooled_measurement(two).flags


def test_a_fold_without_information_counts_as_zero_and_keeps_its_spread():
    found, nothing = fold(0, 1.0, 1.0), fold(1, -5.0, 3.0, is_zero=True)
    assert infonce_measurement(bounds(found, nothing)).value_bits == pytest.approx(0.5)


@pytest.mark.parametrize(("columns", "beyond"), [(None, 0.3), (0.2, 0.8), (3.0, 0.3)])
def test_what_is_not_gaussian_raises_the_upper_end(columns, beyond):
    two = bounds(fold(0, 1.0, 1.0, base=0.7), fold(1, 1.0, 1.0, base=0.7), columns=columns)
    assert two.beyond_gaussian_bits == pytest.approx(beyond)
    assert pooled_measurement(two).high_bits == pytest.approx(1.0 + 0.2 * beyond)


def test_a_bound_near_the_logarithm_of_its_contrasts_is_flagged():
    two = bounds(fold(0, 6.5, 6.5), fold(1, 6.5, 6.5), n_contrasts=128)
    assert "near_log_k" in infonce_measurement(two).flags
    assert "near_log_k" not in infonce_measurement(bounds(fold(0, 3.0, 3.0), n_contrasts=128)).flags
