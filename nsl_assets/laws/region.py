"""The parameters of Eq. 1 that the data allow: a region of (Imax, ln ū), and the range of a quantity over it."""

from collections.abc import Callable
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.profile import ubar_profile
from nsl_assets.laws.search import minimum_along

HALVINGS: Final = 32
UBAR_POINTS: Final = 61
ZOOMS: Final = 2
ZOOM_POINTS: Final = 13

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
    log_ubar = np.linspace(*ubar_profile(model.points, model.optimum).interval(threshold), UBAR_POINTS)
    edges = imax_ends(model, log_ubar, threshold)
    best = float(quantity(np.array([model.optimum.imax_bits]), np.array([model.optimum.log_ubar]))[0])

    def negative(imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
        return -quantity(imax_bits, log_ubar)

    lowest = -_largest(model, negative, threshold, log_ubar, edges)
    return min(best, lowest), max(best, _largest(model, quantity, threshold, log_ubar, edges))


def _largest(
    model: ErrorModel, quantity: Quantity, threshold: float, log_ubar: FloatArray, edges: tuple[FloatArray, FloatArray]
) -> float:
    """The largest value on the edge of the region, on a grid of ln ū that zooms in around it."""
    values = np.maximum(*(quantity(imax_bits, log_ubar) for imax_bits in edges))
    at = int(values.argmax())
    largest = float(values[at])
    for _ in range(ZOOMS):
        log_ubar = np.linspace(log_ubar[max(at - 1, 0)], log_ubar[min(at + 1, len(log_ubar) - 1)], ZOOM_POINTS)
        edges = imax_ends(model, log_ubar, threshold)
        values = np.maximum(*(quantity(imax_bits, log_ubar) for imax_bits in edges))
        at = int(values.argmax())
        largest = max(largest, float(values[at]))
    return largest
