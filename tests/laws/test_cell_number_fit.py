import numpy as np
import pytest
from scipy.optimize import least_squares

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws import (
    CELL_NUMBER_FLAGS,
    CellNumberLawFit,
    Curve,
    LawSettings,
    cell_number_law,
    curve_over_cells,
    fit_cell_number_law,
)
from nsl_assets.laws.cell_number_law import SizePoints, cell_number_optimum, cell_number_slopes
from nsl_assets.randomness import generator

SIZES = np.geomspace(100, 100_000, 10)
SETTINGS = LawSettings()


def simulated(
    i_inf_bits: float = 2.0,
    n_sat: float = 300.0,
    exponent: float = 0.5,
    *,
    sd_bits: float = 0.03,
    seed_sd_bits: float = 0.0,
    n_seeds: int = 3,
    draw: int = 0,
    sizes: np.ndarray = SIZES,
) -> Curve:
    """A curve with known parameters: independent errors, and seeds that shift the whole curve."""
    stream = generator("cell curve", n_seeds, draw)
    shift = seed_sd_bits * stream.standard_normal((n_seeds, 1))
    bits = cell_number_law(sizes, i_inf_bits, n_sat, exponent) + shift
    bits = bits + sd_bits * stream.standard_normal(bits.shape)
    return curve_over_cells(np.tile(sizes, n_seeds), bits.ravel(), np.repeat(np.arange(n_seeds), len(sizes)))


def fitted(curve: Curve, **options: float) -> CellNumberLawFit:
    return fit_cell_number_law(curve, SETTINGS, **options)


@pytest.mark.parametrize("n_sat", [3.0, 300.0, 1e5])
@pytest.mark.parametrize("exponent", [0.15, 0.5, 1.5])
def test_exact_curves_are_recovered(n_sat: float, exponent: float) -> None:
    fit = fitted(simulated(2.0, n_sat, exponent, sd_bits=0))
    assert fit.converged
    assert fit.i_inf_bits == pytest.approx(2, abs=1e-3)
    assert fit.n_sat == pytest.approx(n_sat, rel=0.01)
    assert fit.exponent == pytest.approx(exponent, rel=0.01)
    assert fit.r2_seed_means == pytest.approx(1)


def test_the_optimum_is_that_of_an_independent_search() -> None:
    for draw in range(10):
        curve = simulated(draw=draw, n_seeds=1, sd_bits=0.1)
        optimum = cell_number_optimum(SizePoints(curve.depth, curve.mi_bits))
        for start in ([1.0, 5.0, -1.0], [2.0, 6.0, -0.5], [3.0, 9.0, -2.0]):
            other = least_squares(
                lambda p, curve=curve: (
                    cell_number_law(curve.depth, p[0], np.exp(p[1]), np.exp(np.minimum(p[2], 2))) - curve.mi_bits
                ),
                start,
            )
            assert optimum.sum_of_squares <= 2 * other.cost * (1 + 1e-6)


def test_slopes_are_those_of_finite_differences() -> None:
    theta = np.array([2.0, np.log(300), np.log(0.4)])

    def law(at: np.ndarray) -> np.ndarray:
        return cell_number_law(SIZES, at[0], np.exp(at[1]), np.exp(at[2]))

    numerical = np.column_stack([(law(theta + step) - law(theta - step)) / 2e-6 for step in 1e-6 * np.eye(3)])
    assert cell_number_slopes(SIZES, 300.0, 0.4) == pytest.approx(numerical, abs=1e-7)


@pytest.mark.parametrize(("n_seeds", "seed_sd_bits"), [(1, 0.0), (3, 0.05)])
def test_intervals_hold(n_seeds: int, seed_sd_bits: float) -> None:
    """100 curves: nominal 95 % intervals hold the truth in at least 88 %."""
    fits = [fitted(simulated(n_seeds=n_seeds, seed_sd_bits=seed_sd_bits, draw=draw)) for draw in range(100)]
    assert np.mean([fit.i_inf_low_bits <= 2 <= fit.i_inf_high_bits for fit in fits]) >= 0.88
    assert np.mean([fit.n_sat_low <= 300 <= fit.n_sat_high for fit in fits]) >= 0.88
    assert np.mean([fit.exponent_low <= 0.5 <= fit.exponent_high for fit in fits]) >= 0.88


def test_a_logarithm_has_no_plateau() -> None:
    bits = 0.3 * np.log(SIZES) + 0.02 * generator("logarithm").standard_normal(10)
    fit = fitted(curve_over_cells(SIZES, bits, np.zeros(10, int)))
    assert {"no_plateau", "one_seed"} <= set(fit.flags)
    assert fit.i_inf_high_bits == np.inf
    assert fit.n_sat_high == np.inf
    assert fit.exponent_low == 0


def test_no_rise_is_at_the_bound() -> None:
    bits = 1 + 0.02 * generator("flat").standard_normal(10)
    fit = fitted(curve_over_cells(SIZES, np.sort(bits)[::-1], np.zeros(10, int)))
    assert "at_bound" in fit.flags
    assert fit.n_sat == 0
    assert fit.i_inf_bits == pytest.approx(bits.mean())


def test_a_fall_with_cells_is_flagged() -> None:
    rising = simulated()
    assert "not_monotone" not in fitted(rising).flags
    assert "not_monotone" in fitted(curve_over_cells(1e7 / rising.depth, rising.mi_bits, rising.seed)).flags


def test_few_sizes_ceiling_and_repeats_are_flagged() -> None:
    few = simulated(sizes=np.geomspace(100, 10_000, 4))
    assert "few_sizes" in fitted(few).flags
    assert "above_ceiling" in fitted(simulated(), ceiling_bits=1.5).flags
    once = simulated(n_seeds=1)
    twice = curve_over_cells(np.tile(once.depth, 2), np.tile(once.mi_bits, 2), np.repeat([0, 1], 10))
    assert {"not_replicated", "one_seed"} <= set(fitted(twice).flags)
    assert all(flag in CELL_NUMBER_FLAGS for flag in fitted(twice).flags)


def test_misfit_is_found_where_seeds_agree() -> None:
    """A curve with a kink misses the law by more than its seeds differ."""
    kinked = 1 + 0.5 * (SIZES > 3000)
    bits = kinked + 0.01 * generator("kink").standard_normal((3, 10))
    fit = fitted(curve_over_cells(np.tile(SIZES, 3), bits.ravel(), np.repeat([0, 1, 2], 10)))
    assert fit.lack_of_fit_p is not None
    assert fit.lack_of_fit_p < 1e-4
    assert fitted(simulated()).lack_of_fit_p == pytest.approx(0.5, abs=0.49)


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(MeasurementError, match="3 training sizes"):
        fitted(simulated(sizes=SIZES[:3]))


def test_sizes_that_are_no_numbers_of_cells_are_refused() -> None:
    with pytest.raises(InputError, match="0 training cells"):
        curve_over_cells([0, 10], [1.0, 2.0], [0, 0])
