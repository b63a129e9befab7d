"""The uncertainty of the fitted curve itself: which information the data allow at each depth."""

from typing import Final

import numpy as np

from nsl_assets.laws.curve import Curve, levels_of
from nsl_assets.laws.equations import FloatArray, law_of_logs
from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.noise_law_fit import NoiseLawFit, error_model_of
from nsl_assets.laws.profile import imax_profile, ubar_profile
from nsl_assets.laws.region import imax_ends

UBAR_POINTS: Final = 121


def noise_law_band(curve: Curve, fit: NoiseLawFit, depth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pointwise interval of the fitted curve at depths (n,) in UMIs per cell: low and high, (n,) in bits.

    The envelope of all curves whose sum of squares lies within the threshold of the fit's intervals (the
    larger of those of Imax and ū); its confidence is that of the fit, or ± 1 σ for the published interval.
    """
    model = error_model_of(curve, levels_of(curve), fit.interval, fit.confidence)
    threshold = _threshold(model, fit)
    log_ubar = np.linspace(*ubar_profile(model.points, model.optimum).interval(threshold), UBAR_POINTS)
    log_ubar = np.append(log_ubar, model.optimum.log_ubar)
    lowest, highest = imax_ends(model, log_ubar, threshold)
    log_depth = np.log(depth)[:, None]
    low = law_of_logs(log_depth, lowest, log_ubar).min(axis=1)
    return low, law_of_logs(log_depth, highest, log_ubar).max(axis=1)


def _threshold(model: ErrorModel, fit: NoiseLawFit) -> float:
    if fit.interval == "one_sigma_published":
        return model.residual_variance
    profiles = (imax_profile(model.points, model.optimum), ubar_profile(model.points, model.optimum))
    return max(model.threshold(profile.contrast) for profile in profiles)
