"""The headline estimate on problems of known information against its targets, its time and its memory.

For every problem with a target: bias (mean over samples, bits) with the target, share of intervals that hold the
truth, CPU seconds on one thread. Then the memory that one estimate of 20,000 pairs of 16 with 228 columns adds.
`--pairs 500 2000 10000` is the whole table (about 20 minutes on a core); `nsl calibrate` has all problems.
"""

import argparse
import multiprocessing
import resource
import sys

import numpy as np

from nsl_assets.probing import ProbingSettings, estimate, problem_named
from nsl_assets.probing.calibration import Piece, ProblemSummary, problem_summaries, run_trials

TARGET_BITS = {
    "gaussian_1.0bit_5of16d": {500: 0.15, 2_000: 0.10, 10_000: 0.05},
    "gaussian_2.0bit_16d": {2_000: 0.12, 10_000: 0.06},
    "gaussian_4.0bit_16d": {2_000: 0.25, 10_000: 0.12},
    "half_cube_1bit_5d": {500: 0.25, 2_000: 0.20, 10_000: 0.10},
    "uniform_1bit_5d": {500: 0.25, 2_000: 0.20, 10_000: 0.10},
    "student_2dof_5d": {2_000: 0.20, 10_000: 0.15},
    "classes_10": {500: 0.15, 2_000: 0.06, 10_000: 0.03},
    "classes_40": {500: 0.15, 2_000: 0.06, 10_000: 0.03},
    "poisson_ties": {500: 0.15, 2_000: 0.05, 10_000: 0.05},
    "zero_inflated": {500: 0.15, 2_000: 0.05, 10_000: 0.05},
    "tight_clusters_8": {500: 0.15, 2_000: 0.15, 10_000: 0.10},
    "independent_16d": {500: 0.05, 2_000: 0.02, 10_000: 0.01},
    "independent_heavy_tails_5d": {500: 0.05, 2_000: 0.02, 10_000: 0.01},
    "independent_classes_10": {500: 0.05, 2_000: 0.02, 10_000: 0.01},
}
OVERSHOOT_ONLY = {"tight_clusters_8"}
LARGEST_SECONDS = {500: 10.0, 2_000: 10.0, 10_000: 20.0}
LARGEST_ADDED_MIB = 500.0


def is_met(summary: ProblemSummary) -> bool:
    bias = summary.bias_bits if summary.problem in OVERSHOOT_ONLY else abs(summary.bias_bits)
    target = TARGET_BITS[summary.problem].get(summary.n_pairs)
    if target is None:
        return summary.unreliable_share == 1.0
    return bias <= target


def print_row(summary: ProblemSummary) -> None:
    target = TARGET_BITS[summary.problem].get(summary.n_pairs)
    wanted = "flagged" if target is None else f"{target:.2f}"
    print(
        f"{summary.n_pairs:>6,} {summary.problem:28} {summary.true_bits:5.2f} {summary.bias_bits:+6.3f} {wanted:>8}"
        f" {'' if is_met(summary) else 'MISSED':6} holds {summary.holds_share:4.0%} flagged"
        f" {summary.unreliable_share:4.0%} {summary.cpu_seconds:5.1f} CPU s",
        flush=True,
    )


def accuracy(numbers_of_pairs: list[int], n_seeds: int) -> bool:
    pieces = [Piece(problem_named(name), n_pairs, ("pooled",)) for n_pairs in numbers_of_pairs for name in TARGET_BITS]
    ok = True
    for trials in run_trials(pieces, n_seeds=n_seeds, settings=ProbingSettings()):
        (summary,) = problem_summaries(trials)
        print_row(summary)
        ok &= is_met(summary) and summary.cpu_seconds <= LARGEST_SECONDS.get(summary.n_pairs, np.inf)
    return ok


def added_mib(estimator: str) -> float:
    """Peak resident memory of a fresh process, above what it had before the estimate."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added_mib, (estimator,))


def _added_mib(estimator: str) -> float:
    import torch  # noqa: F401

    draws = np.random.default_rng(0)
    x, y = draws.standard_normal((20_000, 16)), draws.standard_normal((20_000, 228))
    y[:, :8] += x[:, :8]
    estimate(x[:200], y[:200, :4], estimator=estimator)  # type: ignore[arg-type]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    estimate(x, y, estimator=estimator)  # type: ignore[arg-type]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_000])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    ok = accuracy(arguments.pairs, arguments.seeds)
    for estimator in ("pooled", "lmi", "ksg"):
        added = added_mib(estimator)
        ok &= added <= LARGEST_ADDED_MIB
        print(f"memory added by {estimator}, 20,000 x 228: {added:.0f} MiB (limit {LARGEST_ADDED_MIB:.0f})")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
