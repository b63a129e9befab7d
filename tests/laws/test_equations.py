import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from nsl_assets.laws import depth_for, noise_law
from nsl_assets.laws.equations import law_slopes


def equation_one(depth: float, imax_bits: float, ubar: float) -> float:
    ratio = depth / ubar
    return imax_bits - 0.5 * np.log2((1 + ratio) / (ratio + 2 ** (-2 * imax_bits)))


@pytest.mark.parametrize("depth", [0.5, 30.0, 4000.0])
@pytest.mark.parametrize("imax_bits", [0.01, 1.3, 5.0])
def test_law_is_equation_one(depth: float, imax_bits: float) -> None:
    assert noise_law(depth, imax_bits, 200.0) == pytest.approx(equation_one(depth, imax_bits, 200.0), rel=1e-12)


def test_law_is_the_information_of_a_scalar_gaussian_channel() -> None:
    """Z = ηX + N(0, 1), X = Y + N(0, 1/ū), power SNR u = η²: I(Y; Z) by numerical integration of entropies."""
    ubar, imax_bits, depth = 3.0, 1.2, 5.0
    variance_y = (2 ** (2 * imax_bits) - 1) / ubar
    sd_given_y = np.sqrt(depth / ubar + 1)
    sd = np.sqrt(depth * variance_y + sd_given_y**2)

    def entropy_bits(scale: float) -> float:
        def minus_p_log_p(z: float) -> float:
            return -norm.pdf(z, scale=scale) * norm.logpdf(z, scale=scale) / np.log(2)

        return quad(minus_p_log_p, -12 * scale, 12 * scale)[0]

    expected = entropy_bits(sd) - entropy_bits(sd_given_y)
    assert noise_law(depth, imax_bits, ubar) == pytest.approx(expected, abs=1e-8)


def test_limits() -> None:
    assert noise_law(0.0, 2.0, 100.0) == 0
    assert noise_law(np.inf, 2.0, 100.0) == 2.0
    assert noise_law(1e-12, 2.0, 100.0) == pytest.approx(1e-14 * (2**4 - 1) / (2 * np.log(2)), rel=1e-9)
    assert noise_law(100.0, 0.0, 100.0) == 0
    assert noise_law(1.0, 3000.0, 1.0) == pytest.approx(3000 - 0.5, rel=1e-12)  # 2^6000 overflows


@given(st.floats(0.01, 12.0), st.floats(1e-3, 1e6), st.floats(0.001, 0.999))
def test_inversion_returns_the_depth(imax_bits: float, ubar: float, fraction: float) -> None:
    depth = depth_for(fraction * imax_bits, imax_bits, ubar)
    assert noise_law(depth, imax_bits, ubar) == pytest.approx(fraction * imax_bits, rel=1e-8)


def test_inversion_is_c4_and_has_its_limits() -> None:
    assert depth_for(1.5, 2.0, 50.0) == pytest.approx(50 * (2**3 - 1) / (2**4 - 2**3), rel=1e-12)
    assert depth_for([0.0, -0.1, 2.0, 2.5], 2.0, 50.0).tolist() == [0, 0, np.inf, np.inf]
    assert np.isfinite(depth_for(0.9 * 800, 800.0, 1.0))


def test_slopes_are_those_of_the_law() -> None:
    depth, imax_bits, ubar, step = np.array([1.0, 50.0, 900.0, np.inf]), 1.7, 80.0, 1e-6
    by_imax = (noise_law(depth, imax_bits + step, ubar) - noise_law(depth, imax_bits - step, ubar)) / (2 * step)
    by_log_ubar = (
        noise_law(depth, imax_bits, ubar * np.exp(step)) - noise_law(depth, imax_bits, ubar * np.exp(-step))
    ) / (2 * step)
    slopes = law_slopes(np.log(depth), imax_bits, np.log(ubar))
    np.testing.assert_allclose(slopes, np.column_stack([by_imax, by_log_ubar]), atol=1e-8)
