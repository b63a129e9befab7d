"""What more depth would add to a fitted curve: bits between two depths, with their interval."""

import numpy as np

from nsl_assets.errors import InputError
from nsl_assets.laws.curve import Curve, levels_of
from nsl_assets.laws.equations import FloatArray, law_of_logs, law_slopes
from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.model_comparison import Difference
from nsl_assets.laws.noise_law_fit import error_model_of
from nsl_assets.laws.profile import imax_profile
from nsl_assets.laws.region import quantity_range
from nsl_assets.laws.settings import LawSettings


def depth_gain(curve: Curve, settings: LawSettings, from_depth: float, to_depth: float) -> Difference:
    """Bits that the noise law gains between two depths in UMIs per cell; ``to_depth`` may be infinite.

    The interval is a profile likelihood of the settings' confidence, with the error model of the fit's own
    intervals. It is open upwards where the data leave Imax open and the depth is infinite: a finite depth has an
    upper end even then. Raises InputError unless 0 < from_depth < to_depth, MeasurementError with too few levels.
    """
    if not 0 < from_depth < to_depth:
        raise InputError(
            f"a gain from {from_depth:g} to {to_depth:g} UMIs per cell was asked for: the second depth must be larger "
            "than the first, and both positive."
        )
    model = error_model_of(curve, levels_of(curve), "profile_likelihood", settings.confidence)
    log_depths = np.log([from_depth, to_depth])

    def gain(imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
        before, after = law_of_logs(log_depths[:, None], imax_bits, log_ubar)
        return np.asarray(after - before)

    optimum = model.optimum
    value = float(gain(np.array([optimum.imax_bits]), np.array([optimum.log_ubar]))[0])
    slopes = law_slopes(log_depths, optimum.imax_bits, optimum.log_ubar)
    contrast = np.asarray(slopes[1] - slopes[0])
    low, high = quantity_range(model, gain, contrast)
    if np.isinf(to_depth) and _imax_is_open(model, contrast):
        high = float("inf")
    return Difference(value, low, high)


def _imax_is_open(model: ErrorModel, contrast: FloatArray) -> bool:
    profile = imax_profile(model.points, model.optimum)
    return profile.interval(model.threshold(contrast))[1] >= profile.bounds[1]
