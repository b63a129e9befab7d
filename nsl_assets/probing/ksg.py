"""Mutual information by nearest neighbours: Kraskov, Stögbauer & Grassberger (2004), and Ross (2014) for classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.ksg_neighbours import Neighbours
from nsl_assets.probing.margins import rank_normal
from nsl_assets.probing.measurement import Measurement, Terms, standard_error_bits
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import KsgSettings
from nsl_assets.randomness import generator

Points = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.intp]


def measure_ksg(pairs: Pairs, settings: KsgSettings, seed: int) -> Measurement:
    """Information between rank-normal columns, or with classes; ± 1.96 standard errors of its terms.

    The floor is the same on shuffled pairs. Interval and floor hold sampling error, not the bias towards zero,
    which grows with the information and with the number of columns. The only member of a class has no term.
    """
    x, y = _margins(pairs.representation), pairs.classes if pairs.columns is None else _margins(pairs.columns)
    assert y is not None
    terms_bits: Callable[..., Terms] = class_terms_bits if pairs.columns is None else ksg_terms_bits
    order = generator("ksg floor", seed).permutation(len(pairs))
    terms, floor_terms = (terms_bits(x, side, k=settings.k_neighbours) for side in (y, y[order]))
    has_term = np.isfinite(terms)
    value = float(terms[has_term].mean())
    group = None if pairs.group is None else pairs.group[has_term]
    error = standard_error_bits(terms[has_term] - value, group)
    return Measurement(
        value_bits=value,
        low_bits=value - 1.96 * error,
        high_bits=value + 1.96 * error,
        floor_bits=float(np.nanmean(floor_terms)),
        diagnostics={
            "standard_error_bits": error,
            "k_neighbours": settings.k_neighbours,
            "n_dimensions": pairs.representation.shape[1],
            "n_columns": None if pairs.columns is None else pairs.columns.shape[1],
            "n_lone_pairs": int((~has_term).sum()),
        },
    )


def _margins(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return rank_normal(columns).astype(np.float32)


def ksg_terms_bits(x: Points, y: Points, *, k: int = 3) -> Terms:
    """Local terms (n_pairs,) whose mean is the estimate in bits (their equation 8, maximum norm).

    ``x`` (n_pairs, n_x) and ``y`` (n_pairs, n_y). Where k or more other pairs coincide with a pair in both,
    the term for mixtures of atoms and densities is used (Gao et al. 2017, with the same bias correction).
    Raises MeasurementError for no more than k pairs, and for values that are not finite.
    """
    from scipy.special import digamma

    if len(x) <= k:
        raise MeasurementError(f"{len(x)} pairs for {k} nearest neighbours: at least {k + 1} are needed.")
    dtype = np.result_type(x, y, np.float32)
    x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    radius, n_joint = _scale(np.hstack([x, y]), k)
    n_x, n_y = (Neighbours(side).n_within(radius) for side in (x, y))
    terms: Terms = (digamma(n_joint) + digamma(len(x)) - digamma(n_x) - digamma(n_y)) / np.log(2)
    return terms


def class_terms_bits(x: Points, classes: Rows, *, k: int = 3) -> Terms:
    """Local terms (n_pairs,) whose mean is the estimate in bits (Ross 2014, PLoS ONE 9:e87357, maximum norm).

    ``x`` (n_pairs, n_x) and class codes (n_pairs,). The k-th neighbour is sought among the members of the class,
    in a class of k or fewer the farthest one; then all pairs that are nearer are counted. The only member of a
    class has NaN. Atoms are treated as in `ksg_terms_bits`. Raises MeasurementError where every class has one member.
    """
    from scipy.special import digamma

    sizes = np.bincount(classes)
    if sizes.max() == 1:
        message = (
            f"each of the {len(classes)} classes has one member: neighbours within a class need at least two."
            " Name coarser classes, or continuous columns."
        )
        raise MeasurementError(message)
    x = x.astype(np.result_type(x, np.float32), copy=False)
    radius, n_near = np.full(len(x), -1, x.dtype), np.zeros(len(x), np.int64)
    for members in np.split(np.argsort(classes, kind="stable"), np.cumsum(sizes)[:-1]):
        if len(members) > 1:
            radius[members], n_near[members] = _scale(x[members], min(k, len(members) - 1))
    n_all = Neighbours(x).n_within(radius)
    terms, has_term = np.full(len(x), np.nan), n_near > 0
    near, own = digamma(n_near[has_term]), digamma(sizes[classes[has_term]])
    terms[has_term] = (near + digamma(len(x)) - digamma(n_all[has_term]) - own) / np.log(2)
    return terms


def _scale(points: Points, k: int) -> tuple[Points, npt.NDArray[np.int64]]:
    """The largest number below each point's distance to its k-th neighbour, and k.

    Where k or more others coincide with a point: zero, and their number.
    """
    neighbours = Neighbours(points)
    distance = neighbours.kth_distance(k)
    n_near, is_atom = np.full(len(points), k), distance == 0
    if is_atom.any():
        n_near[is_atom] = neighbours.n_within(np.where(is_atom, distance, -1))[is_atom] - 1
    return np.nextafter(distance, 0), n_near
