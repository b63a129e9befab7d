"""What one plan (a depth, a number of cells) gives beyond another, by a joint law: both err together, so that a
difference is far more certain than either.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_fit import JointLawFit
from nsl_assets.laws.joint_settings import JointSettings
from nsl_assets.laws.joint_smoother import Smoother, residuals_of, seed_variance, smoother_of
from nsl_assets.laws.misfit_field import field_covariance
from nsl_assets.laws.surface import bounded_log


@dataclass(frozen=True, eq=False)
class JointGain:
    """Information at places less that at one place, with intervals of the fit's confidence; (n,) each, in bits."""

    bits: FloatArray
    low_bits: FloatArray
    high_bits: FloatArray


def joint_gain(
    fit: JointLawFit, depth: npt.ArrayLike, n_cells: npt.ArrayLike, *, over: tuple[float, float]
) -> JointGain:
    """Gain at depths (n,) in UMIs per cell and training cells (n,) over one (depth, training cells).

    The variance has the four parts of ``predict_joint``, each of the difference: parameters and differences between
    seeds exactly; what neighbours leave open, and the misfit far from all of them, as correlated as the field.
    """
    from scipy.special import fdtri, ndtri

    depths, cells = (np.ravel(one) for one in np.broadcast_arrays(bounded_log(depth), bounded_log(n_cells)))
    log_over = bounded_log(over)
    places = np.append(depths, log_over[0]), np.append(cells, log_over[1])
    smoother = smoother_of(fit, *places)
    bits = smoother.law + smoother.field @ residuals_of(fit)
    slopes = smoother.slopes[:-1] - smoother.slopes[-1]
    square = np.einsum("ni,ij,nj->n", slopes, fit.posterior.covariance, slopes)
    square += _open_variance(smoother, places, bits, fit)
    half = float(ndtri(0.5 + fit.settings.confidence / 2)) * np.sqrt(np.maximum(square, 0))
    if fit.n_seeds > 1:
        between = seed_variance(fit, smoother.gain[:-1] - smoother.gain[-1])
        half = np.sqrt(half**2 + fdtri(1, fit.n_seeds - 1, fit.settings.confidence) * between)
    gain = bits[:-1] - bits[-1]
    return JointGain(gain, gain - half, gain + half)


def _open_variance(
    smoother: Smoother, places: tuple[FloatArray, FloatArray], bits: FloatArray, fit: JointLawFit
) -> FloatArray:
    """Variance of the difference to the last place from misfit that no measured cell shows, (n,), in bits²."""
    settings, correlation = fit.settings, _correlation_with_last(smoother, places, fit.settings)
    outside = smoother.open_share / settings.misfit_share if settings.misfit_share else np.ones_like(bits)
    square = np.zeros(len(bits) - 1)
    for sd in (
        fit.posterior.sd_bits * np.sqrt(smoother.open_share),
        settings.outside_misfit * outside * np.maximum(bits, 0),
    ):
        square += sd[:-1] ** 2 + sd[-1] ** 2 - 2 * correlation * sd[:-1] * sd[-1]
    return square


def _correlation_with_last(
    smoother: Smoother, places: tuple[FloatArray, FloatArray], settings: JointSettings
) -> FloatArray:
    """Correlation of what measured cells leave open of the field at each place with that at the last, (n,)."""
    last = places[0][-1:], places[1][-1:]
    whole = field_covariance((places[0][:-1], places[1][:-1]), last, settings)[:, 0]
    open_covariance = whole - smoother.shared[:-1] @ smoother.shared[-1]
    scale = np.sqrt(smoother.open_share[:-1] * smoother.open_share[-1])
    return np.asarray(np.clip(open_covariance / np.maximum(scale, np.finfo(float).tiny), -1, 1))
