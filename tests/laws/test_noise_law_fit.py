from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from nsl_assets.laws import FLAGS, Curve, LawSettings, depth_for, fit_noise_law, noise_law, noise_law_band
from nsl_assets.laws.curve import levels_of
from nsl_assets.laws.flags import flags_of
from nsl_assets.laws.intervals import intervals_of
from nsl_assets.laws.noise_law_fit import error_model_of
from nsl_assets.laws.profile import imax_profile, target_profile, ubar_profile
from nsl_assets.laws.search import Points
from nsl_assets.randomness import generator

DEPTHS = np.geomspace(10, 8000, 10)
SETTINGS = LawSettings()


def simulated(
    imax_bits: float,
    ubar: float,
    *,
    sd_bits: float,
    n_seeds: int = 3,
    gain_sd: float = 0.0,
    log_ubar_sd: float = 0.0,
    draw: int = 0,
    depths: np.ndarray = DEPTHS,
) -> Curve:
    """A curve with known parameters: independent errors, and seeds that scale the whole curve or shift its ū."""
    stream = generator("simulated curve", n_seeds, draw)
    gain = 1 + gain_sd * stream.standard_normal((n_seeds, 1))
    ubars = ubar * np.exp(log_ubar_sd * stream.standard_normal((n_seeds, 1)))
    mi_bits = noise_law(depths, imax_bits, ubars) * gain
    mi_bits = mi_bits + sd_bits * stream.standard_normal(mi_bits.shape)
    return Curve(np.tile(depths, n_seeds), mi_bits.ravel(), np.repeat(np.arange(n_seeds), len(depths)))


@pytest.mark.parametrize("imax_bits", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("ubar", [0.5, 300.0, 2e5])
def test_exact_curves_are_recovered(imax_bits: float, ubar: float) -> None:
    fit = fit_noise_law(simulated(imax_bits, ubar, sd_bits=0, n_seeds=1), SETTINGS)
    assert fit.converged
    assert fit.imax_bits == pytest.approx(imax_bits, rel=1e-4)
    assert fit.ubar == pytest.approx(ubar, rel=1e-3)
    assert fit.target_depth == pytest.approx(float(depth_for(0.9 * imax_bits, imax_bits, ubar)), rel=1e-3)
    assert fit.r2_seed_means == pytest.approx(1)


def test_noiseless_level_fixes_imax() -> None:
    depths = np.append(DEPTHS, np.inf)
    fit = fit_noise_law(simulated(3.0, 50_000.0, sd_bits=0.02, depths=depths), SETTINGS)
    assert fit.imax_bits == pytest.approx(3.0, abs=0.06)
    assert fit.imax_high_bits < fit.imax_low_bits + 0.3
    assert fit.deepest == np.inf
    assert not {"no_plateau", "target_extrapolated"} & set(fit.flags)


def test_interval_ends_lie_on_the_likelihood_threshold() -> None:
    """An independent optimiser, constrained to the interval's end, finds exactly the allowed misfit there."""
    curve = simulated(2.5, 400.0, sd_bits=0.05, gain_sd=0.05)
    fit = fit_noise_law(curve, SETTINGS)
    means, depths = levels_of(curve).mean_bits, levels_of(curve).depth
    model = error_model_of(curve, levels_of(curve), fit.interval, fit.confidence)

    def misfit(imax_bits: float, ubar: float) -> float:
        return float(((noise_law(depths, imax_bits, ubar) - means) ** 2).sum())

    def constrained(quantity: str, end: float) -> float:
        def objective(free: np.ndarray) -> float:
            if quantity == "imax":
                return misfit(end, np.exp(free[0]))
            ubar = end if quantity == "ubar" else end / depth_for(0.9 * free[0], free[0], 1.0)
            return misfit(free[0], float(ubar))

        start = [np.log(fit.ubar)] if quantity == "imax" else [fit.imax_bits]
        return minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14}).fun

    best = misfit(fit.imax_bits, fit.ubar)
    target = SETTINGS.target
    for quantity, profile, ends in [
        ("imax", imax_profile(model.points, model.optimum), (fit.imax_low_bits, fit.imax_high_bits)),
        ("ubar", ubar_profile(model.points, model.optimum), (fit.ubar_low, fit.ubar_high)),
        (
            "target",
            target_profile(model.points, model.optimum, target),
            (fit.target_depth_low, fit.target_depth_high),
        ),
    ]:
        for end in ends:
            rise = constrained(quantity, end) - best
            assert rise == pytest.approx(model.threshold(profile.contrast), rel=0.01), quantity


