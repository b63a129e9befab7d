"""The nearest-neighbour estimate against scikit-learn's trees (f2): CPU seconds on one thread, the same bits.

Both take turns in one process: ours before and after the peer, median of three. The exit code is 1 where ours is
less than seven times as fast, or where the estimates differ in the third decimal.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import digamma
from threadpoolctl import threadpool_limits

from nsl_assets.probing import KnownProblem, known_problems
from nsl_assets.probing.ksg import ksg_terms_bits

Columns = npt.NDArray[np.float32]
PROBLEMS = ("gaussian_2.0bit_5d", "gaussian_2.0bit_16d")
N_PAIRS = 20_000
GATE = 7.0
THIRD_DECIMAL = 5e-4


def tree_ksg_bits(x: Columns, y: Columns, k: int = 3) -> float:
    """Kraskov et al. 2004, equation 8, by scikit-learn's trees."""
    from sklearn.neighbors import KDTree, NearestNeighbors

    sides = [side.astype(np.float64) for side in (x, y)]
    search = NearestNeighbors(n_neighbors=k, metric="chebyshev").fit(np.hstack(sides))
    radius = np.nextafter(search.kneighbors()[0][:, -1], 0)
    inside = [KDTree(side, metric="chebyshev").query_radius(side, radius, count_only=True) for side in sides]
    nats = digamma(k) + digamma(len(x)) - np.mean(digamma(inside[0]) + digamma(inside[1]))
    return float(nats / np.log(2))


def our_ksg_bits(x: Columns, y: Columns) -> float:
    return float(ksg_terms_bits(x, y).mean())


def timed(call: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def compare(problem: KnownProblem) -> bool:
    x, y = (side.astype(np.float32) for side in problem.sample(N_PAIRS, seed=0))
    peer, ours = partial(tree_ksg_bits, x, y), partial(our_ksg_bits, x, y)
    our_ksg_bits(x[:100], y[:100])  # compiles, or loads what was compiled
    before, (peer_s, peer_bits), *after = timed(ours), timed(peer), timed(ours), timed(ours)
    ours_s, ours_bits = statistics.median(seconds for seconds, _ in (before, *after)), before[1]
    print(
        f"f2 KSG, {problem.name}: ratio {peer_s / ours_s:.1f} (peer {peer_s:.2f} s, ours {ours_s:.2f} s)"
        f" {peer_bits:.4f} / {ours_bits:.4f} bits",
        flush=True,
    )
    return peer_s / ours_s >= GATE and abs(peer_bits - ours_bits) < THIRD_DECIMAL


def main() -> int:
    with threadpool_limits(1):
        results = [compare(problem) for problem in known_problems() if problem.name in PROBLEMS]
    return 0 if len(results) == len(PROBLEMS) and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
