import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.laws import Curve, LawSettings, ToyModel, compare_laws, fit_noise_law, noise_law

DEPTHS = np.geomspace(0.02, 2000, 12)
SETTINGS = LawSettings()
SPREAD = ToyModel(np.diag([30.0, 3.0, 0.3]), np.diag([0.05, 1.0, 20.0]))


def exact_curve(model: ToyModel) -> Curve:
    return Curve(DEPTHS, model.information_bits(DEPTHS), np.zeros(len(DEPTHS), dtype=int))


def test_the_scalar_model_is_the_noise_law() -> None:
    model = ToyModel(np.array(6.0), np.array(0.4))
    imax_bits, ubar = model.noise_law()
    assert (imax_bits, ubar) == pytest.approx((0.5 * np.log2(1 + 6 / 0.4), 2.5))
    assert model.information_bits(DEPTHS) == pytest.approx(noise_law(DEPTHS, imax_bits, ubar))
    assert model.information_bits(np.inf) == pytest.approx(imax_bits)


def test_equal_dimensions_add_up() -> None:
    """Three copies of a scalar channel carry three times its information."""
    scalar, triple = ToyModel(np.array(6.0), np.array(0.4)), ToyModel(6 * np.eye(3), 0.4 * np.eye(3))
    assert triple.information_bits(DEPTHS) == pytest.approx(3 * scalar.information_bits(DEPTHS))


def test_information_does_not_depend_on_the_basis() -> None:
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = ToyModel(*(rotation @ matrix @ rotation.T for matrix in (SPREAD.signal, SPREAD.noise)))
    assert turned.information_bits(DEPTHS) == pytest.approx(SPREAD.information_bits(DEPTHS))


def test_simulated_cells_agree_with_the_closed_form() -> None:
    curve = SPREAD.simulated_curve(DEPTHS, n_cells=20_000, n_seeds=2)
    assert curve.mi_bits.reshape(2, -1).mean(axis=0) == pytest.approx(SPREAD.information_bits(DEPTHS), abs=0.02)


def test_the_scalar_law_is_recovered_from_simulated_cells() -> None:
    model = ToyModel(np.array(6.0), np.array(0.4))
    fit = fit_noise_law(model.simulated_curve(DEPTHS, n_cells=2000, n_seeds=4), SETTINGS)
    imax_bits, ubar = model.noise_law()
    assert fit.imax_low_bits < imax_bits < fit.imax_high_bits
    assert fit.ubar_low < ubar < fit.ubar_high
    assert fit.lack_of_fit_p is not None
    assert fit.lack_of_fit_p > 0.01
    assert not fit.flags


def test_the_vector_case_reports_its_misfit() -> None:
    """Dimensions whose noise differs bend the curve over more decades than Eq. 1 can."""
    fit = fit_noise_law(SPREAD.simulated_curve(DEPTHS, n_cells=2000, n_seeds=4), SETTINGS)
    assert fit.lack_of_fit_p is not None
    assert fit.lack_of_fit_p < 1e-6
    comparison = compare_laws(SPREAD.simulated_curve(DEPTHS, n_cells=2000, n_seeds=4))
    assert comparison.score("noise_law").aicc > comparison.score("law_with_free_slope").aicc + 10
    exact = fit_noise_law(exact_curve(SPREAD), SETTINGS)
    assert exact.residual_sd_bits > 0.05


def test_dimensions_that_differ_little_fit_as_well_as_one() -> None:
    alike = ToyModel(np.diag([6.0, 5.5]), np.diag([0.4, 0.42]))
    assert fit_noise_law(exact_curve(alike), SETTINGS).residual_sd_bits > 10 * (
        fit_noise_law(exact_curve(ToyModel(np.array(6.0), np.array(0.4))), SETTINGS).residual_sd_bits
    )


@pytest.mark.parametrize(
    ("signal", "noise", "message"),
    [
        (np.eye(2), np.array([[1.0, 2], [2, 1]]), "noise"),
        (np.ones((2, 3)), np.eye(2), "signal"),
        (np.eye(2), np.eye(3), "shapes"),
    ],
)
def test_impossible_covariances_are_refused(signal: np.ndarray, noise: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ToyModel(signal, noise)


def test_the_vector_model_has_no_exact_law() -> None:
    with pytest.raises(InputError, match="3 dimensions"):
        SPREAD.noise_law()