@pytest.mark.parametrize("imax_bits", [0.0, 0.3, 7.0])
@pytest.mark.parametrize("ubar", [1e-3, 500.0, 1e12])
def test_the_searched_surface_is_that_of_the_law(imax_bits: float, ubar: float) -> None:
    points = Points(np.append(DEPTHS, np.inf), np.linspace(-0.1, 2, 11))
    expected = ((noise_law(points.depth, imax_bits, ubar) - points.mi_bits) ** 2).sum()
    found = points.sum_of_squares(np.array([imax_bits]), np.log([ubar]))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_covariance_is_that_of_repeated_experiments() -> None:
    """The mean stated covariance against the spread of the estimates over 300 curves whose seeds differ."""
    estimates, stated = [], []
    for draw in range(300):
        curve = simulated(2.0, 300.0, sd_bits=0.03, gain_sd=0.04, log_ubar_sd=0.1, draw=draw)
        model = error_model_of(curve, levels_of(curve), "profile_likelihood", 0.95)
        estimates.append((model.optimum.imax_bits, model.optimum.log_ubar))
        stated.append(model.covariance)
    np.testing.assert_allclose(np.mean(stated, axis=0), np.cov(np.transpose(estimates)), rtol=0.3)


def coverage(n_curves: int, *, n_seeds: int, gain_sd: float = 0.0, log_ubar_sd: float = 0.0) -> np.ndarray:
    """Share of 95 % intervals that hold Imax, ū and the target depth."""
    truth = np.array([2.5, 400.0, float(depth_for(0.9 * 2.5, 2.5, 400.0))])
    held = np.zeros(3)
    for draw in range(n_curves):
        curve = simulated(
            2.5, 400.0, sd_bits=0.05, n_seeds=n_seeds, gain_sd=gain_sd, log_ubar_sd=log_ubar_sd, draw=draw
        )
        fit = fit_noise_law(curve, SETTINGS)
        low = np.array([fit.imax_low_bits, fit.ubar_low, fit.target_depth_low])
        high = np.array([fit.imax_high_bits, fit.ubar_high, fit.target_depth_high])
        held += (low <= truth) & (truth <= high)
    return held / n_curves


@pytest.mark.parametrize(("n_seeds", "gain_sd", "log_ubar_sd"), [(1, 0.0, 0.0), (3, 0.05, 0.3)])
def test_coverage(n_seeds: int, gain_sd: float, log_ubar_sd: float) -> None:
    """Without the variance component of seeds, the second case would hold 40 %."""
    held = coverage(100, n_seeds=n_seeds, gain_sd=gain_sd, log_ubar_sd=log_ubar_sd)
    assert 0.90 <= held.mean() <= 0.99
    assert (held >= 0.86).all()


SEED_EFFECTS = [(1, 0, 0), (2, 0, 0), (3, 0, 0), (3, 0.02, 0), (3, 0.05, 0), (3, 0, 0.1), (5, 0, 0), (5, 0.05, 0.3)]


@pytest.mark.slow
@pytest.mark.parametrize(("n_seeds", "gain_sd", "log_ubar_sd"), SEED_EFFECTS)
def test_coverage_closely(n_seeds: int, gain_sd: float, log_ubar_sd: float) -> None:
    """95 % intervals hold the truth in about 93-98 % of 600 curves (± 1.8 % at two standard errors)."""
    held = coverage(600, n_seeds=n_seeds, gain_sd=gain_sd, log_ubar_sd=log_ubar_sd)
    assert 0.93 <= held.mean() <= 0.985
    assert ((held >= 0.905) & (held <= 0.995)).all(), held


def test_without_a_bend_the_upper_ends_are_open() -> None:
    fit = fit_noise_law(simulated(3.0, 3e5, sd_bits=0.03), SETTINGS)
    assert fit.imax_high_bits == fit.ubar_high == fit.target_depth_high == np.inf
    assert 0 < fit.target_depth_low < fit.target_depth
    assert {"no_plateau", "target_extrapolated"} <= set(fit.flags)


def test_without_a_rise_the_lower_ends_are_open() -> None:
    fit = fit_noise_law(simulated(1.0, 1e-4, sd_bits=0.03), SETTINGS)
    assert fit.ubar_low == fit.target_depth_low == 0
    assert 0.9 < fit.imax_low_bits < 1 < fit.imax_high_bits < 1.1


def test_no_information_is_flagged_and_open() -> None:
    fit = fit_noise_law(Curve(DEPTHS, -0.01 - 0.001 * (np.arange(10) % 3), np.zeros(10, dtype=int)), SETTINGS)
    assert fit.imax_bits == pytest.approx(0, abs=1e-6)
    assert "at_bound" in fit.flags
    assert fit.ubar_high == np.inf


def flags(curve: Curve, ceiling_bits: float | None = None) -> set[str]:
    return set(fit_noise_law(curve, SETTINGS, ceiling_bits=ceiling_bits).flags)


def test_a_good_curve_has_no_flags() -> None:
    assert flags(simulated(2.5, 200.0, sd_bits=0.02), ceiling_bits=2.6) == set()


def test_flags() -> None:
    good = {"imax_bits": 2.5, "ubar": 200.0, "sd_bits": 0.02}
    assert flags(simulated(**good), ceiling_bits=2.4) == {"above_ceiling"}
    assert "one_seed" in flags(simulated(**good, n_seeds=1))
    assert "few_levels" in flags(simulated(**good, depths=DEPTHS[::4]))
    falling = simulated(**good)
    assert "not_monotone" in flags(Curve(1 / falling.depth, falling.mi_bits, falling.seed))
    one = simulated(**good, n_seeds=1)
    twice = Curve(np.tile(one.depth, 2), np.tile(one.mi_bits, 2), np.repeat([0, 1], 10))
    assert {"not_replicated", "one_seed"} <= flags(twice)
    assert all(flag in FLAGS for flag in flags(twice))


