"""Benchmark g: Eq. 1 fitted to 200 curves × 1,000 block-bootstrap draws, against `scipy.optimize.curve_fit`.

Simulated curves of 10 levels and 8 seeds. Ours is all of `bootstrap_noise_laws`: draws, estimates, fits. The peer gets
the drawn level means and starts where the fit of the whole curve ended, as ours does; its derivatives are numerical
(its default) or, in the second figure, ours. It fits a random 1 % of the draws: its time is extrapolated from those,
and on those the answers are compared. CPU seconds on one thread.
"""

import statistics
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import curve_fit
from threadpoolctl import threadpool_limits

from nsl_assets.laws import BlockedCurve, NoiseLawBootstrap, block_counts, bootstrap_noise_laws, noise_law

Floats = npt.NDArray[np.float64]
N_CURVES, N_DRAWS, N_LEVELS, N_SEEDS = 200, 1_000, 10, 8
N_PEER_FITS = N_CURVES * N_DRAWS // 100
N_ROUNDS = 3
GATE_RATIO, GATE_DIFFERENCE = 25.0, 1e-3
LN4 = 2 * np.log(2)


def simulated_curves() -> list[BlockedCurve]:
    rng = np.random.default_rng(0)
    depth = np.geomspace(10, 8_000, N_LEVELS)
    curves = []
    for _ in range(N_CURVES):
        imax_bits, ubar = rng.uniform(0.5, 4), rng.lognormal(6, 1)
        truth = noise_law(depth[:, None], imax_bits * rng.normal(1, 0.03, N_SEEDS), ubar)
        curves.append(BlockedCurve(depth, (truth + rng.normal(0, 0.05, truth.shape))[:, :, None], np.ones(1)))
    return curves


def law(depth: Floats, imax_bits: float, log_ubar: float) -> Floats:
    """Eq. 1 as a user of curve_fit would write it down."""
    ratio = depth / np.exp(log_ubar)
    return np.asarray(imax_bits - np.log((1 + ratio) / (ratio + np.exp(-LN4 * imax_bits))) / LN4)


def slopes(depth: Floats, imax_bits: float, log_ubar: float) -> Floats:
    ratio = depth / np.exp(log_ubar)
    signal = ratio / (ratio + np.exp(-LN4 * imax_bits))
    return np.stack([signal, (ratio / (1 + ratio) - signal) / LN4], axis=1)


def peer(cases: list[tuple[BlockedCurve, Floats, tuple[float, float]]], **options: Any) -> Floats:
    return np.array([curve_fit(law, curve.depth, means, p0=start, **options)[0] for curve, means, start in cases])


def peer_cases(
    curves: list[BlockedCurve], fitted: list[NoiseLawBootstrap], picked: npt.NDArray[np.int64]
) -> list[tuple[BlockedCurve, Floats, tuple[float, float]]]:
    counts = block_counts("seed", N_SEEDS, N_DRAWS)
    return [
        (curves[i], curves[i].level_means("seed", counts[[draw]])[:, 0], (fitted[i].imax_bits, fitted[i].log_ubar))
        for i, draw in picked
    ]


def drawn(fitted: list[NoiseLawBootstrap], picked: npt.NDArray[np.int64]) -> Floats:
    fits = [(fitted[i].fits["seed"], draw) for i, draw in picked]
    return np.array([(one.imax_bits[draw], one.log_ubar[draw]) for one, draw in fits])


def compare(curves: list[BlockedCurve], picked: npt.NDArray[np.int64]) -> tuple[float, float, float, float]:
    """CPU seconds of ours, the peer and the peer with our derivatives, and the largest difference (bits, ln)."""
    start = time.process_time()
    fitted = bootstrap_noise_laws(curves, N_DRAWS)
    seconds = [time.process_time() - start]
    cases = peer_cases(curves, fitted, picked)
    for options in ({}, {"jac": slopes}):
        start = time.process_time()
        answers = peer(cases, **options)
        seconds.append((time.process_time() - start) * N_CURVES * N_DRAWS / len(cases))
    return seconds[0], seconds[1], seconds[2], float(np.abs(answers - drawn(fitted, picked)).max())


def main() -> int:
    curves = simulated_curves()
    rng = np.random.default_rng(1)
    picked = np.column_stack([rng.integers(0, limit, N_PEER_FITS) for limit in (N_CURVES, N_DRAWS)])
    with threadpool_limits(1):
        rounds = [compare(curves, picked) for _ in range(N_ROUNDS)]
    ours_s, peer_s, with_slopes_s, difference = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(f"g laws: ratio {peer_s / ours_s:.0f} (peer {peer_s:.1f} s, ours {ours_s:.2f} s)")
    print(
        f"  peer with our derivatives: {with_slopes_s:.1f} s ({with_slopes_s / ours_s:.0f} times ours)", file=sys.stderr
    )
    print(f"  peer's time extrapolated from {N_PEER_FITS:,} of {N_CURVES * N_DRAWS:,} fits", file=sys.stderr)
    print(f"  largest difference of Imax (bits) or ln ū: {difference:.1e}", file=sys.stderr)
    return 0 if peer_s / ours_s >= GATE_RATIO and difference <= GATE_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
