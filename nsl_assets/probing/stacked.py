"""Many small networks trained at once: the networks of all folds share every operation.

Networks lie along the leading axis of every tensor, so that one batched matrix product serves all folds, and
all parameters of one network are one row of a matrix (n_networks, n_parameters). Randomness comes from NumPy
generators alone; torch's own random state is neither read nor changed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from nsl_assets.probing.folds import Fold, Rows

Layer = tuple[int, int]
Loss = Callable[[Tensor, Tensor, int], Tensor]
Validation = Callable[[Tensor, Tensor], Tensor]

_POOL_SIZE: Final = 1 << 22


@contextmanager
def training_on(device: str) -> Iterator[None]:
    """New tensors lie on ``device``; on a CPU torch runs on one thread, so that sums have one order.

    The caller's number of threads and default device are restored afterwards.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with nullcontext() if device == "cpu" else torch.device(device):
            yield
    finally:
        torch.set_num_threads(n_threads)


def n_parameters(layers: Sequence[Layer]) -> int:
    """Number of weights and biases of one network."""
    return sum((n_in + 1) * n_out for n_in, n_out in layers)


def initial_parameters(layers: Sequence[Layer], generators: Sequence[np.random.Generator]) -> Tensor:
    """Uniform ±1/√n_inputs weights and biases (torch's default), shape (n_networks, n_parameters)."""
    return torch.as_tensor(np.stack([_initial_network(layers, generator) for generator in generators]))


def _initial_network(layers: Sequence[Layer], generator: np.random.Generator) -> np.ndarray:
    pieces = [
        generator.uniform(-(n_in**-0.5), n_in**-0.5, (n_in + 1) * n_out).astype(np.float32) for n_in, n_out in layers
    ]
    return np.concatenate(pieces)


def unpack(parameters: Tensor, layers: Sequence[Layer]) -> list[tuple[Tensor, Tensor]]:
    """Weights (n_networks, n_in, n_out) and biases (n_networks, 1, n_out) of every layer, as views."""
    sizes = [size for n_in, n_out in layers for size in (n_in * n_out, n_out)]
    pieces = torch.split(parameters, sizes, dim=1)
    return [
        (weight.view(len(parameters), n_in, n_out), bias.unsqueeze(1))
        for weight, bias, (n_in, n_out) in zip(pieces[::2], pieces[1::2], layers, strict=True)
    ]


class DropoutMasks:
    """Dropout masks: windows at random offsets into a pool of draws, since drawing anew costs more than a layer."""

    def __init__(self, rate: float, generator: np.random.Generator) -> None:
        self._rate, self._generator = rate, generator
        self._pool = self._drawn(_POOL_SIZE)

    def draw(self, like: Tensor) -> Tensor:
        """A mask shaped as ``like``: 0 where dropped, 1/(1 - rate) elsewhere."""
        if like.numel() > len(self._pool):
            self._pool = self._drawn(2 * like.numel())
        start = int(self._generator.integers(0, len(self._pool) - like.numel() + 1))
        return self._pool[start : start + like.numel()].view(like.shape)

    def _drawn(self, n_draws: int) -> Tensor:
        kept = self._generator.random(n_draws, dtype=np.float32) >= self._rate
        return torch.as_tensor(kept.astype(np.float32) / np.float32(1.0 - self._rate))


def perceptron(x: Tensor, parameters: Tensor, layers: Sequence[Layer], masks: DropoutMasks | None = None) -> Tensor:
    """SiLU perceptrons on x (n_networks or 1, n_rows, n_columns), with dropout where masks are given."""
    weights = unpack(parameters, layers)
    x = x.expand(len(parameters), -1, -1)
    for weight, bias in weights[:-1]:
        x = silu(torch.baddbmm(bias, x, weight))
        x = x if masks is None else x * masks.draw(x)
    weight, bias = weights[-1]
    return torch.baddbmm(bias, x, weight)


def batches(folds: Sequence[Fold], batch_size: int, n_steps: int, order: np.random.Generator) -> Tensor:
    """Training rows (n_steps, n_networks, batch_size) in random epochs, no row twice within a batch."""
    size = min(batch_size, *(len(fold.train) for fold in folds))
    streams = [np.stack(_stream(fold.train, size, n_steps, order)) for fold in folds]
    return torch.as_tensor(np.stack(streams, axis=1))


