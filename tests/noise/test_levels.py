"""Noise levels, their partition keys, and the settings that hold them."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nsl_assets.errors import InputError
from nsl_assets.noise import BinomialThinning, NoiseSettings, geometric_levels, level_key, level_of
from nsl_assets.noise.thresholds import NEVER, binomial_thresholds

LEVELS = st.integers(1, 10**6).map(lambda millionths: millionths / 10**6)


@given(LEVELS)
def test_every_level_of_settings_survives_its_key(level: float) -> None:
    (kept,) = BinomialThinning(levels=(level,)).levels
    key = level_key(kept)
    assert level_of(key) == level
    assert not set(key) & set("|[], ")


@given(st.lists(LEVELS, min_size=2, unique=True))
def test_keys_sort_as_levels_do(levels: list[float]) -> None:
    assert [level_of(key) for key in sorted(map(level_key, levels))] == sorted(levels)


def test_the_key_of_a_level() -> None:
    assert level_key(0.025) == "q0.025000"
    assert level_key(1) == "q1.000000"


@pytest.mark.parametrize(
    "key", ["0.025000", "q0.025", "q0.0250000", "q2.000000", "q0.000000", "q1.000001", "q0.025000\n", ""]
)
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InputError):
        level_of(key)


@pytest.mark.parametrize("level", [0.1234567, 1e-7, 1 / 3])
def test_levels_with_too_many_digits_are_refused(level: float) -> None:
    with pytest.raises(InputError, match="more than 6 decimals"):
        level_key(level)
    with pytest.raises(ValidationError, match=r"levels\n.*more than 6 decimals"):
        BinomialThinning(levels=(level,))


@pytest.mark.parametrize("level", [0.0, -1.0, 1.5, float("nan")])
def test_settings_refuse_levels_outside_zero_to_one(level: float) -> None:
    with pytest.raises(ValidationError, match=r"levels\n.*above 0, at most 1"):
        BinomialThinning(levels=(1.0, level))


def test_settings_put_the_deepest_level_first_and_refuse_repeats() -> None:
    assert BinomialThinning(levels=(0.1, 1, 0.5)).levels == (1.0, 0.5, 0.1)
    with pytest.raises(ValidationError, match=r"\[0\.5\] appear more than once"):
        BinomialThinning(levels=(0.5, 1.0, 0.5))
    with pytest.raises(ValidationError, match="at least 1 item"):
        BinomialThinning(levels=())
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        BinomialThinning(levels=(0.5,), level=0.5)  # type: ignore[call-arg]


def test_settings_survive_json() -> None:
    settings = BinomialThinning(levels=(1.0, 0.3, 0.000001))
    assert TypeAdapter(NoiseSettings).validate_json(settings.model_dump_json()) == settings


def test_geometric_levels_have_equal_ratios() -> None:
    assert geometric_levels(3, 0.01) == (1.0, 0.1, 0.01)
    levels = np.array(geometric_levels(10, 0.004))
    assert levels[[0, -1]].tolist() == [1.0, 0.004]
    np.testing.assert_allclose(levels[1:] / levels[:-1], 0.004 ** (1 / 9), rtol=0.005)


@given(st.integers(2, 12), st.floats(0.0001, 0.5))
def test_geometric_levels_are_levels(n: int, lowest: float) -> None:
    levels = geometric_levels(n, lowest)
    assert BinomialThinning(levels=levels).levels == levels
    assert all(float(f"{level:.2e}") == level for level in levels)


@pytest.mark.parametrize(("n", "lowest"), [(1, 0.1), (5, 0.0), (5, 1.0), (5, float("nan")), (40, 0.999), (3, 1e-9)])
def test_impossible_geometric_levels_are_refused(n: int, lowest: float) -> None:
    with pytest.raises(InputError):
        geometric_levels(n, lowest)


@pytest.mark.parametrize("level", [0.000001, 0.1, 0.5, 0.75, 0.999999])
def test_thresholds_are_the_exact_distribution_function(level: float) -> None:
    table, q = binomial_thresholds(level), Fraction(level)
    for n in (1, 2, 7, 64):
        below = Fraction(0)
        for k in range(n):
            below += comb(n, k) * q**k * (1 - q) ** (n - k)
            assert abs(below - Fraction(int(table[n, k]) + 1, 2**64)) <= Fraction(1, 2**64)
        assert (table[n, n:] == NEVER).all()
