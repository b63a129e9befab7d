"""What a fitted joint law says about depths and sizes that were, or were not, measured; and its inversion.

A prediction is the law plus the misfit of the measured neighbours, as far as it reaches. Its variance has four
parts: the parameters; the misfit that the neighbours leave open; far from all of them, a share of the information
more (laws err more where nothing holds them); and differences between seeds.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_fit import JointLawFit
from nsl_assets.laws.joint_smoother import residuals_of, seed_variance, smoother_of
from nsl_assets.laws.surface import bounded_log

Of = Literal["truth", "measurement"]
TARGET_POINTS: Final = 600
TARGET_REACH: Final = float(np.log(1e6))
"""Targets are looked for up to a million times beyond the measured depths or sizes, and a thousandth below."""


@dataclass(frozen=True, eq=False)
class JointPrediction:
    """Predicted information at places, (n,) each, in bits."""

    bits: FloatArray
    low_bits: FloatArray
    high_bits: FloatArray
    law_bits: FloatArray
    """The law alone, without the misfit of measured neighbours: smooth and monotone."""
    outside: FloatArray
    """Share of the misfit's variance that measured cells leave open, (n,): 1 far from all of them."""


@dataclass(frozen=True)
class JointTarget:
    """The depth (UMIs per cell) or number of training cells at which a wanted information is reached.

    inf where it is not reached within a million times what was measured.
    """

    wanted_bits: float
    value: float
    low: float
    high: float
    extrapolated: bool
    """Whether the value lies beyond what was measured."""


def predict_joint(
    fit: JointLawFit, depth: npt.ArrayLike, n_cells: npt.ArrayLike, *, of: Of = "truth"
) -> JointPrediction:
    """Information at depths (n,) in UMIs per cell and training cells (n,), with intervals of the fit's confidence.

    ``of="truth"``: the mean over all seeds, so differences between seeds count and noise does not.
    ``of="measurement"``: the mean of one grid cell over the same seeds, so noise counts and differences do not.
    """
    from scipy.special import fdtri, ndtri

    places = np.broadcast_arrays(bounded_log(depth), bounded_log(n_cells))
    smoother = smoother_of(fit, np.ravel(places[0]), np.ravel(places[1]))
    settings, variance = fit.settings, fit.posterior.sd_bits**2
    bits = smoother.law + smoother.field @ residuals_of(fit)
    outside = smoother.open_share / settings.misfit_share if settings.misfit_share else np.ones_like(bits)
    square = np.einsum("ni,ij,nj->n", smoother.slopes, fit.posterior.covariance, smoother.slopes)
    square += variance * smoother.open_share + (settings.outside_misfit * outside * np.maximum(bits, 0)) ** 2
    if of == "measurement":
        square += variance * (1 - settings.misfit_share)
    half = float(ndtri(0.5 + settings.confidence / 2)) * np.sqrt(square)
    if of == "truth" and fit.n_seeds > 1:
        between = fdtri(1, fit.n_seeds - 1, settings.confidence) * seed_variance(fit, smoother.gain)
        half = np.sqrt(half**2 + between)
    return JointPrediction(bits, bits - half, bits + half, smoother.law, outside)


def depth_for_joint(fit: JointLawFit, wanted_bits: float, n_cells: float) -> JointTarget:
    """The depth that a wanted information needs with a number of training cells."""
    depths = _reach(fit.cells.log_depth[np.isfinite(fit.cells.depth)])
    return _target(predict_joint(fit, depths, n_cells), wanted_bits, depths, fit.deepest)


def cells_for_joint(fit: JointLawFit, wanted_bits: float, depth: float) -> JointTarget:
    """The number of training cells that a wanted information needs at a depth in UMIs per cell."""
    cells = _reach(fit.cells.log_cells)
    return _target(predict_joint(fit, depth, cells), wanted_bits, cells, fit.most_cells)


def _reach(log_measured: FloatArray) -> FloatArray:
    low, high = log_measured.min() - TARGET_REACH / 2, log_measured.max() + TARGET_REACH
    return np.asarray(np.exp(np.linspace(low, high, TARGET_POINTS)))


def _target(prediction: JointPrediction, wanted_bits: float, axis: FloatArray, most: float) -> JointTarget:
    value, low, high = (
        _first_reached(axis, bits, wanted_bits) for bits in (prediction.bits, prediction.high_bits, prediction.low_bits)
    )
    return JointTarget(float(wanted_bits), value, low, high, extrapolated=value > most)


def _first_reached(axis: FloatArray, bits: FloatArray, wanted_bits: float) -> float:
    """Where a curve first reaches a value, by interpolation in the logarithm; inf where it does not."""
    reached = np.maximum.accumulate(bits) >= wanted_bits
    if not reached.any():
        return float("inf")
    last = int(reached.argmax())
    if last == 0:
        return 0.0
    ends = slice(last - 1, last + 1)
    return float(np.exp(np.interp(wanted_bits, bits[ends], np.log(axis[ends]))))
