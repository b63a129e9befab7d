"""Held-out InfoNCE of continuous auxiliary signals: Gaussian base and neural critic, pooled and cross-fitted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.probing.bounds import LARGEST_BLOCK, WEIGHTS, blocks, infonce_terms
from nsl_assets.probing.critic import Critic, CriticInputs, CriticShape, Side
from nsl_assets.probing.folds import Fold, Rows
from nsl_assets.probing.gaussian import CanonicalBase, canonical_bases, gaussian_copula_bits
from nsl_assets.probing.margins import leading_components, rank_normal, with_bumps
from nsl_assets.probing.measurement import HeldOut, Measurement, held_out_measurement
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.recipe import fold_pairs, training_schedule
from nsl_assets.probing.settings import InfoNceSettings
from nsl_assets.probing.stacked import one_thread
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
ScoresOf = Callable[[Rows], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
_INPUT_CLIP: Final = 6.0
_WEIGHING_BLOCK: Final = 1_024


@dataclass(frozen=True)
class _Problem:
    """One fold of the true or the shuffled pairs: rank-normal columns, who is in which set, the Gaussian base."""

    x: Columns
    y: Columns
    fold: Fold
    base: CanonicalBase


def measure_continuous(pairs: Pairs, settings: InfoNceSettings, seed: int) -> Measurement:
    """The held-out bound in bits with its gap, and one fold of shuffled pairs, trained alongside, as floor."""
    assert pairs.columns is not None
    x, y = rank_normal(pairs.representation), rank_normal(pairs.columns)
    folds = fold_pairs(pairs, settings, seed)
    shuffled = y[generator("infonce floor", seed).permutation(len(y))]
    problems = [_problem(x, y, fold) for fold in folds] + [_problem(x, shuffled, folds[0])]
    with one_thread():
        critic = _critic(problems, settings, seed)
        held_out = [
            _held_out(problem.fold, partial(critic.scores, number), seed) for number, problem in enumerate(problems)
        ]
    return held_out_measurement(
        held_out[:-1],
        floor=held_out[-1],
        group=pairs.group,
        gaussian_copula_bits=gaussian_copula_bits(x, y),
        steps=critic.trained.steps,
        n_contrasts=min(min(len(fold.test), LARGEST_BLOCK) for fold in folds),
    )


def _problem(x: Columns, y: Columns, fold: Fold) -> _Problem:
    """The better of the two Gaussian bases on the validation pairs."""
    rows = fold.validation[:_WEIGHING_BLOCK]
    bases = canonical_bases(x[fold.train], y[fold.train])
    factors = [base.factors(x[rows], y[rows]) for base in bases]
    bounds = [infonce_terms(u @ v.T).mean() for u, v in factors]
    return _Problem(x, y, fold, bases[int(np.argmax(bounds))])


def _critic(problems: Sequence[_Problem], settings: InfoNceSettings, seed: int) -> Critic:
    x, y = zip(*(_sides(problem, settings) for problem in problems), strict=True)
    inputs = CriticInputs(x, y, [problem.fold for problem in problems])
    n_pairs = len(problems[0].x)
    shape = CriticShape(
        hidden_width=settings.width(n_pairs),
        n_dimensions=settings.critic_dimensions,
        dropout=settings.dropout,
        batch_size=settings.batch_size,
    )
    return Critic(inputs, shape, training_schedule(n_pairs, settings), seed=seed)


def _sides(problem: _Problem, settings: InfoNceSettings) -> tuple[Side, Side]:
    coordinates = problem.base.coordinates(problem.x, problem.y)
    factors = problem.base.factors(problem.x, problem.y)
    root = np.sqrt(problem.base.correlations[: settings.max_canonical])
    x, y = (
        Side(_inputs(columns, canonical[:, : len(root)] * root, settings), factor.astype(np.float32))
        for columns, canonical, factor in zip((problem.x, problem.y), coordinates, factors, strict=True)
    )
    return x, y


def _inputs(columns: Columns, canonical: Columns, settings: InfoNceSettings) -> npt.NDArray[np.float32]:
    if columns.shape[1] <= 2:
        own = with_bumps(columns, settings.n_bumps)
    else:
        own = leading_components(columns, settings.max_components)
    return np.clip(np.hstack([own, canonical]), -_INPUT_CLIP, _INPUT_CLIP).astype(np.float32)


def _held_out(fold: Fold, scores: ScoresOf, seed: int) -> HeldOut:
    """Weights of base and critic by validation; then test terms, and those of as many training pairs."""
    bounds = _bounds_of_weights(fold.validation, scores)
    best = int(np.argmax(bounds))
    n_train = min(len(fold.train), len(fold.test))
    train_rows = generator("infonce gap", seed).choice(fold.train, n_train, replace=False)
    return HeldOut(
        rows=fold.test,
        terms_bits=_terms(fold.test, scores, WEIGHTS[best]) / np.log(2),
        train_bits=float(_terms(train_rows, scores, WEIGHTS[best]).mean() / np.log(2)),
        is_zero=bool(bounds[best] <= 0),
        weights=WEIGHTS[best],
    )


def _bounds_of_weights(rows: Rows, scores: ScoresOf) -> npt.NDArray[np.float64]:
    """Bound on these pairs (n_weights,) for every pair of weights but (0, 0), which is never the best here."""
    bounds = np.zeros(len(WEIGHTS))
    for part in blocks(rows, _WEIGHING_BLOCK):
        base, critic = scores(part)
        for number, (alpha, beta) in enumerate(WEIGHTS):
            bounds[number] += infonce_terms(alpha * base + beta * critic).sum() / len(rows)
    bounds[WEIGHTS.index((0.0, 0.0))] = -np.inf
    return bounds


def _terms(rows: Rows, scores: ScoresOf, weights: tuple[float, float]) -> npt.NDArray[np.float64]:
    terms = np.empty(len(rows))
    for part in blocks(np.arange(len(rows))):
        base, critic = scores(rows[part])
        terms[part] = infonce_terms(weights[0] * base + weights[1] * critic)
    return terms
