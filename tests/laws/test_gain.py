from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from nsl_assets.errors import InputError
from nsl_assets.laws import Curve, LawSettings, depth_gain, fit_noise_law, levels_needed, noise_law
from nsl_assets.laws.curve import levels_of
from nsl_assets.laws.equations import law_slopes
from nsl_assets.laws.noise_law_fit import error_model_of
from nsl_assets.randomness import generator

SETTINGS = LawSettings()
DEPTHS = np.geomspace(10, 8000, 8)


def curve_of(
    truth: Callable[[np.ndarray], np.ndarray], *, sd_bits: float = 0.03, n_seeds: int = 3, draw: int = 0
) -> Curve:
    bits = truth(DEPTHS) + sd_bits * generator("gain", draw).standard_normal((n_seeds, len(DEPTHS)))
    return Curve(np.tile(DEPTHS, n_seeds), bits.ravel(), np.repeat(np.arange(n_seeds), len(DEPTHS)))


def law(imax_bits: float, ubar: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda depth: noise_law(depth, imax_bits, ubar)


@pytest.mark.parametrize("to_depth", [16_000.0, np.inf])
@pytest.mark.parametrize("ubar", [300.0, 3000.0])
def test_interval_ends_are_the_extremes_that_the_likelihood_allows(ubar: float, to_depth: float) -> None:
    """An independent optimiser looks for the largest and smallest gain within the threshold."""
    curve = curve_of(law(2.5, ubar))
    found = depth_gain(curve, SETTINGS, 8000.0, to_depth)
    levels = levels_of(curve)
    model = error_model_of(curve, levels, "profile_likelihood", 0.95)
    slopes = law_slopes(np.log([8000.0, to_depth]), model.optimum.imax_bits, model.optimum.log_ubar)
    allowed = model.optimum.sum_of_squares + model.threshold(slopes[1] - slopes[0])

    def gain(theta: np.ndarray) -> float:
        before, after = noise_law(np.array([8000.0, to_depth]), theta[0], np.exp(theta[1]))
        return float(after - before)

    def slack(theta: np.ndarray) -> float:
        return allowed - float(((noise_law(levels.depth, theta[0], np.exp(theta[1])) - levels.mean_bits) ** 2).sum())

    start = np.array([model.optimum.imax_bits, model.optimum.log_ubar])
    ends = [
        minimize(
            lambda theta, sign=sign: sign * gain(theta),
            start,
            constraints={"type": "ineq", "fun": lambda theta: 1e3 * slack(theta)},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        ).x
        for sign in (1, -1)
    ]
    assert (found.low, found.high) == pytest.approx([gain(end) for end in ends], rel=0.01)
    assert found.value == pytest.approx(gain(start))


def test_an_open_imax_leaves_infinite_depth_open_and_twice_the_depth_closed() -> None:
    curve = curve_of(law(3.0, 3e5))
    assert fit_noise_law(curve, SETTINGS).imax_high_bits == np.inf
    assert depth_gain(curve, SETTINGS, 8000.0, np.inf).high == np.inf
    assert depth_gain(curve, SETTINGS, 8000.0, 16_000.0).high <= 0.5


def test_depths_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(InputError, match="must be larger"):
        depth_gain(curve_of(law(2.5, 300.0)), SETTINGS, 8000.0, 4000.0)


def test_levels_needed_grow_with_the_distance_of_the_plateau() -> None:
    found = [levels_needed(curve_of(law(2.5, ubar)), SETTINGS, reach=3) for ubar in (1e4, 1e5, 1e6)]
    assert all(one.at_least <= one.likely for one in found)
    assert found[0].likely < found[1].likely < found[2].likely
    assert found[0].spacing == pytest.approx(800 ** (1 / 7))
    assert found[0].depth(2) == pytest.approx(8000 * found[0].spacing ** 2)


@pytest.mark.parametrize("n_seeds", [1, 3, 6])
def test_curves_that_follow_the_law_are_rarely_called_misfits(n_seeds: int) -> None:
    flagged = [
        "misfit" in fit_noise_law(curve_of(law(2.5, 400.0), n_seeds=n_seeds, draw=draw), SETTINGS).flags
        for draw in range(60)
    ]
    assert np.mean(flagged) <= 0.15  # 5 % at most, and three standard errors


@pytest.mark.parametrize("n_seeds", [1, 3, 6])
@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_hill_curves_are_called_misfits(n_seeds: int, exponent: float) -> None:
    def hill(depth: np.ndarray) -> np.ndarray:
        return 2.5 / (1 + (400.0 / depth) ** exponent)

    flagged = [
        "misfit" in fit_noise_law(curve_of(hill, n_seeds=n_seeds, draw=draw), SETTINGS).flags for draw in range(20)
    ]
    assert np.mean(flagged) >= 0.9


def test_a_wiggle_that_no_slope_explains_is_a_misfit_too() -> None:
    def wiggling(depth: np.ndarray) -> np.ndarray:
        return noise_law(depth, 2.5, 400.0) + 0.1 * (-1.0) ** np.arange(len(depth))

    assert "misfit" in fit_noise_law(curve_of(wiggling), SETTINGS).flags


def test_seeds_that_differ_are_no_misfit_and_hide_none() -> None:
    """Seeds shift Imax and ln ū far beyond the noise: the old test of lack of fit would see nothing."""
    stream = generator("seeds that differ")
    imax_bits, ubar = 2.5 + 0.3 * stream.standard_normal((4, 1)), 400 * np.exp(0.3 * stream.standard_normal((4, 1)))

    def flags(bend: float) -> set[str]:
        bits = noise_law((DEPTHS / ubar) ** bend, imax_bits, 1.0) + 0.02 * stream.standard_normal((4, len(DEPTHS)))
        fit = fit_noise_law(Curve(np.tile(DEPTHS, 4), bits.ravel(), np.repeat(np.arange(4), len(DEPTHS))), SETTINGS)
        assert fit.lack_of_fit_p is not None and fit.lack_of_fit_p > 0.05
        return set(fit.flags)

    assert "misfit" not in flags(1.0)
    assert "misfit" in flags(0.75)
