"""Held-out information about classes: linear discriminants corrected by a perceptron, pooled and cross-fitted.

For a categorical auxiliary the best score of a pair is its log posterior over the prior, so the bound is
H(Y) minus the held-out cross-entropy of a classifier. Classes too rare for the folds keep a smoothed prior.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from nsl_assets.probing.bounds import WEIGHTS
from nsl_assets.probing.folds import Fold, Rows
from nsl_assets.probing.gaussian import ledoit_wolf
from nsl_assets.probing.held_out import FoldBound, HeldOutBounds
from nsl_assets.probing.margins import leading_components, rank_normal
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.recipe import fold_pairs, training_schedule
from nsl_assets.probing.settings import InfoNceSettings
from nsl_assets.probing.stacked import (
    DropoutMasks,
    Layer,
    Trained,
    batches,
    initial_parameters,
    perceptron,
    train,
    training_on,
)
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
_INPUT_CLIP: Final = 6.0


@dataclass(frozen=True)
class _Problem:
    """One fold of the true or the shuffled pairs: class codes, who is in which set, linear logits and prior."""

    classes: Rows
    fold: Fold
    discriminants: Columns
    log_prior: Columns


def bounds_of_classes(pairs: Pairs, settings: InfoNceSettings, seed: int, device: str) -> HeldOutBounds:
    """Held-out bounds in bits of all folds, and of one fold of shuffled pairs, trained alongside, as floor."""
    columns, problems = _problems(pairs, settings, seed)
    with training_on(device):
        networks = _Networks(columns, problems, settings, seed)
        corrections = [networks.logits(number) for number in range(len(problems))]
    return _bounds(problems, corrections, pairs, steps=networks.trained.steps)


def bounds_of_discriminants(pairs: Pairs, settings: InfoNceSettings, seed: int) -> HeldOutBounds:
    """The same for the linear discriminants alone: what is known if every class is Gaussian, of one shape."""
    _, problems = _problems(pairs, settings, seed)
    return _bounds(problems, [np.zeros_like(problem.discriminants) for problem in problems], pairs, steps=())


def _problems(pairs: Pairs, settings: InfoNceSettings, seed: int) -> tuple[Columns, list[_Problem]]:
    """The columns that discriminants and networks see; one problem a fold, and as the last one shuffled pairs."""
    assert pairs.classes is not None
    columns = leading_components(rank_normal(pairs.representation), settings.max_components)
    folds = fold_pairs(pairs, settings, seed)
    shuffled = pairs.classes[generator("infonce floor", seed).permutation(len(pairs))]
    problems = [_problem(columns, pairs.classes, fold) for fold in folds]
    return columns, [*problems, _problem(columns, shuffled, folds[0])]


def _bounds(
    problems: Sequence[_Problem], corrections: Sequence[Columns], pairs: Pairs, *, steps: Sequence[int]
) -> HeldOutBounds:
    assert pairs.classes is not None
    log_share = _log_share(pairs.classes)
    held_out = [_held_out(*both, log_share) for both in zip(problems, corrections, strict=True)]
    return HeldOutBounds(
        folds=held_out[:-1],
        floor=held_out[-1],
        group=pairs.group,
        gaussian=None,
        columns_gaussian=None,
        n_contrasts=None,
        steps=steps,
    )


def _log_share(classes: Rows) -> Columns:
    share: Columns = np.log(np.bincount(classes) / len(classes))
    return share


def _problem(columns: Columns, classes: Rows, fold: Fold) -> _Problem:
    n_classes = int(classes.max()) + 1
    counts = np.bincount(classes[fold.train], minlength=n_classes) + 0.5
    return _Problem(
        classes=classes,
        fold=fold,
        discriminants=_discriminants(columns, classes, fold.train, n_classes),
        log_prior=np.log(counts / counts.sum()),
    )


def _discriminants(columns: Columns, classes: Rows, rows: Rows, n_classes: int) -> Columns:
    """Linear discriminant scores (n_pairs, n_classes) without prior: Ledoit-Wolf covariance, shrunk means."""
    counts = np.bincount(classes[rows], minlength=n_classes)
    centre = columns[rows].mean(axis=0)
    sums = np.zeros((n_classes, columns.shape[1]))
    np.add.at(sums, classes[rows], columns[rows] - centre)
    means = sums / np.maximum(counts, 1)[:, None]
    covariance = ledoit_wolf(columns[rows] - centre - means[classes[rows]])
    whitener = np.linalg.cholesky(np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance))))
    means = _shrunk_means(means @ whitener, counts)
    whitened = (columns - centre) @ whitener
    scores: Columns = whitened @ means.T - 0.5 * np.square(means).sum(axis=1)
    return scores


def _shrunk_means(means: Columns, counts: Rows) -> Columns:
    """White class means (n_classes, n_columns) drawn to zero as far as noise explains them (James-Stein)."""
    noise = means.shape[1] / np.maximum(counts, 1)
    factor = 1.0 - noise / np.maximum(np.square(means).sum(axis=1), 1e-12)
    shrunk: Columns = means * np.maximum(factor, 0.0)[:, None]
    return shrunk


class _Networks:
    """Perceptrons of all problems, trained together to correct the linear discriminants' logits."""

    def __init__(self, columns: Columns, problems: Sequence[_Problem], settings: InfoNceSettings, seed: int) -> None:
        n_classes, width = problems[0].discriminants.shape[1], settings.width(len(columns))
        self._layers: tuple[Layer, ...] = ((columns.shape[1], width), (width, width), (width, n_classes))
        self._columns = torch.as_tensor(np.clip(columns, -_INPUT_CLIP, _INPUT_CLIP).astype(np.float32))
        self._classes = torch.as_tensor(np.stack([problem.classes for problem in problems]))
        offsets = [problem.discriminants + problem.log_prior for problem in problems]
        self._linear = torch.as_tensor(np.stack(offsets).astype(np.float32))
        self._folds = [problem.fold for problem in problems]
        self._masks = DropoutMasks(settings.dropout, generator("classifier dropout", seed))
        schedule = training_schedule(len(columns), settings)
        order = generator("classifier batches", seed)
        self._batches = batches(self._folds, settings.batch_size, schedule.n_steps, order)
        generators = [generator("classifier", seed, problem) for problem in range(len(problems))]
        initial = initial_parameters(self._layers, generators)
        initial[:, -(width + 1) * n_classes :] = 0.0
        self.trained: Trained = train(initial, self._loss, self._validation_loss, schedule)

    def logits(self, problem: int) -> Columns:
        """The network's correction (n_pairs, n_classes) of a problem, for all pairs."""
        with torch.no_grad():
            corrections = perceptron(self._columns[None], self.trained.parameters[problem : problem + 1], self._layers)
        return corrections[0].double().cpu().numpy()

    def _log_posteriors(self, parameters: Tensor, problems: Tensor, rows: Tensor, masks: DropoutMasks | None) -> Tensor:
        """Log posterior (n_problems, n_rows) of the true class."""
        correction = perceptron(self._columns[rows], parameters, self._layers, masks)
        logits = log_softmax(self._linear[problems[:, None], rows] + correction, dim=-1)
        truth = self._classes[problems[:, None], rows]
        return logits.gather(-1, truth[..., None])[..., 0]

    def _loss(self, parameters: Tensor, problems: Tensor, step: int) -> Tensor:
        rows = self._batches[step, problems]
        return -self._log_posteriors(parameters, problems, rows, self._masks).mean(1).sum()

    def _validation_loss(self, parameters: Tensor, problems: Tensor) -> Tensor:
        losses = []
        for position, problem in enumerate(problems.tolist()):
            one = slice(position, position + 1)
            rows = torch.as_tensor(self._folds[problem].validation)[None]
            losses.append(-self._log_posteriors(parameters[one], problems[one], rows, None).mean())
        return torch.stack(losses)


