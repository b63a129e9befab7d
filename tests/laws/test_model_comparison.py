import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.laws import (
    MODEL_COMPARISON_FLAGS,
    BlockedCurve,
    Curve,
    LawSettings,
    ModelComparison,
    compare_blocked_curves,
    compare_models,
    fit_noise_law,
    noise_law,
)
from nsl_assets.randomness import generator

DEPTHS = np.geomspace(10, 8000, 10)
SETTINGS = LawSettings()
TRUTH = {"scvi": (2.5, 300.0), "pca": (2.0, 800.0)}


def simulated(
    *, n_seeds: int = 4, shared_sd: float = 0.0, own_sd: float = 0.0, sd_bits: float = 0.03, draw: int = 0
) -> dict[str, Curve]:
    """Two models; a seed scales both curves alike (shared), and each by itself (own)."""
    stream = generator("two models", n_seeds, draw)
    shared = 1 + shared_sd * stream.standard_normal((n_seeds, 1))
    curves = {}
    for name, (imax_bits, ubar) in TRUTH.items():
        gain = shared + own_sd * stream.standard_normal((n_seeds, 1))
        bits = noise_law(DEPTHS, imax_bits, ubar) * gain + sd_bits * stream.standard_normal((n_seeds, 10))
        curves[name] = Curve(np.tile(DEPTHS, n_seeds), bits.ravel(), np.repeat(np.arange(n_seeds), 10))
    return curves


def compared(curves: dict[str, Curve], n_draws: int = 300) -> ModelComparison:
    return compare_models(curves, SETTINGS, n_draws=n_draws)[0]


def test_differences_are_those_of_the_single_fits() -> None:
    curves = simulated()
    fits = {name: fit_noise_law(curve, SETTINGS) for name, curve in curves.items()}
    found = compared(curves)
    assert (found.first, found.second) == ("scvi", "pca")
    assert found.imax_bits.value == pytest.approx(fits["scvi"].imax_bits - fits["pca"].imax_bits, abs=1e-4)
    assert found.ubar_ratio.value == pytest.approx(fits["scvi"].ubar / fits["pca"].ubar, rel=1e-3)
    assert found.target_depth_ratio.value == pytest.approx(
        fits["scvi"].target_depth / fits["pca"].target_depth, rel=1e-3
    )


def test_what_a_seed_does_to_both_models_cancels() -> None:
    """Shared shifts of seeds widen the intervals of each model, not that of their difference."""

    def width(**options: float) -> float:
        found = [compared(simulated(draw=draw, **options)).imax_bits for draw in range(8)]
        return float(np.mean([one.high - one.low for one in found]))

    still, own, shared = width(), width(own_sd=0.1), width(shared_sd=0.1)
    assert own > 4 * still
    assert shared < 0.4 * own


@pytest.mark.parametrize(("n_seeds", "shared_sd", "own_sd"), [(3, 0.05, 0.05), (6, 0.1, 0.02)])
def test_intervals_hold(n_seeds: int, shared_sd: float, own_sd: float) -> None:
    """100 pairs: nominal 95 % intervals hold the truth in at least 90 %."""
    found = [
        compared(simulated(n_seeds=n_seeds, shared_sd=shared_sd, own_sd=own_sd, draw=draw), 200) for draw in range(100)
    ]
    assert np.mean([one.imax_bits.low <= 0.5 <= one.imax_bits.high for one in found]) >= 0.9
    assert np.mean([one.ubar_ratio.low <= 3 / 8 <= one.ubar_ratio.high for one in found]) >= 0.9


def test_misfit_widens_the_interval() -> None:
    curves = simulated()
    bent = curves["pca"].mi_bits + np.tile(0.1 * (-1.0) ** np.arange(10), 4)
    with_misfit = curves | {"pca": Curve(curves["pca"].depth, bent, curves["pca"].seed)}
    widths = [found.imax_bits.high - found.imax_bits.low for found in (compared(curves), compared(with_misfit))]
    assert widths[1] > 1.5 * widths[0]


