"""What training loops of networks share: seeds, progress, early stopping with restored best weights, bad losses."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch

from nsl_assets.errors import MeasurementError
from nsl_assets.randomness import Key, integer_seed

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime

_SAY_EVERY_S: Final = 10.0
_MIB: Final = 2**20


@contextmanager
def seeded(runtime: Runtime, *keys: Key) -> Iterator[None]:
    """Torch draws from a seed of these keys, deterministically, with the runtime's threads; restored afterwards.

    For the draws that a library makes by itself (initial weights, dropout). Our own use keyed generators.
    """
    n_threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    gpus = list(range(torch.cuda.device_count())) if runtime.device == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(integer_seed(*keys))
        torch.set_num_threads(runtime.n_threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.set_num_threads(n_threads)
            torch.use_deterministic_algorithms(was_deterministic)


@dataclass
class EarlyStopping:
    """Follows the validation loss, keeps a copy of the best weights, and says when to stop.

    Args:
        module: the network whose weights are kept.
        patience: evaluations without improvement after which training stops; None: never.
        min_delta: the least decrease that counts as an improvement.
    """

    module: torch.nn.Module
    patience: int | None
    min_delta: float = 0.0
    best_loss: float = math.inf
    n_without_improvement: int = 0
    _best: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _reference_loss: float = math.inf

    def observe(self, loss: float) -> bool:
        """Take note of an evaluation; whether training should stop.

        The weights of the lowest loss are kept, also where it fell by less than min_delta.
        """
        if loss < self.best_loss:
            self.best_loss = loss
            self._best = {name: value.detach().to("cpu", copy=True) for name, value in self.module.state_dict().items()}
        is_better = loss < self._reference_loss - self.min_delta
        self._reference_loss = loss if is_better else self._reference_loss
        self.n_without_improvement = 0 if is_better else self.n_without_improvement + 1
        return self.patience is not None and self.n_without_improvement >= self.patience

    def restore_best(self) -> None:
        """Put the weights of the lowest validation loss back; nothing if there was no evaluation."""
        if self._best:
            self.module.load_state_dict(self._best)


def require_finite(loss: float, what: str, step: int, learning_rate: float) -> None:
    """Raise MeasurementError where a loss is NaN or infinite: the model is then never used or stored."""
    if not math.isfinite(loss):
        raise MeasurementError(
            f"the {what} became {loss} at step {step:,} (learning rate {learning_rate:g}): training was stopped and"
            " nothing of it is stored. Lower learning_rate of this model, or raise the lowest noise level."
        )


class Heartbeat:
    """Says how far training is, at most every ten seconds.

    Args:
        runtime: where the line goes.
        total: the most that can be done, in the unit of `at`; the estimate of the time left is an upper bound.
        unit: "step" or "epoch".
    """

    def __init__(self, runtime: Runtime, total: int, unit: str) -> None:
        self._runtime, self._total, self._unit = runtime, total, unit
        self._start_s = self._last_s = time.monotonic()

    def at(self, done: int, loss: float) -> None:
        """Say that so much is done, with the last loss."""
        now_s = time.monotonic()
        if now_s - self._last_s < _SAY_EVERY_S or done == 0:
            return
        self._last_s = now_s
        left_s = (now_s - self._start_s) / done * (self._total - done)
        self._runtime.say(
            f"{self._unit} {done:,} of at most {self._total:,}, loss {loss:.4g}, at most {left_s:,.0f} s left"
        )


def device_name(runtime: Runtime) -> str:
    """ "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name() if runtime.device == "cuda" else "cpu"


def peak_device_memory_mib(runtime: Runtime) -> float:
    """Largest memory that torch has reserved on the GPU so far; 0 on the CPU."""
    return torch.cuda.max_memory_reserved() / _MIB if runtime.device == "cuda" else 0.0