def test_differences_between_seeds_widen_the_interval_of_what_they_move() -> None:
    """The same seed means with and without seeds that differ in ū: the interval of ū grows, that of Imax not."""
    alike = simulated(2.5, 200.0, sd_bits=0.02)
    steps = np.array([-1.0, 0.0, 1.0])[alike.seed] * 0.4
    by_log_ubar = (noise_law(alike.depth, 2.5, 202.0) - noise_law(alike.depth, 2.5, 198.0)) / 0.02
    apart = Curve(alike.depth, alike.mi_bits + steps * by_log_ubar, alike.seed)
    before, after = fit_noise_law(alike, SETTINGS), fit_noise_law(apart, SETTINGS)
    assert after.ubar == pytest.approx(before.ubar)
    assert after.ubar_high / after.ubar_low > 2 * before.ubar_high / before.ubar_low
    assert after.imax_high_bits - after.imax_low_bits < 1.3 * (before.imax_high_bits - before.imax_low_bits)


def test_missing_measurements_are_allowed() -> None:
    whole = simulated(2.5, 200.0, sd_bits=0.02, gain_sd=0.02)
    kept = np.flatnonzero(~np.isin(np.arange(30), [0, 13, 14, 29]))
    fit = fit_noise_law(Curve(whole.depth[kept], whole.mi_bits[kept], whole.seed[kept]), SETTINGS)
    assert (fit.n_points, fit.n_levels, fit.n_seeds) == (26, 10, 3)
    assert fit.imax_low_bits < 2.5 < fit.imax_high_bits


def test_a_search_that_did_not_settle_is_flagged() -> None:
    curve = simulated(2.5, 200.0, sd_bits=0.02)
    levels = levels_of(curve)
    model = error_model_of(curve, levels, "profile_likelihood", 0.95)
    unsettled = replace(model.optimum, converged=False)
    intervals = intervals_of("profile_likelihood", model, SETTINGS.target)
    assert flags_of(levels, unsettled, intervals, target_depth=100.0, ceiling_bits=None, is_weak=False) == (
        "not_converged",
    )


def test_repeated_numbers_do_not_narrow_the_interval() -> None:
    one = simulated(2.5, 200.0, sd_bits=0.05, n_seeds=1)
    five = Curve(np.tile(one.depth, 5), np.tile(one.mi_bits, 5), np.repeat(np.arange(5), 10))
    once, often = fit_noise_law(one, SETTINGS), fit_noise_law(five, SETTINGS)
    assert (once.target_depth_low, once.target_depth_high) == (
        often.target_depth_low,
        often.target_depth_high,
    )
    assert often.n_points == 10


def test_lack_of_fit_is_seen() -> None:
    good = simulated(2.5, 200.0, sd_bits=0.02)
    bumped = Curve(good.depth, good.mi_bits + 0.15 * np.sin(np.log(good.depth) * 2), good.seed)
    good_p, bumped_p = (fit_noise_law(curve, SETTINGS).lack_of_fit_p for curve in (good, bumped))
    assert good_p is not None and good_p > 0.01
    assert bumped_p is not None and bumped_p < 1e-6
    assert fit_noise_law(simulated(2.5, 200.0, sd_bits=0.02, n_seeds=1), SETTINGS).lack_of_fit_p is None


def test_band_holds_the_fit_and_agrees_with_the_interval_of_imax() -> None:
    curve = simulated(2.5, 300.0, sd_bits=0.04)
    fit = fit_noise_law(curve, SETTINGS)
    depth = np.append(np.geomspace(1, 1e7, 40), np.inf)
    low, high = noise_law_band(curve, fit, depth)
    fitted = noise_law(depth, fit.imax_bits, fit.ubar)
    assert (low <= fitted).all() and (fitted <= high).all()
    assert low[-1] == pytest.approx(fit.imax_low_bits, abs=0.02)
    assert high[-1] == pytest.approx(fit.imax_high_bits, abs=0.02)


def test_identity_names_what_decides_the_numbers() -> None:
    spelled_out = LawSettings(interval="one_sigma_published", target_definition="bits_below_imax")
    assert LawSettings(protocol="published").identity() == spelled_out.identity()
    assert LawSettings(protocol="published").identity() != LawSettings().identity()
    assert LawSettings(target_fraction=0.8).identity() != LawSettings().identity()


def test_bits_below_imax_as_target() -> None:
    settings = LawSettings(target_definition="bits_below_imax", target_bits_below_imax=0.5)
    fit = fit_noise_law(simulated(2.5, 300.0, sd_bits=0.02), settings)
    assert fit.target_bits == pytest.approx(fit.imax_bits - 0.5)
    assert noise_law(fit.target_depth, fit.imax_bits, fit.ubar) == pytest.approx(fit.target_bits)
    assert fit.target_depth_low < fit.target_depth < fit.target_depth_high
    assert fit.target_fraction is None
