"""Cross-fitting folds: who trains, who stops the training, and who is estimated. Groups stay whole."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Fold:
    """Row numbers of one fold: three disjoint sets that together hold every pair."""

    train: Rows
    validation: Rows
    test: Rows


def cross_fitting_folds(
    n_pairs: int,
    *,
    n_folds: int,
    validation_fraction: float,
    generator: np.random.Generator,
    classes: Rows | None = None,
    group: Rows | None = None,
) -> list[Fold]:
    """Folds whose test sets partition the pairs; of the other pairs a fraction, at least 40, validates.

    With ``group`` (n_pairs,) no group lies in two sets of a fold (where one group holds most of the other
    pairs, validation pairs are taken from within groups; test pairs never are). Otherwise ``classes``
    (n_pairs,) are spread evenly over the test sets. Raises MeasurementError where there is only one group.
    """
    labels = _test_labels(n_pairs, n_folds, generator, classes, group)
    return [_fold(labels == label, validation_fraction, generator, group) for label in range(labels.max() + 1)]


def _test_labels(
    n_pairs: int, n_folds: int, generator: np.random.Generator, classes: Rows | None, group: Rows | None
) -> Rows:
    order = generator.permutation(n_pairs)
    if group is not None:
        return _group_labels(group, n_folds, generator)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    labels = np.empty(n_pairs, dtype=np.intp)
    labels[order] = np.arange(n_pairs) % n_folds
    return labels


def _group_labels(group: Rows, n_folds: int, generator: np.random.Generator) -> Rows:
    """Largest group first into the emptiest fold."""
    _, codes, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        message = (
            f"the {len(group)} pairs come from {len(sizes)} group: folds that keep groups whole need at least 2."
            " Name a group column with more values, or none."
        )
        raise MeasurementError(message)
    filled = np.zeros(min(n_folds, len(sizes)), dtype=np.intp)
    label_of_group = np.empty(len(sizes), dtype=np.intp)
    shuffled = generator.permutation(len(sizes))
    for code in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        label_of_group[code] = np.argmin(filled)
        filled[label_of_group[code]] += sizes[code]
    return label_of_group[codes]


def _fold(is_test: npt.NDArray[np.bool_], fraction: float, generator: np.random.Generator, group: Rows | None) -> Fold:
    rest = generator.permutation(np.flatnonzero(~is_test))
    n_validation = max(round(fraction * len(rest)), min(40, len(rest) // 3))
    chosen = _validation_rows(rest, n_validation, group)
    return Fold(train=np.sort(rest[~chosen]), validation=np.sort(rest[chosen]), test=np.flatnonzero(is_test))


def _validation_rows(rest: Rows, n_validation: int, group: Rows | None) -> npt.NDArray[np.bool_]:
    """Mask over ``rest``: the first pairs, or the first groups that fit (``rest`` is in random order)."""
    first_pairs = np.arange(len(rest)) < n_validation
    if group is None:
        return first_pairs
    chosen = np.zeros(len(rest), dtype=np.bool_)
    for code in dict.fromkeys(group[rest].tolist()):
        members = group[rest] == code
        if chosen.sum() + members.sum() <= 1.5 * n_validation:
            chosen |= members
        if chosen.sum() >= n_validation:
            break
    return chosen if chosen.sum() >= n_validation // 2 else first_pairs