def test_misfit_that_both_models_share_cancels() -> None:
    """Curves of one shape with one misfit: the difference is certain although each curve is not."""
    bits = noise_law(DEPTHS, 2.0, 300.0) + 0.1 * (-1.0) ** np.arange(10)
    stream = generator("shared misfit")
    table = {name: bits + 0.01 * stream.standard_normal((4, 10)) for name in ("a", "b")}
    seeds = np.repeat(np.arange(4), 10)
    found = compared({name: Curve(np.tile(DEPTHS, 4), of.ravel(), seeds) for name, of in table.items()})
    alone = fit_noise_law(Curve(np.tile(DEPTHS, 4), table["a"].ravel(), seeds), SETTINGS)
    assert found.imax_bits.high - found.imax_bits.low < 0.5 * (alone.imax_high_bits - alone.imax_low_bits)


def test_every_pair_is_compared_on_its_common_seeds() -> None:
    curves = simulated()
    fewer = curves["pca"].seed > 0
    pca = Curve(DEPTHS[np.tile(np.arange(10), 4)][fewer], curves["pca"].mi_bits[fewer], curves["pca"].seed[fewer])
    found = compare_models({"scvi": curves["scvi"], "pca": pca, "again": curves["scvi"]}, SETTINGS, n_draws=50)
    assert [(one.first, one.second, one.n_seeds) for one in found] == [
        ("scvi", "pca", 3),
        ("scvi", "again", 4),
        ("pca", "again", 3),
    ]
    assert (found[1].imax_bits.low, found[1].imax_bits.high) == pytest.approx((0, 0), abs=1e-6)


def test_one_common_seed_leaves_the_interval_open() -> None:
    found = compared(simulated(n_seeds=1))
    assert (found.imax_bits.low, found.imax_bits.high) == (-np.inf, np.inf)
    assert (found.ubar_ratio.low, found.ubar_ratio.high) == (0, np.inf)
    assert "one_seed" in found.flags


def test_repeats_and_extrapolated_targets_are_flagged() -> None:
    curves = simulated()
    repeated = Curve(curves["pca"].depth, np.tile(noise_law(DEPTHS, 3.0, 9000.0), 4), curves["pca"].seed)
    found = compared(curves | {"pca": repeated})
    assert set(found.flags) == {"not_replicated", "target_extrapolated"} < set(MODEL_COMPARISON_FLAGS)
    assert not compared(curves).flags


def test_probe_groups_widen_the_interval_where_models_differ_on_them() -> None:
    stream = generator("probe groups of two models")
    group_gain = 1 + 0.3 * stream.standard_normal(10)
    noise = 0.01 * stream.standard_normal((10, 3, 10))
    bits = noise_law(DEPTHS, 2.0, 300.0)[:, None, None]
    alike = BlockedCurve(DEPTHS, bits * group_gain + noise, np.ones(10))
    even = BlockedCurve(DEPTHS, bits + noise, np.ones(10))
    pairs = {("a", "b"): (alike, alike), ("a", "c"): (alike, even)}
    same, different = compare_blocked_curves(pairs, SETTINGS, n_draws=200)
    assert (same.imax_bits.low, same.imax_bits.high) == pytest.approx((0, 0), abs=1e-6)
    assert different.imax_bits.high - different.imax_bits.low > 0.2
    assert different.n_groups == 10


def test_models_without_common_seeds_are_refused() -> None:
    curves = simulated()
    other = Curve(curves["pca"].depth, curves["pca"].mi_bits, curves["pca"].seed + 10)
    with pytest.raises(InputError, match="no seed in common"):
        compare_models(curves | {"pca": other}, SETTINGS)


def test_blocks_that_differ_are_refused() -> None:
    small, large = (BlockedCurve(DEPTHS, np.ones((10, n, 1)), np.ones(1)) for n in (2, 3))
    with pytest.raises(InputError, match="same ones"):
        compare_blocked_curves({("a", "b"): (small, large)}, SETTINGS)