def _held_out(problem: _Problem, corrections: Columns, log_share: Columns) -> FoldBound:
    """Weights of discriminants and network by validation; terms are log posteriors over the class's share."""
    fold = problem.fold
    terms = partial(_terms, problem, corrections, log_share)
    bounds = [terms(fold.validation, weights).mean() for weights in WEIGHTS[1:]]
    best = int(np.argmax(bounds))
    return FoldBound(
        rows=fold.test,
        terms_bits=terms(fold.test, WEIGHTS[1:][best]) / np.log(2),
        train_bits=float(terms(fold.train, WEIGHTS[1:][best]).mean() / np.log(2)),
        is_zero=bool(bounds[best] <= terms(fold.validation, WEIGHTS[0]).mean()),
        weights=WEIGHTS[1:][best],
        base_bits=float(terms(fold.test, (1.0, 0.0)).mean() / np.log(2)),
    )


def _terms(
    problem: _Problem, corrections: Columns, log_share: Columns, rows: Rows, weights: tuple[float, float]
) -> Columns:
    from scipy.special import logsumexp

    linear, network = weights[0] * problem.discriminants[rows], weights[1] * corrections[rows]
    logits = linear + network + problem.log_prior
    truth = problem.classes[rows]
    terms: Columns = logits[np.arange(len(rows)), truth] - logsumexp(logits, axis=1) - log_share[truth]
    return terms
