"""The neural critic: two perceptrons whose outputs' product corrects the Gaussian base's score of every x and y.

One pair of perceptrons a problem (a fold of the true or of the shuffled pairs), all trained at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from nsl_assets.probing.bounds import blocks
from nsl_assets.probing.folds import Fold, Rows
from nsl_assets.probing.stacked import (
    DropoutMasks,
    Layer,
    Schedule,
    Trained,
    batches,
    initial_parameters,
    n_parameters,
    perceptron,
    train,
)
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float32]
_LARGEST_VALIDATION_BLOCK: Final = 512


@dataclass(frozen=True)
class Side:
    """One variable of one problem: the critic's input columns, and the factors of the Gaussian base's scores."""

    columns: Columns
    factors: Columns


class CriticInputs:
    """Both sides of all problems as tensors (n_problems, n_pairs, n_columns), and who trains in each problem."""

    def __init__(self, x: Sequence[Side], y: Sequence[Side], folds: Sequence[Fold]) -> None:
        self.folds = folds
        self.x, self.y = (_stacked([side.columns for side in sides]) for sides in (x, y))
        self.x_factors, self.y_factors = (_stacked([side.factors for side in sides]) for sides in (x, y))

    def base_scores(self, problems: Tensor, rows: Tensor) -> Tensor:
        """Scores (n_problems, n_rows, n_rows) of the Gaussian base, for rows (n_problems, n_rows)."""
        x, y = self.x_factors[problems[:, None], rows], self.y_factors[problems[:, None], rows]
        return torch.bmm(x, y.transpose(1, 2))


def _stacked(sides: Sequence[Columns]) -> Tensor:
    width = max(side.shape[1] for side in sides)
    return torch.stack([pad(torch.as_tensor(side), (0, width - side.shape[1])) for side in sides])


@dataclass(frozen=True)
class CriticShape:
    """Width of the two hidden layers, dimensions of the product, dropout, pairs a step."""

    hidden_width: int
    n_dimensions: int
    dropout: float
    batch_size: int

    def layers(self, n_columns: int) -> tuple[Layer, ...]:
        """Two hidden layers; the last output is the side's own offset."""
        width = self.hidden_width
        return (n_columns, width), (width, width), (width, self.n_dimensions + 1)


class Critic:
    """Critics of all problems, trained together."""

    def __init__(self, inputs: CriticInputs, shape: CriticShape, schedule: Schedule, *, seed: int) -> None:
        self._inputs = inputs
        self._shape = shape
        self._x_layers = shape.layers(inputs.x.shape[2])
        self._y_layers = shape.layers(inputs.y.shape[2])
        self._masks = DropoutMasks(shape.dropout, generator("critic dropout", seed))
        order = generator("critic batches", seed)
        self._batches = batches(inputs.folds, shape.batch_size, schedule.n_steps, order)
        generators = [generator("critic", seed, problem) for problem in range(len(inputs.folds))]
        initial = initial_parameters(self._x_layers + self._y_layers, generators)
        self.trained: Trained = train(initial, self._loss, self._validation_loss, schedule)

    def scores(self, problem: int, rows: Rows) -> tuple[Columns, Columns]:
        """Scores (n_rows, n_rows) in nats of a problem's Gaussian base and of its trained critic."""
        which, index = torch.tensor([problem]), torch.as_tensor(rows)[None]
        with torch.no_grad():
            critic = self._scores(self.trained.parameters[which], which, index, None)
        return self._inputs.base_scores(which, index)[0].cpu().numpy(), critic[0].cpu().numpy()

    def _scores(self, parameters: Tensor, problems: Tensor, rows: Tensor, masks: DropoutMasks | None) -> Tensor:
        x, y = self._inputs.x[problems[:, None], rows], self._inputs.y[problems[:, None], rows]
        split = n_parameters(self._x_layers)
        g = perceptron(x, parameters[:, :split], self._x_layers, masks)
        h = perceptron(y, parameters[:, split:], self._y_layers, masks)
        n = self._shape.n_dimensions
        offsets = g[..., n:] + h[..., n:].transpose(1, 2)
        return torch.baddbmm(offsets, g[..., :n], h[..., :n].transpose(1, 2), alpha=n**-0.5)

    def _loss(self, parameters: Tensor, problems: Tensor, step: int) -> Tensor:
        rows = self._batches[step, problems]
        scores = self._scores(parameters, problems, rows, self._masks)
        return _loss_with_known_gradient(scores, self._inputs.base_scores(problems, rows))

    def _validation_loss(self, parameters: Tensor, problems: Tensor) -> Tensor:
        losses = [
            self._held_out_loss(parameters[position : position + 1], problems[position : position + 1])
            for position in range(len(problems))
        ]
        return torch.stack(losses)

    def _held_out_loss(self, parameters: Tensor, problem: Tensor) -> Tensor:
        losses = []
        for part in blocks(self._inputs.folds[int(problem)].validation, _LARGEST_VALIDATION_BLOCK):
            rows = torch.as_tensor(part)[None]
            scores = self._scores(parameters, problem, rows, None) + self._inputs.base_scores(problem, rows)
            losses.append(_infonce_losses(scores))
        return torch.cat(losses, dim=1).mean()


def _infonce_losses(scores: Tensor) -> Tensor:
    """Negative symmetric bound in nats of every true pair, (n_problems, n), from scores (n_problems, n, n)."""
    shares = [torch.log_softmax(scores, dim).diagonal(dim1=1, dim2=2) for dim in (1, 2)]
    return -0.5 * (shares[0] + shares[1]) - float(np.log(scores.shape[1]))


def _loss_with_known_gradient(critic: Tensor, base: Tensor) -> Tensor:
    """A number whose gradient in ``critic`` is that of the mean InfoNCE loss of base + critic, summed over problems.

    That gradient is half the softmax over rows and columns minus the truth; differentiating two log-sum-exps
    automatically costs as much as the rest of a training step.
    """
    with torch.no_grad():
        scores = critic + base
        gradient = torch.softmax(scores, 1).add_(torch.softmax(scores, 2)).mul_(0.5)
        gradient.diagonal(dim1=1, dim2=2).sub_(1.0)
        gradient.div_(scores.shape[1])
    return (critic * gradient).sum()
