import numpy as np
import pytest
from scipy.optimize import curve_fit

from nsl_assets.errors import InputError
from nsl_assets.laws import BlockedCurve, Curve, block_counts, block_interval, blocked, bootstrap_noise_laws, noise_law
from nsl_assets.laws.search import Points, least_squares_optimum
from nsl_assets.randomness import generator

DEPTHS = np.geomspace(10, 8000, 10)


def simulated(
    *, n_seeds: int = 5, n_groups: int = 1, seed_sd: float = 0.03, group_sd: float = 0.0, draw: int = 0
) -> BlockedCurve:
    """Imax 2.5 bits, ū 400; seeds and probe groups scale the whole curve."""
    stream = generator("blocked curve", n_seeds, n_groups, draw)
    gain = 1 + seed_sd * stream.standard_normal((n_seeds, 1)) + group_sd * stream.standard_normal(n_groups)
    bits = noise_law(DEPTHS, 2.5, 400.0)[:, None, None] * gain
    return BlockedCurve(DEPTHS, bits + 0.03 * stream.standard_normal(bits.shape), np.ones(n_groups))


def imax(imax_bits: np.ndarray, log_ubar: np.ndarray) -> np.ndarray:
    return imax_bits


def log_ubar(imax_bits: np.ndarray, log_ubar: np.ndarray) -> np.ndarray:
    return log_ubar


def test_draws_are_fitted_as_by_curve_fit() -> None:
    curve = simulated()
    found = bootstrap_noise_laws([curve], 50)[0]
    drawn = found.fits["seed"]
    for draw, counts in enumerate(block_counts("seed", 5, 50)):
        means = curve.bits[:, :, 0] @ counts / 5
        start = (found.imax_bits, found.log_ubar)
        expected = curve_fit(lambda u, i, log: noise_law(u, i, np.exp(log)), DEPTHS, means, p0=start)[0]
        assert (drawn.imax_bits[draw], drawn.log_ubar[draw]) == pytest.approx(expected, abs=1e-4)


def test_estimate_is_that_of_the_single_fit() -> None:
    curves = [simulated(draw=draw) for draw in range(20)]
    for curve, found in zip(curves, bootstrap_noise_laws(curves, 10), strict=True):
        single = least_squares_optimum(Points(curve.depth, curve.bits.mean(axis=(1, 2))))
        assert (found.imax_bits, found.log_ubar) == pytest.approx((single.imax_bits, single.log_ubar), abs=1e-5)


def test_curves_of_different_lengths_share_a_batch() -> None:
    long, short = simulated(), BlockedCurve(DEPTHS[2:9], simulated(draw=1).bits[2:9], np.ones(1))
    noiseless = BlockedCurve(
        np.append(DEPTHS, np.inf), np.concatenate([long.bits, np.full((1, 5, 1), 2.5)]), np.ones(1)
    )
    curves = [long, short, noiseless]
    together = bootstrap_noise_laws(curves, 20)
    for curve, found in zip(curves, together, strict=True):
        alone = bootstrap_noise_laws([curve], 20)[0]
        assert found.fits["seed"].imax_bits == pytest.approx(alone.fits["seed"].imax_bits, abs=1e-7)
    assert together[2].imax_bits == pytest.approx(2.5, abs=0.03)


def test_missing_measurements_leave_their_level_out() -> None:
    curve = simulated(n_seeds=3)
    curve.bits[7:, 1:] = np.nan
    means = curve.level_means("seed", np.array([[0.0, 2, 1], [3, 0, 0]]))
    assert np.isnan(means[7:, 0]).all()
    assert means[:, 1] == pytest.approx(curve.bits[:, 0, 0])
    assert means[0, 0] == pytest.approx((2 * curve.bits[0, 1, 0] + curve.bits[0, 2, 0]) / 3)


def test_probe_groups_are_weighted_by_their_cells() -> None:
    curve = BlockedCurve(DEPTHS[:1], np.array([[[1.0, 4.0]]]), np.array([3.0, 1.0]))
    means = curve.level_means("probe_group", np.array([[1.0, 1], [0, 2], [2, 0]]))
    assert means[0] == pytest.approx([1.75, 4, 1])


def test_groups_that_differ_widen_the_interval() -> None:
    alike, different = (simulated(n_groups=12, group_sd=sd) for sd in (0.0, 0.3))
    widths = [np.ptp(found.interval(imax, 0.95)) for found in bootstrap_noise_laws([alike, different], 200)]
    assert widths[1] > 2 * widths[0]


def test_one_seed_leaves_the_interval_open() -> None:
    found = bootstrap_noise_laws([simulated(n_seeds=1)], 20)[0]
    assert found.interval(imax, 0.95) == (-np.inf, np.inf)


def test_a_curve_without_information_stops_no_other() -> None:
    flat = BlockedCurve(DEPTHS, np.zeros((10, 3, 1)), np.ones(1))
    two_levels = BlockedCurve(DEPTHS[:2], simulated(n_seeds=3).bits[:2], np.ones(1))
    *_, sound = bootstrap_noise_laws([flat, two_levels, simulated()], 50)
    low, high = sound.interval(imax, 0.95)
    assert low < 2.5 < high
    assert high - low < 0.5


def test_repeated_seeds_are_no_blocks() -> None:
    bits = noise_law(DEPTHS, 2.0, 300.0)
    curve = Curve(np.tile(DEPTHS, 3), np.concatenate([bits, bits, bits + 0.01]), np.repeat([0, 1, 2], 10))
    assert blocked(curve).n_blocks("seed") == 2


def test_a_table_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match="levels, seeds, groups"):
        BlockedCurve(DEPTHS, np.zeros((10, 3)), np.ones(1))


def test_interval_of_a_mean_is_students() -> None:
    """For a plain mean the interval is the textbook t interval."""
    values = np.array([0.3, 1.1, 0.7, 0.2, 0.9])
    draws = block_counts("seed", 5, 100_000) @ values / 5
    low, high = block_interval(values.mean(), {"seed": (draws, 5)}, 0.95)
    half = 2.776445 * values.std(ddof=1) / np.sqrt(5)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


@pytest.mark.parametrize("n_seeds", [3, 8])
def test_intervals_hold_where_seeds_differ(n_seeds: int) -> None:
    """200 curves: a nominal 95 % interval holds the truth in 91-99 %."""
    fits = bootstrap_noise_laws([simulated(n_seeds=n_seeds, seed_sd=0.05, draw=draw) for draw in range(200)], 200)
    held = [low <= 2.5 <= high for low, high in (fit.interval(imax, 0.95) for fit in fits)]
    assert 0.91 <= np.mean(held) <= 0.99
    held = [low <= np.log(400) <= high for low, high in (fit.interval(log_ubar, 0.95) for fit in fits)]
    assert 0.91 <= np.mean(held) <= 0.99
