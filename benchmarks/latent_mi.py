"""Benchmark f1: latent mutual information of 20,000 pairs against the published package `latentmi`.

The peer runs its public `lmi.estimate` with its defaults and 16 latents; ours its defaults. CPU seconds on one
thread. To its end the peer takes a quarter of an hour or more. By default it therefore trains `--peer-epochs` epochs;
the seconds of one are scaled up to the epochs after which its early stopping ended a full run (`FULL_EPOCHS`, or as
`--until` says), what it does besides (nearest neighbours) is counted as measured, and the line says that it is
extrapolated. `--full` trains the peer to its end: seconds, epochs and bits are then all measured, and the bits must
agree within 0.05. Both estimates hold sampling error: the peer's rests on one half of the pairs, ours on both.
"""

import argparse
import re
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from nsl_assets.probing import KnownProblem, estimate, problem_named

SPEED_GATE: Final = 50.0
AGREEMENT_BITS: Final = 0.05
MOST_EPOCHS: Final = 300
FULL_EPOCHS: Final = 120


@dataclass(frozen=True)
class PeerRun:
    """What the package gave, and its CPU seconds: for one epoch, and for all that is not an epoch."""

    bits: float
    n_epochs: int
    epoch_s: float
    besides_s: float

    def seconds(self, n_epochs: int) -> float:
        """CPU seconds of a run of so many epochs."""
        return self.besides_s + n_epochs * self.epoch_s


class EpochClock(StringIO):
    """Stands in for stdout, to which the package prints after every epoch, and notes the CPU time of each."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def write(self, text: str) -> int:
        """As `StringIO.write`."""
        if re.match(r"\repoch \d+", text):
            self.times.append(time.process_time())
        return super().write(text)


def run_peer(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], n_epochs: int) -> PeerRun:
    """The package reads the global random states, and needs NumPy's former name `NaN`."""
    np.NaN = np.nan  # type: ignore[attr-defined]  # noqa: NPY201
    from latentmi import lmi

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    clock = EpochClock()
    start = time.process_time()
    with redirect_stdout(clock):
        terms = lmi.estimate(x, y, N_dims=16, epochs=n_epochs)[0]
    total_s = time.process_time() - start
    epoch_s = (clock.times[-1] - clock.times[0]) / (len(clock.times) - 1)
    return PeerRun(float(np.nanmean(terms)), len(clock.times), epoch_s, total_s - len(clock.times) * epoch_s)


def run_ours(x: npt.NDArray[np.float64], y: npt.NDArray[Any]) -> tuple[float, float]:
    """Bits and CPU seconds, once the kernels are compiled or loaded."""
    estimate(x[:100], y[:100], estimator="lmi")
    start = time.process_time()
    bits = estimate(x, y, estimator="lmi").value_bits
    return bits, time.process_time() - start


def compare(problem: KnownProblem, n_pairs: int, peer_epochs: int, full_epochs: int | None) -> bool:
    """One line; whether the gates are met. ``full_epochs`` None: the peer ran to its end, and bits count."""
    x, y = problem.sample(n_pairs, seed=0)
    columns = y.astype(np.float64) if y.ndim == 2 else np.eye(int(y.max()) + 1)[y]
    bits, ours_s = run_ours(x, y)
    peer = run_peer(x, columns, peer_epochs)
    peer_s = peer.seconds(full_epochs or peer.n_epochs)
    print(
        f"f1 LMI, {problem.name}: ratio {peer_s / ours_s:.0f} (peer {peer_s:.0f} s, ours {ours_s:.1f} s)"
        f" {peer.bits:.3f} / {bits:.3f} bits ({provenance(peer, full_epochs)})",
        flush=True,
    )
    is_equal = abs(peer.bits - bits) < AGREEMENT_BITS
    return peer_s / ours_s >= SPEED_GATE and (is_equal or full_epochs is not None)


def provenance(peer: PeerRun, full_epochs: int | None) -> str:
    costs = f"{peer.epoch_s:.2f} s an epoch, {peer.besides_s:.1f} s besides"
    if full_epochs is None:
        return f"peer measured to its end: {peer.n_epochs} epochs, {costs}"
    return f"peer's bits after {peer.n_epochs} epochs, its seconds extrapolated from them to {full_epochs}: {costs}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=["gaussian_1.0bit_5d"])
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--peer-epochs", type=int, default=5)
    parser.add_argument("--until", type=int, default=FULL_EPOCHS)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    epochs = (MOST_EPOCHS, None) if arguments.full else (arguments.peer_epochs, arguments.until)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        met = [compare(problem_named(name), arguments.pairs, *epochs) for name in arguments.problems]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
