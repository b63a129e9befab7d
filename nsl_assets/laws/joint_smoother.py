"""How a joint prediction depends on what was measured: the law, the misfit of neighbours, and their slopes."""

from dataclasses import dataclass

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_fit import JointLawFit, law_bits
from nsl_assets.laws.misfit_field import field_covariance, whitening


@dataclass(frozen=True, eq=False)
class Smoother:
    """Matrices that map measured bits to predictions at places."""

    law: FloatArray
    """The law at the places, (n,)."""
    field: FloatArray
    """Predicted misfit per bit of residual, (n, n_grid_cells)."""
    shared: FloatArray
    """Covariance of the field at the places with the whitened grid cells, in units of σ², (n, n_grid_cells)."""
    open_share: FloatArray
    """Variance of the field that the measured cells leave open, in units of σ², (n,)."""
    slopes: FloatArray
    """Slopes of the prediction by the parameters, (n, n_parameters)."""
    gain: FloatArray
    """Change of the prediction per bit of a measured cell, (n, n_grid_cells)."""


def smoother_of(fit: JointLawFit, log_depth: FloatArray, log_cells: FloatArray) -> Smoother:
    """The smoother at places (n,), in ln depth and ln training cells."""
    cells, settings, theta = fit.cells, fit.settings, fit.posterior.theta[:, None]
    measured = (cells.log_depth, cells.log_cells)
    white = whitening(measured, settings)
    shared = field_covariance((log_depth, log_cells), measured, settings) @ white.T
    law, slopes = settings.law.law(theta, log_depth[:, None], log_cells[:, None])
    measured_slopes = white @ settings.law.law(theta, measured[0][:, None], measured[1][:, None])[1][:, :, 0].T
    prediction_slopes = slopes[:, :, 0].T - shared @ measured_slopes
    to_parameters = fit.posterior.covariance @ measured_slopes.T @ white / fit.posterior.sd_bits**2
    return Smoother(
        law=law[:, 0],
        field=shared @ white,
        shared=shared,
        open_share=np.maximum(settings.misfit_share - (shared**2).sum(axis=1), 0),
        slopes=prediction_slopes,
        gain=shared @ white + prediction_slopes @ to_parameters,
    )


def residuals_of(fit: JointLawFit) -> FloatArray:
    """Seed means less the law, (n_grid_cells,), in bits."""
    cells = fit.cells
    return cells.mean_bits - law_bits(fit.settings.law, fit.posterior.theta, cells.log_depth, cells.log_cells)


def seed_variance(fit: JointLawFit, gain: FloatArray) -> FloatArray:
    """Variance, between seeds, of the mean over seeds of a prediction, beyond independent errors; (n,).

    ``gain`` (n, n_grid_cells) is its change per bit of a measured cell: every seed's deviations from the seed means
    are smoothed as the means are.
    """
    by_seed = fit.cells.by_seed_bits
    deviations = np.nan_to_num(by_seed - fit.cells.mean_bits[:, None])
    own = smoother_of(fit, fit.cells.log_depth, fit.cells.log_cells).gain
    free = (fit.n_seeds - 1) * max(len(own) - float(np.trace(own)), 1.0)
    noise = ((deviations - own @ deviations) ** 2).sum() / free
    spread = (gain @ deviations).var(axis=1, ddof=1)
    return np.asarray(np.maximum(spread - noise * (gain**2).sum(axis=1), 0) / fit.n_seeds)
