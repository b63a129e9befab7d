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
from nsl_assets.laws.joint_fit import JointLawFit, law_bits
from nsl_assets.laws.misfit_field import field_covariance, whitening
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


@dataclass(frozen=True, eq=False)
class _Smoother:
    """Matrices that map measured bits to predictions at places."""

    law: FloatArray
    """The law at the places, (n,)."""
    field: FloatArray
    """Predicted misfit per bit of residual, (n, n_grid_cells)."""
    open_share: FloatArray
    """Variance of the field that the measured cells leave open, in units of σ², (n,)."""
    slopes: FloatArray
    """Slopes of the prediction by the parameters, (n, n_parameters)."""
    gain: FloatArray
    """Change of the prediction per bit of a measured cell, (n, n_grid_cells)."""


def predict_joint(
    fit: JointLawFit, depth: npt.ArrayLike, n_cells: npt.ArrayLike, *, of: Of = "truth"
) -> JointPrediction:
    """Information at depths (n,) in UMIs per cell and training cells (n,), with intervals of the fit's confidence.

    ``of="truth"``: the mean over all seeds, so differences between seeds count and noise does not.
    ``of="measurement"``: the mean of one grid cell over the same seeds, so noise counts and differences do not.
    """
    from scipy.special import fdtri, ndtri

    places = np.broadcast_arrays(bounded_log(depth), bounded_log(n_cells))
    smoother = _smoother(fit, np.ravel(places[0]), np.ravel(places[1]))
    settings, variance = fit.settings, fit.posterior.sd_bits**2
    bits = smoother.law + smoother.field @ _residuals(fit)
    outside = smoother.open_share / settings.misfit_share if settings.misfit_share else np.ones_like(bits)
    square = np.einsum("ni,ij,nj->n", smoother.slopes, fit.posterior.covariance, smoother.slopes)
    square += variance * smoother.open_share + (settings.outside_misfit * outside * np.maximum(bits, 0)) ** 2
    if of == "measurement":
        square += variance * (1 - settings.misfit_share)
    half = float(ndtri(0.5 + settings.confidence / 2)) * np.sqrt(square)
    if of == "truth" and fit.n_seeds > 1:
        between = fdtri(1, fit.n_seeds - 1, settings.confidence) * _seed_variance(fit, smoother)
        half = np.sqrt(half**2 + between)
    return JointPrediction(bits, bits - half, bits + half, smoother.law, outside)


def _smoother(fit: JointLawFit, log_depth: FloatArray, log_cells: FloatArray) -> _Smoother:
    cells, settings, theta = fit.cells, fit.settings, fit.posterior.theta[:, None]
    measured = (cells.log_depth, cells.log_cells)
    white = whitening(measured, settings)
    shared = field_covariance((log_depth, log_cells), measured, settings) @ white.T
    law, slopes = settings.law.law(theta, log_depth[:, None], log_cells[:, None])
    measured_slopes = white @ settings.law.law(theta, measured[0][:, None], measured[1][:, None])[1][:, :, 0].T
    prediction_slopes = slopes[:, :, 0].T - shared @ measured_slopes
    to_parameters = fit.posterior.covariance @ measured_slopes.T @ white / fit.posterior.sd_bits**2
    return _Smoother(
        law=law[:, 0],
        field=shared @ white,
        open_share=np.maximum(settings.misfit_share - (shared**2).sum(axis=1), 0),
        slopes=prediction_slopes,
        gain=shared @ white + prediction_slopes @ to_parameters,
    )


def _residuals(fit: JointLawFit) -> FloatArray:
    cells = fit.cells
    return cells.mean_bits - law_bits(fit.settings.law, fit.posterior.theta, cells.log_depth, cells.log_cells)


def _seed_variance(fit: JointLawFit, smoother: _Smoother) -> FloatArray:
    """Variance, between seeds, of the mean over seeds of the prediction, beyond independent errors; (n,).

    Every seed's deviations from the seed means are smoothed as the means are.
    """
    by_seed = fit.cells.by_seed_bits
    deviations = np.nan_to_num(by_seed - fit.cells.mean_bits[:, None])
    own = _smoother(fit, fit.cells.log_depth, fit.cells.log_cells).gain
    free = (fit.n_seeds - 1) * max(len(own) - float(np.trace(own)), 1.0)
    noise = ((deviations - own @ deviations) ** 2).sum() / free
    spread = (smoother.gain @ deviations).var(axis=1, ddof=1)
    return np.asarray(np.maximum(spread - noise * (smoother.gain**2).sum(axis=1), 0) / fit.n_seeds)


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
