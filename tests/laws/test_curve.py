import numpy as np
import pytest

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws import Curve, LawSettings, fit_noise_law
from nsl_assets.laws.curve import levels_of


def curve(depth=(10, 100, 1000), mi_bits=(0.1, 0.5, 1.0), seed=(0, 0, 0), **columns) -> Curve:
    return Curve(depth, mi_bits, seed, **columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mi_bits": (0.1, np.nan, 1.0)}, "nan bits at depth 100"),
        ({"mi_bits": (0.1, np.inf, 1.0)}, "inf bits"),
        ({"depth": (10, -5, 1000)}, "depth -5"),
        ({"depth": (0, 5, 1000)}, "depth 0"),
        ({"depth": (np.nan, 5, 1000)}, "depth nan"),
        ({"mi_bits": ("a", "b", "c")}, "'mi_bits'"),
        ({"depth": ("deep", "10", "1")}, "'depth'"),
        ({"seed": ("a", "b", "c")}, "'seed'"),
        ({"seed": (0, 0)}, "lengths"),
        ({"depth": ((10, 100, 1000),)}, "one dimension"),
    ],
)
def test_unusable_columns_are_named(columns: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        curve(**columns)


def test_two_levels_are_not_a_curve() -> None:
    two_levels = curve(depth=(10, 10.2, 500), seed=(1, 2, 1))
    with pytest.raises(MeasurementError, match="2 noise levels"):
        fit_noise_law(two_levels, LawSettings())
    with pytest.raises(MeasurementError, match="0 noise levels"):
        fit_noise_law(curve((), (), np.array([], dtype=int)), LawSettings())


def test_realised_depths_of_seeds_form_levels() -> None:
    levels = levels_of(
        curve(
            depth=(980, 10.4, 103, 1000, 9.8, 100, np.inf),
            mi_bits=(1.0, 0.1, 0.5, 1.2, 0.3, 0.7, 2.0),
            seed=(1, 1, 1, 2, 2, 2, 2),
        )
    )
    np.testing.assert_allclose(levels.depth, [np.sqrt(10.4 * 9.8), np.sqrt(10300), np.sqrt(980000), np.inf])
    np.testing.assert_allclose(levels.mean_bits, [0.2, 0.6, 1.1, 2.0])
    assert levels.n_points == 7


def test_near_levels_of_the_same_seed_stay_apart() -> None:
    assert len(levels_of(curve(depth=(950, 1000, 20))).depth) == 3


def test_named_levels_decide() -> None:
    levels = levels_of(
        curve(
            depth=(3, 4.2, 30, 50, 900),
            mi_bits=(0.1, 0.2, 0.3, 0.4, 1),
            seed=(1, 2, 1, 2, 1),
            level=(0.01, 0.01, 0.1, 0.1, 1),
        )
    )
    np.testing.assert_allclose(levels.mean_bits, [0.15, 0.35, 1])


def test_repeated_seeds_count_once() -> None:
    levels = levels_of(
        curve(
            depth=(10, 100, 1000) * 3,
            mi_bits=(0.1, 0.5, 1.0, 0.1, 0.5, 1.0, 0.4, 0.8, 1.3),
            seed=(1, 1, 1, 2, 2, 2, 3, 3, 3),
        )
    )
    np.testing.assert_allclose(levels.mean_bits, [0.25, 0.65, 1.15])
    assert (levels.n_seeds, levels.n_points, levels.is_replicated) == (2, 6, False)


def test_one_level_without_replication_is_seen() -> None:
    levels = levels_of(
        curve(depth=(10, 100, 1000) * 2, mi_bits=(0.1, 0.5, 1.0, 0.2, 0.6, 1.0), seed=(1, 1, 1, 2, 2, 2))
    )
    assert (levels.n_seeds, levels.n_points, levels.is_replicated) == (2, 5, False)
