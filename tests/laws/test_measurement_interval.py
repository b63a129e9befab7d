"""What measurements leave open by themselves reaches Imax, I∞ and the flags."""

import numpy as np
import pytest

from nsl_assets.laws import (
    Curve,
    JointSettings,
    LawSettings,
    MeasuredCurve,
    Surface,
    curves_over_cells,
    fit_cells,
    fit_joint_law,
    fit_noise_law,
    noise_law,
    surfaces,
)
from nsl_assets.laws.measurement_interval import OwnUncertainty, own_uncertainty

LEVELS = np.geomspace(20, 2_000, 8)


def _curve(
    *, below_bits: float | None = None, above_bits: float = 0.2, seeds: int = 3, imax_bits: float = 2.0
) -> Curve:
    rng = np.random.default_rng(5)
    depth, seed = np.repeat(LEVELS, seeds), np.tile(np.arange(seeds), len(LEVELS))
    bits = noise_law(depth, imax_bits, 60.0) + rng.normal(0, 0.01, len(depth))
    if below_bits is None:
        return Curve(depth, bits, seed, depth)
    return Curve(depth, bits, seed, depth, bits - below_bits, bits + above_bits)


def test_the_interval_of_imax_holds_what_a_measurement_leaves_open() -> None:
    own, without = fit_noise_law(_curve(below_bits=0.5), LawSettings()), fit_noise_law(_curve(), LawSettings())
    assert own.imax_bits == without.imax_bits
    assert own.imax_low_bits == pytest.approx(without.imax_low_bits - 0.5)
    assert own.imax_high_bits == pytest.approx(without.imax_high_bits + 0.2)
    assert (own.ubar_low, own.ubar_high) == (without.ubar_low, without.ubar_high)
    assert own.flags == without.flags == (), "a plateau that levels and seeds show is one"


def test_a_curve_of_weak_measurements_is_flagged_and_not_told_from_nothing() -> None:
    fit = fit_noise_law(_curve(below_bits=2.5), LawSettings())
    assert fit.imax_low_bits == 0
    assert fit.flags == ("weak_measurements",)


def test_seeds_on_the_same_probe_cells_do_not_narrow_it() -> None:
    few, many = (fit_noise_law(_curve(below_bits=0.5, seeds=n), LawSettings()) for n in (3, 12))
    assert many.imax_bits - many.imax_low_bits > 0.5
    assert few.imax_bits - few.imax_low_bits > 0.5


def test_the_deepest_level_counts_and_its_unknown_intervals_do_not() -> None:
    curve = _curve(below_bits=0.5)
    deepest = curve.depth == curve.depth.max()
    low = np.where(deepest, curve.mi_bits - 1, curve.low_bits)
    low[np.flatnonzero(deepest)[0]] = np.nan
    own = own_uncertainty(Curve(curve.depth, curve.mi_bits, curve.seed, curve.level, low, curve.high_bits))
    assert own.below_bits == pytest.approx(1.0)
    assert own.above_bits == pytest.approx(0.2)
    assert own.found_bits == pytest.approx(float(curve.mi_bits[deepest][1:].mean()))


def test_depths_within_a_tenth_are_the_deepest_level_where_levels_have_no_name() -> None:
    own = own_uncertainty(
        Curve(
            np.array([10.0, 98.0, 100.0]),
            np.array([0.5, 1.0, 1.2]),
            np.array([0, 0, 1]),
            low_bits=np.array([-3.0, 0.8, 0.8]),
            high_bits=np.array([3.0, 1.1, 1.5]),
        )
    )
    assert own == OwnUncertainty(pytest.approx(0.3), pytest.approx(0.2), pytest.approx(1.1))


def test_an_open_end_stays_open_and_none_lies_below_zero() -> None:
    own = OwnUncertainty(below_bits=0.4, above_bits=np.inf, found_bits=1.0)
    assert own.widened((0.0, 0.5)) == (0.0, np.inf)
    assert own.widened((0.2, np.inf)) == (0.0, np.inf)
    assert own.widened((-np.inf, 1.0)) == (-np.inf, np.inf)


def test_intervals_as_published_leave_it_out() -> None:
    settings = LawSettings(protocol="published")
    own, without = (fit_noise_law(_curve(below_bits=below), settings) for below in (2.5, None))
    assert (own.imax_low_bits, own.flags) == (without.imax_low_bits, without.flags)


def test_the_laws_of_cells_hold_it_too() -> None:
    curves = [
        MeasuredCurve("t", "m", n, "pooled", _curve(below_bits=1.5, imax_bits=2.0 - (n / 50) ** -0.7))
        for n in (100, 300, 1_000, 3_000, 10_000)
    ]
    plain = [
        MeasuredCurve("t", "m", one.n_cells, "pooled", Curve(c.depth, c.mi_bits, c.seed, c.level))
        for one in curves
        for c in (one.curve,)
    ]
    own, without = (fit_cells(curves_over_cells(of), LawSettings())[0].fit for of in (curves, plain))
    assert own.i_inf_low_bits < without.i_inf_low_bits
    assert "weak_measurements" in own.flags
    assert "weak_measurements" not in without.flags
    own, without = (fit_joint_law(surfaces(of)[0].surface, JointSettings()) for of in (curves, plain))
    i_inf, narrow = own.parameter("i_inf_bits"), without.parameter("i_inf_bits")
    assert i_inf.value == narrow.value
    assert i_inf.low == pytest.approx(max(0.0, narrow.low - 1.5))
    assert "weak_measurements" in own.flags
    assert "weak_measurements" not in without.flags


def test_a_surface_hands_its_intervals_to_its_curves() -> None:
    curve = _curve(below_bits=0.5)
    surface = Surface(
        np.tile(curve.depth, 2),
        np.repeat([100.0, 200.0], len(curve.depth)),
        np.tile(curve.mi_bits, 2),
        np.tile(curve.seed, 2),
        np.tile(curve.depth, 2),
        np.concatenate([curve.mi_bits - 0.1, curve.mi_bits - 0.3]),
        np.tile(curve.mi_bits + 0.1, 2),
    )
    assert own_uncertainty(surface.curve_at(200)).below_bits == pytest.approx(0.3)
