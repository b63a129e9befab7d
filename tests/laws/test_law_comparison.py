import numpy as np
import pytest
from scipy.optimize import curve_fit

from nsl_assets.errors import MeasurementError
from nsl_assets.laws import Curve, compare_laws, compare_laws_of, fit_noise_law, noise_law
from nsl_assets.laws.rival_laws import CURVE_LAWS, CurveLaw
from nsl_assets.laws.settings import LawSettings
from nsl_assets.randomness import generator

DEPTHS = np.geomspace(10, 20_000, 12)
LAWS = {law.name: law for law in CURVE_LAWS}
TRUTHS = {
    "noise_law": [np.log(2.5), np.log(400)],
    "law_with_floor": [np.log(2.0), np.log(400), 0.4],
    "law_with_free_slope": [np.log(2.5), np.log(400), np.log(0.55)],
    "hill": [np.log(2.5), np.log(400), np.log(2.5)],
    "michaelis_menten": [np.log(2.5), np.log(700)],
    "log_linear": [0.2, 0.3],
}


def bits_of(law: CurveLaw, theta: list[float], depth: np.ndarray) -> np.ndarray:
    return law.law(np.array(theta)[:, None], np.log(depth)[:, None])[0][:, 0]


def simulated(name: str, *, sd_bits: float = 0.01, draw: int = 0, n_seeds: int = 2) -> Curve:
    noise = generator("rival", name, draw).standard_normal((n_seeds, len(DEPTHS)))
    bits = bits_of(LAWS[name], TRUTHS[name], DEPTHS) + sd_bits * noise
    return Curve(np.tile(DEPTHS, n_seeds), bits.ravel(), np.repeat(np.arange(n_seeds), len(DEPTHS)))


@pytest.mark.parametrize("name", LAWS)
def test_slopes_are_those_of_finite_differences(name: str) -> None:
    theta = np.array(TRUTHS[name])[:, None]
    log_depth = np.log(DEPTHS)[:, None]
    _, slopes = LAWS[name].law(theta, log_depth)
    for i, step in enumerate(1e-6 * np.eye(len(theta))[:, :, None]):
        above, below = (LAWS[name].law(theta + sign * step, log_depth)[0] for sign in (1, -1))
        assert slopes[i] == pytest.approx((above - below) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("name", LAWS)
def test_the_law_that_made_a_curve_wins(name: str) -> None:
    """Or a law that contains it is as good: within what one parameter costs."""
    comparison = compare_laws(simulated(name))
    assert comparison.score(name).aicc_above_best < 6
    assert comparison.score(name).r2 > 0.999
    assert comparison.score(name).converged


def test_fits_and_aicc_are_those_of_curve_fit() -> None:
    curve = simulated("hill", sd_bits=0.05, n_seeds=1)
    score = compare_laws(curve).score("hill")
    law = LAWS["hill"]
    best, _ = curve_fit(lambda u, *theta: bits_of(law, list(theta), u), curve.depth, curve.mi_bits, p0=TRUTHS["hill"])
    sum_of_squares = ((bits_of(law, best, curve.depth) - curve.mi_bits) ** 2).sum()
    n, counted = len(DEPTHS), 4
    aicc = n * np.log(sum_of_squares / n) + 2 * counted + 2 * counted * (counted + 1) / (n - counted - 1)
    assert score.aicc == pytest.approx(aicc, abs=1e-4)


def test_the_noise_law_is_that_of_the_single_fit() -> None:
    curve = simulated("noise_law", sd_bits=0.05)
    assert compare_laws(curve).score("noise_law").r2 == pytest.approx(
        fit_noise_law(curve, LawSettings()).r2_seed_means, abs=1e-7
    )


def test_held_out_levels_are_predicted_from_the_others() -> None:
    curve = simulated("noise_law", sd_bits=0.05, n_seeds=1)
    errors = []
    for left_out in range(len(DEPTHS)):
        rest = np.arange(len(DEPTHS)) != left_out
        fit = fit_noise_law(Curve(curve.depth[rest], curve.mi_bits[rest], curve.seed[rest]), LawSettings())
        errors.append(float(noise_law(DEPTHS[left_out], fit.imax_bits, fit.ubar)) - curve.mi_bits[left_out])
    score = compare_laws(curve).score("noise_law")
    assert score.held_out_rmse_bits == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=1e-4)
    assert score.deepest_error_bits == pytest.approx(errors[-1], abs=1e-4)


def test_weights_share_out_one() -> None:
    comparison = compare_laws(simulated("noise_law", sd_bits=0.05))
    assert sum(score.weight for score in comparison.scores) == pytest.approx(1)
    assert comparison.best.aicc_above_best == 0


def test_a_curve_does_not_depend_on_its_batch() -> None:
    curves = [simulated("noise_law", draw=0), Curve(DEPTHS[:5], np.arange(5.0), np.zeros(5, dtype=int))]
    for together, curve in zip(compare_laws_of(curves), curves, strict=True):
        assert [one.aicc for one in together.scores] == pytest.approx([one.aicc for one in compare_laws(curve).scores])


def test_few_levels_have_no_aicc() -> None:
    comparison = compare_laws(Curve(DEPTHS[:4], np.arange(4.0), np.zeros(4, dtype=int)))
    assert all(score.aicc == np.inf for score in comparison.scores)
    assert np.isnan(comparison.scores[0].weight)


def test_the_noiseless_level_is_compared_too() -> None:
    curve = simulated("noise_law")
    with_limit = Curve(np.append(curve.depth, np.inf), np.append(curve.mi_bits, 2.5), np.append(curve.seed, 0))
    comparison = compare_laws(with_limit)
    assert comparison.score("noise_law").r2 > 0.999
    assert comparison.score("log_linear").r2 < 0.9


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(MeasurementError, match="2 noise levels"):
        compare_laws(Curve(DEPTHS[:2], np.ones(2), np.zeros(2, dtype=int)))
