"""Intervals of a fitted noise law: 95 % profile likelihood, or ± 1 σ without covariance as in Table C1."""

from dataclasses import dataclass

import numpy as np

from nsl_assets.laws.error_model import ErrorModel
from nsl_assets.laws.profile import (
    Profile,
    imax_profile,
    log_ratio,
    log_ratio_slope,
    target_profile,
    ubar_profile,
)
from nsl_assets.laws.settings import Interval, Target

Ends = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """Lower and upper ends; 0 or inf where the data leave a side open."""

    imax_bits: Ends
    ubar: Ends
    target_depth: Ends


def intervals_of(kind: Interval, model: ErrorModel, target: Target) -> Intervals:
    """The intervals of the kind that the settings ask for."""
    if kind == "one_sigma_published":
        return _one_sigma_published(model, target)
    return _profile_intervals(model, target)


def _profile_intervals(model: ErrorModel, target: Target) -> Intervals:
    points, optimum = model.points, model.optimum
    return Intervals(
        imax_bits=_open_ended(imax_profile(points, optimum), model),
        ubar=_depths(_open_ended(ubar_profile(points, optimum), model, low=-np.inf)),
        target_depth=_depths(_open_ended(target_profile(points, optimum, target), model, low=-np.inf)),
    )


def _open_ended(profile: Profile, model: ErrorModel, low: float = 0.0) -> Ends:
    """The interval, with ends that reach the bounds replaced by ``low`` and inf."""
    ends = profile.interval(model.threshold(profile.contrast))
    return (
        low if ends[0] <= profile.bounds[0] else ends[0],
        np.inf if ends[1] >= profile.bounds[1] else ends[1],
    )


def _depths(log_ends: Ends) -> Ends:
    return float(np.exp(log_ends[0])), float(np.exp(log_ends[1]))


def _one_sigma_published(model: ErrorModel, target: Target) -> Intervals:
    optimum, covariance = model.optimum, model.covariance
    imax_sd, log_ubar_sd = np.sqrt(np.diag(covariance))
    log_sd = np.hypot(log_ratio_slope(optimum.imax_bits, target) * imax_sd, log_ubar_sd)
    ubar = np.exp(optimum.log_ubar)
    return Intervals(
        imax_bits=_plus_minus(optimum.imax_bits, imax_sd),
        ubar=_plus_minus(ubar, ubar * log_ubar_sd),
        target_depth=_relative(ubar * np.exp(log_ratio(optimum.imax_bits, target)), log_sd),
    )


def _relative(estimate: float, relative_sd: float) -> Ends:
    return _plus_minus(estimate, estimate * relative_sd if estimate > 0 else 0.0)


def _plus_minus(estimate: float, sd: float) -> Ends:
    return max(float(estimate - sd), 0.0), float(estimate + sd)
