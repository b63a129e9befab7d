import numpy as np
import pytest

from nsl_assets.laws import (
    Curve,
    JointSettings,
    LawSettings,
    Surface,
    compare_information,
    compare_models,
    fit_joint_law,
    joint_gain,
    noise_law,
    predict_joint,
)
from nsl_assets.randomness import generator

DEPTHS, SIZES = np.geomspace(10, 8000, 8), np.geomspace(300, 100_000, 6)


def truth(depth: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    return noise_law(depth, 2.5 - 0.8 * (n_cells / 300) ** -0.5, 500.0)


def surface(*, shift_sd: float = 0.0, draw: int = 0) -> Surface:
    stream = generator("joint gain", draw)
    depth, n_cells, seed = (grid.ravel() for grid in np.meshgrid(DEPTHS, SIZES, np.arange(3)))
    shift = shift_sd * stream.standard_normal(3)
    bits = truth(depth, n_cells) + shift[seed] + 0.02 * stream.standard_normal(len(depth))
    return Surface(depth, n_cells, bits, seed)


def test_a_gain_is_the_difference_of_two_predictions() -> None:
    fit = fit_joint_law(surface())
    depth, n_cells = np.array([100.0, 4000.0, 20_000.0]), np.array([1e4, 3e4, 1e5])
    gain = joint_gain(fit, depth, n_cells, over=(1000.0, 1e4))
    over = predict_joint(fit, 1000.0, 1e4).bits[0]
    np.testing.assert_allclose(gain.bits, predict_joint(fit, depth, n_cells).bits - over, atol=1e-12)
    same = joint_gain(fit, 1000.0, 1e4, over=(1000.0, 1e4))
    assert (same.low_bits[0], same.high_bits[0]) == pytest.approx((0, 0), abs=1e-6)


def test_what_seeds_do_to_the_whole_surface_cancels() -> None:
    fit = fit_joint_law(surface(shift_sd=0.2))
    gain = joint_gain(fit, 4000.0, 1e4, over=(1000.0, 1e4))
    alone = predict_joint(fit, 4000.0, 1e4)
    assert gain.high_bits[0] - gain.low_bits[0] < 0.5 * (alone.high_bits[0] - alone.low_bits[0])


def test_gains_within_the_measured_surface_hold() -> None:
    """Intervals of gains between measured places, 15 surfaces: the truth is inside in nine of ten or more."""
    places = [(8000.0, 1e4), (500.0, 1e5), (50.0, 1e3)]
    held = []
    for draw in range(15):
        fit = fit_joint_law(surface(shift_sd=0.05, draw=draw))
        for depth, n_cells in places:
            gain = joint_gain(fit, depth, n_cells, over=(2000.0, 2e4))
            expected = truth(np.array([depth, 2000.0]), np.array([n_cells, 2e4]))
            held.append(gain.low_bits[0] <= expected[0] - expected[1] <= gain.high_bits[0])
    assert np.mean(held) >= 0.9


def test_far_from_the_measurements_gains_are_less_certain() -> None:
    fit = fit_joint_law(surface(), JointSettings())
    near, far = joint_gain(fit, [8000.0, 80_000.0], 1e4, over=(4000.0, 1e4)).high_bits
    low_near, low_far = joint_gain(fit, [8000.0, 80_000.0], 1e4, over=(4000.0, 1e4)).low_bits
    assert far - low_far > 2 * (near - low_near)


def test_information_of_two_models_at_one_depth() -> None:
    settings, stream = LawSettings(), generator("two models at one depth")
    shared = 0.1 * stream.standard_normal((4, 1))
    curves = {
        name: Curve(
            np.tile(DEPTHS, 4),
            (noise_law(DEPTHS, imax_bits, 400.0) + shared + 0.02 * stream.standard_normal((4, 8))).ravel(),
            np.repeat(np.arange(4), 8),
        )
        for name, imax_bits in (("a", 2.0), ("b", 2.5))
    }
    expected = noise_law(500.0, 2.0, 400.0) - noise_law(500.0, 2.5, 400.0)
    (found,) = compare_information(curves, 500.0, settings)
    assert found.bits.low < expected < found.bits.high < 0
    assert found.bits.high - found.bits.low < 0.2
    (at_infinity,) = compare_information(curves, np.inf, settings)
    assert at_infinity.bits == compare_models(curves, settings)[0].imax_bits
