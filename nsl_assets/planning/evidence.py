"""What is known about one model: its curve at one training size, its noise law, and its joint law if any."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws import (
    Curve,
    JointLawFit,
    JointSettings,
    LawSettings,
    NoiseLawFit,
    Surface,
    fit_joint_law,
    fit_noise_law,
)

REACH: Final = 3.0
"""Statements on depth reach this many times beyond the deepest level. Docs: decisions/planning.md."""
PASSED_ON: Final = (
    "no_plateau",
    "only_plateau",
    "misfit",
    "not_monotone",
    "above_ceiling",
    "few_levels",
    "one_seed",
    "not_replicated",
    "weak_measurements",
)
"""Flags of the fitted law that advice carries on."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """One model of a task: what was measured and fitted, and where the lab stands today."""

    model: str
    n_cells: float
    """Today's number of training cells: the largest measured, or the one asked for."""
    today_umis_per_cell: float
    """Today's depth: the deepest measured finite level, or the one given."""
    curve: Curve
    """Information against depth at ``n_cells``."""
    settings: LawSettings
    fit: NoiseLawFit
    joint: JointLawFit | None
    """None with one training size, or a surface that is too small: then ``why_no_joint`` says so."""
    why_no_joint: str
    sizes: tuple[float, ...]
    """All measured numbers of training cells."""

    @property
    def deepest(self) -> float:
        """The deepest measured finite level, in UMIs per cell."""
        return _deepest_finite(self.curve)

    @property
    def flags(self) -> tuple[str, ...]:
        """What is doubtful about the noise law, in terms of advice."""
        passed_on = {flag for flag in self.fit.flags if flag in PASSED_ON}
        return (*passed_on, *(("not_converged",) if not self.fit.converged else ()))

    @property
    def tells_nothing(self) -> bool:
        """Whether the curve cannot be told from no information."""
        return self.fit.tells_nothing

    @property
    def remedy(self) -> str:
        """What to do about a curve that tells nothing."""
        if "weak_measurements" not in self.fit.flags:
            return "Check the auxiliary signal, or measure more seeds and probe cells."
        return (
            "Each measurement by itself leaves more than half of what it found open, and more seeds of the same cells "
            "do not help: give the probe more cells or pairs, or choose an auxiliary signal with fewer dimensions."
        )

    @property
    def warning(self) -> str:
        """What a sentence must add where the curve contradicts the law; empty otherwise."""
        if "misfit" not in self.fit.flags:
            return ""
        return (
            " Beware: the curve contradicts the law by more than its noise, so the truth may lie outside the interval."
        )


def evidence_of(
    model: str,
    surface: Surface,
    settings: LawSettings,
    joint_settings: JointSettings,
    *,
    ceiling_bits: float | None = None,
    n_cells: float | None = None,
    today_umis_per_cell: float | None = None,
) -> Evidence:
    """Fits what a model's measurements allow; intervals are profile likelihoods, whatever the settings ask for.

    Raises InputError for a training size that was not measured, or a depth of today far from the measured ones;
    MeasurementError with fewer than 3 levels at the size.
    """
    sizes = tuple(np.unique(surface.n_cells).tolist())
    chosen = sizes[-1] if n_cells is None else n_cells
    if chosen not in sizes:
        measured = ", ".join(f"{size:,.0f}" for size in sizes)
        raise InputError(f"model {model} was not measured with {chosen:,.0f} training cells. Measured: {measured}.")
    curve = surface.curve_at(chosen)
    today = _deepest_finite(curve) if today_umis_per_cell is None else today_umis_per_cell
    _check_today(model, curve, today)
    used = settings.model_copy(update={"interval": "profile_likelihood", "target_definition": _definition(settings)})
    fit = fit_noise_law(curve, used, ceiling_bits=ceiling_bits)
    joint, why = None, f"the curve of {model} cannot be told from no information"
    if not fit.tells_nothing:
        joint, why = _joint(surface, sizes, joint_settings, ceiling_bits)
    return Evidence(model, chosen, today, curve, used, fit, joint, why, sizes)


def _check_today(model: str, curve: Curve, today: float) -> None:
    shallowest, deepest = float(curve.depth.min()), _deepest_finite(curve)
    if not shallowest / REACH <= today <= REACH * deepest:
        raise InputError(
            f"today's depth is {today:g} UMIs per cell, but {model} was measured from {shallowest:,.0f} to "
            f"{deepest:,.0f}: nothing can be said more than {REACH:g} times beyond these. Measure it, or correct it."
        )


def _definition(settings: LawSettings) -> str:
    return "bits_below_imax" if settings.target.fraction is None else "fraction_of_imax"


def _deepest_finite(curve: Curve) -> float:
    finite = curve.depth[np.isfinite(curve.depth)]
    deepest = finite.max()
    if curve.level is None:
        return float(deepest)
    return float(np.exp(np.log(curve.depth[curve.level == curve.level[curve.depth == deepest][0]]).mean()))


def _joint(
    surface: Surface, sizes: tuple[float, ...], settings: JointSettings, ceiling_bits: float | None
) -> tuple[JointLawFit | None, str]:
    if len(sizes) < 2:
        return None, (
            f"only one training size was measured ({sizes[0]:,.0f} cells), so nothing is known about cells. Run the "
            f"study with at least two more sizes, such as {sizes[0] / 10:,.0f} and {sizes[0] / 3:,.0f} cells"
        )
    try:
        return fit_joint_law(surface, settings, ceiling_bits=ceiling_bits), ""
    except MeasurementError as error:
        return None, str(error).rstrip(".")
