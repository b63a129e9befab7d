"""The parameters of Eq. 1 that the data allow: a region of (Imax, ln ū), and the range of a quantity over it."""

from collections.abc import Callable
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.profile import ubar_profile
from nsl_assets.laws.search import minimum_along

HALVINGS: Final = 40
UBAR_POINTS: Final = 61
ZOOMS: Final = 2

Quantity = Callable[[FloatArray, FloatArray], FloatArray]
"""A quantity at Imax in bits and ln ū, both (n,)."""


def imax_ends(model: ErrorModel, log_ubar: FloatArray, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Lowest and highest Imax in bits that fit within the threshold at each ln ū (n,), by bisection.

    ``threshold`` is the allowed excess of the sum of squares over its minimum, bits².
    """
    points = model.points
    best, _ = minimum_along(points.sum_of_squares_at_ubar, log_ubar, points.imax_grid_bits)
    allowed = model.optimum.sum_of_squares + threshold
    ends = []
    for bound in points.imax_bounds_bits:
        inside, outside = best, np.full_like(best, bound)
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            fits = points.sum_of_squares(middle, log_ubar) <= allowed
            inside, outside = np.where(fits, middle, inside), np.where(fits, outside, middle)
        ends.append(inside)
    return ends[0], ends[1]


def quantity_range(model: ErrorModel, quantity: Quantity, contrast: FloatArray) -> tuple[float, float]:
    """Profile-likelihood interval of a quantity with this gradient by (Imax, ln ū), (2,).

    That is the quantity's range over the region that its threshold allows: with a monotone dependence on Imax,
    its ends lie on the region's edge.
    """
    threshold = model.threshold(contrast)
    ends = ubar_profile(model.points, model.optimum).interval(threshold)
    best = float(quantity(np.array([model.optimum.imax_bits]), np.array([model.optimum.log_ubar]))[0])
    lowest = _extreme(model, lambda imax, log_ubar: -quantity(imax, log_ubar), threshold, ends)
    return min(best, -lowest), max(best, _extreme(model, quantity, threshold, ends))


def _extreme(model: ErrorModel, quantity: Quantity, threshold: float, ends: tuple[float, float]) -> float:
    """The largest value on the edge of the region, on a grid of ln ū that zooms in around it."""
    low, high = ends
    largest = -np.inf
    for _ in range(1 + ZOOMS):
        log_ubar = np.linspace(low, high, UBAR_POINTS)
        edges = imax_ends(model, log_ubar, threshold)
        values = np.maximum(*(quantity(imax_bits, log_ubar) for imax_bits in edges))
        at = int(values.argmax())
        largest = max(largest, float(values[at]))
        low, high = log_ubar[max(at - 1, 0)], log_ubar[min(at + 1, UBAR_POINTS - 1)]
    return largest
