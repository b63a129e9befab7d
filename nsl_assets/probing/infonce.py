"""Held-out InfoNCE of continuous auxiliary signals: Gaussian base and neural critic, pooled and cross-fitted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.probing.bounds import LARGEST_BLOCK, WEIGHTS, blocks, contrast_terms, infonce_terms
from nsl_assets.probing.critic import Critic, CriticInputs, CriticShape, Side
from nsl_assets.probing.folds import Fold, Rows
from nsl_assets.probing.gaussian import CanonicalBase, canonical_bases, gaussian_information
from nsl_assets.probing.held_out import FoldBound, HeldOutBounds
from nsl_assets.probing.margins import leading_components, log_radius, with_bumps
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.recipe import fold_pairs, training_schedule
from nsl_assets.probing.settings import InfoNceSettings
from nsl_assets.probing.stacked import training_on
from nsl_assets.probing.views import View, plain_view, views
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
ScoresOf = Callable[[Rows], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
_INPUT_CLIP: Final = 6.0
_WEIGHING_BLOCK: Final = 1_024
_BASE_SCALES: Final = (1.0, 0.75, 0.5, 0.25, 0.1, 0.0)
_RADIUS_SCALE: Final = 2.0


@dataclass(frozen=True)
class _Problem:
    """One fold of the true or the shuffled pairs: the view that serves it, who is in which set, the Gaussian base."""

    view: View
    fold: Fold
    base: CanonicalBase


def bounds_of_columns(pairs: Pairs, settings: InfoNceSettings, seed: int, device: str) -> HeldOutBounds:
    """Held-out bounds in bits of all folds, and of one fold of shuffled pairs, trained alongside, as floor."""
    assert pairs.columns is not None
    candidates = views(pairs.representation, pairs.columns, max_components=settings.max_canonical, seed=seed)
    problems = _problems(candidates, fold_pairs(pairs, settings, seed), seed)
    with training_on(device):
        critic = _critic(problems, settings, seed)
        scores = [partial(critic.scores, number) for number in range(len(problems))]
        bounds = _bounds(problems, scores, seed, pairs=pairs, steps=critic.trained.steps)
    view, own = _commonest_view(candidates, problems[:-1]), candidates[0]
    return replace(
        bounds,
        gaussian=gaussian_information(view.x, view.y),
        columns_gaussian=gaussian_information(own.x, own.y),
    )


def bounds_of_base(pairs: Pairs, settings: InfoNceSettings, seed: int) -> HeldOutBounds:
    """The same for the Gaussian base of the rank-normal columns alone, without a critic."""
    assert pairs.columns is not None
    own = plain_view(pairs.representation, pairs.columns)
    problems = _problems([own], fold_pairs(pairs, settings, seed), seed)
    scores = [partial(_base_scores, problem) for problem in problems]
    return _bounds(problems, scores, seed, pairs=pairs, steps=())


def _problems(candidates: Sequence[View], folds: Sequence[Fold], seed: int) -> list[_Problem]:
    """One problem a fold, and as the last one a fold of shuffled pairs."""
    order = generator("infonce floor", seed).permutation(len(candidates[0].x))
    shuffled = [view.re_paired(order) for view in candidates]
    return [*(_problem(candidates, fold) for fold in folds), _problem(shuffled, folds[0])]


def _bounds(
    problems: Sequence[_Problem],
    scores: Sequence[ScoresOf],
    seed: int,
    *,
    pairs: Pairs,
    steps: Sequence[int],
) -> HeldOutBounds:
    held_out = [_held_out(problem.fold, of_rows, seed) for problem, of_rows in zip(problems, scores, strict=True)]
    true = problems[:-1]
    return HeldOutBounds(
        folds=held_out[:-1],
        floor=held_out[-1],
        group=pairs.group,
        gaussian=None,
        columns_gaussian=None,
        n_contrasts=min(min(len(problem.fold.test), LARGEST_BLOCK) for problem in true),
        steps=steps,
        views=[problem.view.name for problem in true],
        base_scales=[problem.base.scale for problem in true],
    )


def _base_scores(problem: _Problem, rows: Rows) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    u, v = problem.base.factors(problem.view.x[rows], problem.view.y[rows])
    base = (u @ v.T).astype(np.float32)
    return base, np.zeros_like(base)


def _commonest_view(candidates: Sequence[View], problems: Sequence[_Problem]) -> View:
    """The view of most folds; of equally many the first."""
    chosen = [problem.view.name for problem in problems]
    return max(candidates, key=lambda view: chosen.count(view.name))


def _problem(candidates: Sequence[View], fold: Fold) -> _Problem:
    """The view, the Gaussian base and its scale that say most about the validation pairs."""
    rows = fold.validation[:_WEIGHING_BLOCK]
    options = [
        (bound - view.handicap_nats, view, base)
        for view in candidates
        for unscaled in canonical_bases(view.x[fold.train], view.y[fold.train])
        for bound, base in _scaled_bases(view, unscaled, rows)
    ]
    _, view, base = max(options, key=lambda option: option[0])
    return _Problem(view, fold, base)


def _scaled_bases(view: View, base: CanonicalBase, rows: Rows) -> Iterator[tuple[float, CanonicalBase]]:
    """The base at every scale, with its bound in nats on these pairs."""
    u, v = base.factors(view.x[rows], view.y[rows])
    scores = (u @ v.T).astype(np.float32)
    for scale in _BASE_SCALES:
        yield float(infonce_terms(np.float32(scale) * scores).mean()), replace(base, scale=scale)


def _critic(problems: Sequence[_Problem], settings: InfoNceSettings, seed: int) -> Critic:
    x, y = zip(*(_sides(problem, settings) for problem in problems), strict=True)
    inputs = CriticInputs(x, y, [problem.fold for problem in problems])
    n_pairs = len(problems[0].view.x)
    shape = CriticShape(
        hidden_width=settings.width(n_pairs),
        n_dimensions=settings.critic_dimensions,
        dropout=settings.dropout,
        batch_size=settings.batch_size,
    )
    return Critic(inputs, shape, training_schedule(n_pairs, settings), seed=seed)


def _sides(problem: _Problem, settings: InfoNceSettings) -> tuple[Side, Side]:
    view = problem.view
    coordinates = problem.base.coordinates(view.x, view.y)
    factors = problem.base.factors(view.x, view.y)
    root = np.sqrt(problem.base.correlations[: settings.max_canonical])
    x, y = (
        Side(_inputs(columns, canonical[:, : len(root)] * root, settings), factor.astype(np.float32))
        for columns, canonical, factor in zip((view.x, view.y), coordinates, factors, strict=True)
    )
    return x, y


def _inputs(columns: Columns, canonical: Columns, settings: InfoNceSettings) -> npt.NDArray[np.float32]:
    if columns.shape[1] <= 2:
        own = with_bumps(columns, settings.n_bumps)
    else:
        own = leading_components(columns, settings.max_components)
        own = np.hstack([own, _RADIUS_SCALE * log_radius(columns)])
    return np.clip(np.hstack([own, canonical]), -_INPUT_CLIP, _INPUT_CLIP).astype(np.float32)


def _held_out(fold: Fold, scores: ScoresOf, seed: int) -> FoldBound:
    """Weights of base and critic by validation; then test terms, and those of as many training pairs."""
    bounds = _bounds_of_weights(fold.validation, scores)
    best = int(np.argmax(bounds))
    n_train = min(len(fold.train), len(fold.test))
    train_rows = generator("infonce gap", seed).choice(fold.train, n_train, replace=False)
    test_terms, contrast = _terms(fold.test, scores, WEIGHTS[best])
    return FoldBound(
        rows=fold.test,
        terms_bits=test_terms / np.log(2),
        train_bits=float(_terms(train_rows, scores, WEIGHTS[best])[0].mean() / np.log(2)),
        contrast_bits=float(contrast.mean() / np.log(2)),
        base_bits=float(_terms(fold.test, scores, (1.0, 0.0))[0].mean() / np.log(2)),
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


def _terms(rows: Rows, scores: ScoresOf, weights: tuple[float, float]) -> tuple[Columns, Columns]:
    """Terms of the bound, and of its correction for the finite number of contrasts, (n_rows,) each."""
    terms, contrast = np.empty((2, len(rows)))
    for part in blocks(np.arange(len(rows))):
        base, critic = scores(rows[part])
        weighed = weights[0] * base + weights[1] * critic
        terms[part], contrast[part] = infonce_terms(weighed), contrast_terms(weighed)
    return terms, contrast
