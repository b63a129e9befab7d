"""Fits the noise law to a measured curve and says how far the fit can be trusted."""

from dataclasses import dataclass

import numpy as np

from nsl_assets.laws.curve import Curve, Levels, levels_of
from nsl_assets.laws.equations import law_slopes
from nsl_assets.laws.error_model import NO_SCATTER, ErrorModel, seed_scatter
from nsl_assets.laws.flags import flags_of
from nsl_assets.laws.intervals import intervals_of
from nsl_assets.laws.measurement_interval import NOTHING_OPEN, OwnUncertainty, own_uncertainty
from nsl_assets.laws.quality import quality_of
from nsl_assets.laws.search import Points, least_squares_optimum
from nsl_assets.laws.settings import Interval, LawSettings


@dataclass(frozen=True)
class NoiseLawFit:
    """Eq. 1 fitted to one curve: bits, and depths in UMIs per cell; open intervals end at 0 or inf."""

    imax_bits: float
    """Information without measurement noise."""
    imax_low_bits: float
    """Ends of the interval: seeds, noise, and what each measurement by itself leaves open (`OwnUncertainty`)."""
    imax_high_bits: float
    ubar: float
    """ū, the depth at which measurement noise equals all other noise."""
    ubar_low: float
    ubar_high: float
    target_label: str
    """What the target depth reaches, in words."""
    target_fraction: float | None
    """The fraction of Imax that the target depth reaches; None where the target is bits below Imax."""
    target_bits: float
    """The information at the target depth."""
    target_depth: float
    target_depth_low: float
    target_depth_high: float
    interval: Interval
    """What the intervals are."""
    confidence: float
    """Coverage of the profile-likelihood intervals."""
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Covariance of (Imax in bits, ln ū), linearised; inf where the data leave one of them free."""
    r2_seed_means: float
    r2_points: float
    residual_sd_bits: float
    """Of the fitted points around the law: seed means (corrected) or raw points (published)."""
    imax_sd_between_seeds_bits: float
    """How far seeds differ in Imax beyond independent errors; 0 where that cannot be seen."""
    residual_autocorrelation: float
    """Lag-1 autocorrelation of the residuals of the seed means, shallowest level first."""
    lack_of_fit_p: float | None
    """p-value of misfit against pure seed error; None with one seed."""
    n_points: int
    """Distinct measurements: a number that only repeats over seeds counts once."""
    n_levels: int
    n_seeds: int
    deepest: float
    """The deepest measured level; inf where a noiseless level was measured."""
    converged: bool
    flags: tuple[str, ...]
    """What is doubtful: keys of ``FLAGS``."""

    @property
    def tells_nothing(self) -> bool:
        """Whether the curve cannot be told from no information."""
        return self.imax_low_bits <= 0


def fit_noise_law(curve: Curve, settings: LawSettings, *, ceiling_bits: float | None = None) -> NoiseLawFit:
    """Fits Eq. 1 by least squares, every local minimum followed up.

    Corrected: each level counts once, by its seed mean; intervals by profile likelihood, with a variance
    component for seeds that differ in Imax or ū (see ``error_model``; two or more seeds are needed to see it).
    Published: all raw points pooled as independent, ± 1 σ without covariance. ``ceiling_bits`` is H(Y).
    Doubtful fits are flagged, never refused; raises MeasurementError with fewer than 3 levels.
    """
    levels = levels_of(curve, keep_repeats=settings.used_interval == "one_sigma_published")
    model = error_model_of(curve, levels, settings.used_interval, settings.confidence)
    own = NOTHING_OPEN if settings.used_interval == "one_sigma_published" else own_uncertainty(curve)
    return _summary(levels, model, settings, ceiling_bits, own)


def error_model_of(curve: Curve, levels: Levels, interval: Interval, confidence: float) -> ErrorModel:
    """The best fit with its error model: seed means and seed differences, or raw points pooled as published."""
    if interval == "one_sigma_published":
        pooled = Points(curve.depth, curve.mi_bits)
        return ErrorModel(pooled, least_squares_optimum(pooled), NO_SCATTER, confidence)
    points = Points(levels.depth, levels.mean_bits)
    optimum = least_squares_optimum(points)
    slopes = law_slopes(points.log_depth, optimum.imax_bits, optimum.log_ubar)
    return ErrorModel(points, optimum, seed_scatter(levels, slopes), confidence)


def _summary(
    levels: Levels, model: ErrorModel, settings: LawSettings, ceiling_bits: float | None, own: OwnUncertainty
) -> NoiseLawFit:
    optimum, target = model.optimum, settings.target
    intervals = intervals_of(settings.used_interval, model, target)
    quality = quality_of(levels, optimum.at(levels.depth))
    target_bits = float(target.information_bits(np.float64(optimum.imax_bits)))
    target_depth = target.depth(optimum.imax_bits, optimum.ubar)
    (variance, shared), (_, log_ubar_variance) = model.covariance.tolist()
    imax_low_bits, imax_high_bits = own.widened(intervals.imax_bits)
    return NoiseLawFit(
        imax_bits=optimum.imax_bits,
        imax_low_bits=imax_low_bits,
        imax_high_bits=imax_high_bits,
        ubar=optimum.ubar,
        ubar_low=intervals.ubar[0],
        ubar_high=intervals.ubar[1],
        target_label=target.label,
        target_fraction=target.fraction,
        target_bits=target_bits,
        target_depth=target_depth,
        target_depth_low=intervals.target_depth[0],
        target_depth_high=intervals.target_depth[1],
        interval=settings.used_interval,
        confidence=settings.confidence,
        covariance=((variance, shared), (shared, log_ubar_variance)),
        r2_seed_means=quality.r2_seed_means,
        r2_points=quality.r2_points,
        residual_sd_bits=float(np.sqrt(optimum.sum_of_squares / model.degrees_of_freedom)),
        imax_sd_between_seeds_bits=float(np.sqrt(max(model.scatter.covariance[0, 0], 0))),
        residual_autocorrelation=quality.residual_autocorrelation,
        lack_of_fit_p=quality.lack_of_fit_p,
        n_points=levels.n_points,
        n_levels=len(levels.depth),
        n_seeds=levels.n_seeds,
        deepest=levels.deepest,
        converged=optimum.converged,
        flags=flags_of(
            levels, optimum, intervals, target_depth=target_depth, ceiling_bits=ceiling_bits, is_weak=own.is_weak
        ),
    )
