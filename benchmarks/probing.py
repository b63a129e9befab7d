"""Accuracy and speed of the probes: a table over problems of known information, and two peers.

`python benchmarks/probing.py` prints the table: mean over seeds in bits, CPU seconds an estimate. `--ksg` times
the nearest-neighbour estimate against scikit-learn's trees (f2), `--latentmi` one latent mutual information against
the published package with its defaults (f1; minutes an estimate at 2,000 pairs). CPU seconds on one thread.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import digamma
from threadpoolctl import threadpool_limits

from nsl_assets.probing import Estimate, KnownProblem, ProbingSettings, as_auxiliary, estimate, known_problems
from nsl_assets.probing.ksg import ksg_terms_bits

KSG_GATES = {"gaussian_2.0bit_5d": 3.0, "gaussian_2.0bit_16d": 7.0}
LATENT_GATE = 50.0
Result = TypeVar("Result")
SETTINGS = ProbingSettings()


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def one_estimate(problem: KnownProblem, n_pairs: int, estimator: str, seed: int) -> Estimate:
    x, y = problem.sample(n_pairs, seed=seed)
    return estimate(x, as_auxiliary(y), estimator=estimator, settings=SETTINGS, seed=seed)  # type: ignore[arg-type]


def accuracy(arguments: argparse.Namespace) -> None:
    print("| pairs | problem | truth | estimator | value | sd | low | high | pooled | copula | floor | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for n_pairs in arguments.pairs:
        for problem in known_problems():
            if any(part in problem.name for part in arguments.problems):
                for estimator in arguments.estimators:
                    print(table_row(problem, n_pairs, estimator, arguments.seeds), flush=True)


def table_row(problem: KnownProblem, n_pairs: int, estimator: str, n_seeds: int) -> str:
    runs = [timed(partial(one_estimate, problem, n_pairs, estimator, seed)) for seed in range(n_seeds)]
    results = [result for _, result in runs]
    values = [result.value_bits for result in results]
    columns: list[list[float | None]] = [
        [result.low_bits for result in results],
        [result.high_bits for result in results],
        [result.diagnostics.get("pooled_bits") for result in results],
        [result.diagnostics.get("gaussian_copula_bits") for result in results],
        [result.floor_bits for result in results],
    ]
    numbers = [np.mean(values), np.std(values), *(mean_or_none(column) for column in columns)]
    cells = " | ".join("–" if number is None else f"{number:.2f}" for number in numbers)
    seconds = statistics.mean(run for run, _ in runs)
    return f"| {n_pairs:,} | {problem.name} | {problem.true_bits:.2f} | {estimator} | {cells} | {seconds:.1f} |"


def mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if len(known) == len(values) else None


def tree_ksg_bits(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32], k: int = 3) -> float:
    from sklearn.neighbors import KDTree, NearestNeighbors

    x, y = x.astype(np.float64), y.astype(np.float64)
    joint = np.hstack([x, y])
    search = NearestNeighbors(n_neighbors=k, metric="chebyshev").fit(joint)
    radius = np.nextafter(search.kneighbors()[0][:, -1], 0)
    inside = [KDTree(side, metric="chebyshev").query_radius(side, radius, count_only=True) for side in (x, y)]
    nats = digamma(k) + digamma(len(x)) - np.mean(digamma(inside[0]) + digamma(inside[1]))
    return float(nats / np.log(2))


def our_ksg_bits(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> float:
    return float(ksg_terms_bits(x, y).mean())


def compare_ksg(n_pairs: int = 20_000) -> bool:
    ok = True
    ksg_terms_bits(np.eye(9, dtype=np.float32), np.eye(9, dtype=np.float32))
    for name, gate in KSG_GATES.items():
        problem = next(problem for problem in known_problems() if problem.name == name)
        x, y = (side.astype(np.float32) for side in problem.sample(n_pairs, seed=0))
        peer_s, peer_bits = timed(partial(tree_ksg_bits, x, y))
        ours_s, ours_bits = timed(partial(our_ksg_bits, x, y))
        ok &= peer_s / ours_s >= gate and abs(peer_bits - ours_bits) < 5e-4
        print(
            f"f2 KSG, {name}: ratio {peer_s / ours_s:.1f} (peer {peer_s:.2f} s, ours {ours_s:.2f} s)"
            f" {peer_bits:.4f} / {ours_bits:.4f} bits"
        )
    return ok


def latentmi_bits(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], seed: int) -> float:
    """The package's defaults with 16 latents. It needs NumPy's former name `NaN`."""
    import torch

    np.NaN = np.nan  # type: ignore[attr-defined]  # noqa: NPY201
    from latentmi import lmi

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        return float(np.nanmean(lmi.estimate(x, y, N_dims=16)[0]))


def compare_latentmi(names: list[str], n_pairs: int) -> bool:
    ok = True
    for problem in known_problems():
        if any(part in problem.name for part in names):
            x, y = problem.sample(n_pairs, seed=0)
            columns = y.astype(np.float64) if y.ndim == 2 else np.eye(int(y.max()) + 1)[y]
            peer_s, peer_bits = timed(partial(latentmi_bits, x, columns, 0))
            ours_s, ours = timed(partial(one_estimate, problem, n_pairs, "lmi", 0))
            ok &= peer_s / ours_s >= LATENT_GATE
            print(
                f"f1 LMI, {problem.name}: ratio {peer_s / ours_s:.1f} (peer {peer_s:.1f} s, ours {ours_s:.1f} s)"
                f" {peer_bits:.3f} / {ours.value_bits:.3f} bits",
                flush=True,
            )
    return ok


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=[""])
    parser.add_argument("--estimators", nargs="+", default=["infonce", "lmi"])
    parser.add_argument("--ksg", action="store_true")
    parser.add_argument("--latentmi", action="store_true")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        if arguments.ksg:
            return 0 if compare_ksg() else 1
        if arguments.latentmi:
            return 0 if compare_latentmi(arguments.problems, arguments.pairs[0]) else 1
        accuracy(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
