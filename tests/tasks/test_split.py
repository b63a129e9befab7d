"""The split depends on who the cells are, not on where they stand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsl_assets.errors import InputError
from nsl_assets.tasks.base_settings import SplitSettings
from nsl_assets.tasks.split import PROBE, TRAIN, VALIDATION, split_cells

SPLIT = SplitSettings()


def names(n: int) -> np.ndarray:
    return np.array([f"cell{i}" for i in range(n)], dtype=object)


@given(n=st.integers(10, 300), seed=st.integers(0, 10), shuffle=st.integers(0, 1000), grouped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_roles_follow_cells_through_any_order(n: int, seed: int, shuffle: int, grouped: bool) -> None:
    split = SplitSettings(split_seed=seed)
    groups = np.array([f"donor{i % 7}" for i in range(n)], dtype=object) if grouped else None
    order = np.random.default_rng(shuffle).permutation(n)
    roles = split_cells(names(n), groups, split)
    shuffled = split_cells(names(n)[order], None if groups is None else groups[order], split)
    np.testing.assert_array_equal(roles[order], shuffled)


@given(sizes=st.lists(st.integers(1, 200), min_size=3, max_size=12), seed=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_groups_stay_together_and_every_role_has_one(sizes: list[int], seed: int) -> None:
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    if groups.size < 10:
        return
    roles = split_cells(names(groups.size), groups, SplitSettings(split_seed=seed))
    assert set(roles) == {TRAIN, VALIDATION, PROBE}
    for group in set(groups):
        assert len(set(roles[groups == group])) == 1


def test_fractions_are_met_exactly_without_groups() -> None:
    roles = split_cells(names(1000), None, SPLIT)
    assert [int((roles == role).sum()) for role in (TRAIN, VALIDATION, PROBE)] == [600, 100, 300]


def test_fractions_are_met_nearly_with_many_groups() -> None:
    groups = np.array([f"embryo{i % 100}" for i in range(1000)])
    roles = split_cells(names(1000), groups, SPLIT)
    assert [int((roles == role).sum()) for role in (TRAIN, VALIDATION, PROBE)] == [600, 100, 300]


def test_a_giant_group_trains() -> None:
    groups = np.repeat(["giant", "a", "b", "c", "d"], [900, 30, 30, 20, 20])
    for seed in range(20):
        roles = split_cells(names(1000), groups, SplitSettings(split_seed=seed))
        assert roles[0] == TRAIN


def test_another_seed_is_another_split() -> None:
    first, second = (split_cells(names(1000), None, SplitSettings(split_seed=s)) == PROBE for s in (0, 1))
    assert 60 < (first & second).sum() < 120  # independent sets of 300 share 90 of 1000


def test_two_groups_are_refused_with_the_number_needed() -> None:
    with pytest.raises(InputError, match=r"2 groups \(a, b\) cannot be split.*3 at least"):
        split_cells(names(20), np.array(["a", "b"] * 10), SPLIT)


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="9 cells"):
        split_cells(names(9), None, SPLIT)


def test_fractions_must_leave_cells_to_train() -> None:
    with pytest.raises(ValueError, match="leave at least a tenth"):
        SplitSettings(probe_fraction=0.8, validation_fraction=0.2)