def _stream(rows: Rows, size: int, n_steps: int, order: np.random.Generator) -> list[Rows]:
    stream: list[Rows] = []
    while len(stream) < n_steps:
        shuffled = order.permutation(rows)
        stream.extend(shuffled[: len(rows) // size * size].reshape(-1, size))
    return stream[:n_steps]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast networks are trained; a validation happens every ``validate_every`` steps.

    What is validated and kept is the running mean of the parameters in which a step has the weight ``averaging``
    (Polyak & Juditsky 1992); 1 keeps the parameters themselves.
    """

    n_steps: int
    validate_every: int
    patience: int
    learning_rate: float
    weight_decay: float
    is_cosine: bool
    averaging: float = 1.0

    def rate(self, step: int) -> float:
        """Learning rate of a step: constant, or half a cosine from the full rate to zero."""
        if not self.is_cosine:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + float(np.cos(np.pi * step / self.n_steps)))


@dataclass(frozen=True)
class Trained:
    """The best parameters by validation, their validation loss, and the steps that each network was trained."""

    parameters: Tensor
    losses: Tensor
    steps: tuple[int, ...]


def train(initial: Tensor, loss: Loss, validation_loss: Validation, schedule: Schedule) -> Trained:
    """Train every network until its own validation loss has not improved for ``patience`` validations.

    ``loss(parameters, networks, step)`` is the sum over the listed networks, ``validation_loss(parameters,
    networks)`` one value each; ``networks`` holds the rows that are still trained. The untrained networks
    take part in the selection.
    """
    run = _Run(initial, validation_loss, schedule)
    for step in range(schedule.n_steps):
        run.descend(loss, step)
        if (step + 1) % schedule.validate_every == 0:
            run.validate(step + 1)
        if not len(run.networks):
            break
    return Trained(run.best, run.best_loss, tuple(run.steps.tolist()))


class _Run:
    """State of one training: parameters, their means and moments of the networks still trained, best of all."""

    def __init__(self, initial: Tensor, validation_loss: Validation, schedule: Schedule) -> None:
        self.schedule = schedule
        self.validation_loss = validation_loss
        self.networks = torch.arange(len(initial))
        self.parameters = initial.clone()
        self.moments = (torch.zeros_like(initial), torch.zeros_like(initial))
        self.averages = initial.clone()
        self.best = initial.clone()
        with torch.no_grad():
            self.best_loss = validation_loss(initial, self.networks)
        self.waited = torch.zeros(len(initial), dtype=torch.long)
        self.steps = torch.zeros(len(initial), dtype=torch.long)

    def descend(self, loss: Loss, step: int) -> None:
        self.parameters.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(self.parameters, self.networks, step), self.parameters)
        self.parameters.requires_grad_(False)
        _adamw_step(self.parameters, self.moments, gradient, step + 1, self.schedule)
        self.averages.lerp_(self.parameters, max(self.schedule.averaging, 1.0 / (step + 1)))

    def validate(self, n_steps: int) -> None:
        with torch.no_grad():
            losses = self.validation_loss(self.averages, self.networks)
        is_better = losses < self.best_loss[self.networks]
        better = self.networks[is_better]
        self.best[better], self.best_loss[better] = self.averages[is_better], losses[is_better]
        self.waited[self.networks] += 1
        self.waited[better] = 0
        self.steps[self.networks] = n_steps
        self._keep(self.waited[self.networks] < self.schedule.patience)

    def _keep(self, is_kept: Tensor) -> None:
        if bool(is_kept.all()):
            return
        self.networks, self.parameters = self.networks[is_kept], self.parameters[is_kept]
        self.averages = self.averages[is_kept]
        self.moments = (self.moments[0][is_kept], self.moments[1][is_kept])


def _adamw_step(
    parameters: Tensor, moments: tuple[Tensor, Tensor], gradient: Tensor, step: int, schedule: Schedule
) -> None:
    """One step of AdamW (Loshchilov & Hutter 2019) in place; all networks have made the same steps."""
    first, second = moments
    first.lerp_(gradient, 0.1)
    second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    rate = schedule.rate(step - 1)
    scale = (second / (1.0 - 0.999**step)).sqrt_().add_(1e-8)
    parameters.mul_(1.0 - rate * schedule.weight_decay)
    parameters.addcdiv_(first, scale, value=-rate / (1.0 - 0.9**step))
