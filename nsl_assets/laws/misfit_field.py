"""Misfit that neighbouring grid cells share: a Matérn-3/2 field over ln depth and ln training cells.

A residual of a joint law is σ times (field + independent noise), of variances ``misfit_share`` and the rest.
"""

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_settings import JointSettings

Places = tuple[FloatArray, FloatArray]
"""ln depth and ln training cells, (n,) each."""


def field_covariance(first: Places, second: Places, settings: JointSettings) -> FloatArray:
    """Covariance of the field between two sets of places, in units of σ², (n_first, n_second)."""
    lengths = (settings.misfit_depth_length, settings.misfit_cells_length)
    steps = [(a[:, None] - b[None, :]) / length for a, b, length in zip(first, second, lengths, strict=True)]
    distance = np.sqrt(3 * (steps[0] ** 2 + steps[1] ** 2))
    return np.asarray(settings.misfit_share * (1 + distance) * np.exp(-distance))


def whitening(places: Places, settings: JointSettings) -> FloatArray:
    """The lower triangular matrix (n, n) that makes residuals independent and of variance σ²."""
    covariance = field_covariance(places, places, settings)
    covariance += (1 - settings.misfit_share) * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))
