"""Fits a joint law to a surface: parameters with intervals, what only the prior decided, figures of merit, flags."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_forms import Form
from nsl_assets.laws.joint_search import MapFit, most_probable
from nsl_assets.laws.joint_settings import JointSettings
from nsl_assets.laws.measurement_interval import WEAK_MEANS, OwnUncertainty, own_uncertainty
from nsl_assets.laws.quality import r_squared
from nsl_assets.laws.surface import GridCells, Surface, grid_cells_of

PRIOR_DECIDED: Final = 0.7
"""A parameter whose sd the data leave above this share of its prior sd was decided by the prior."""
PLATEAU_WIDTH_BITS: Final = 0.3
FEW_GRID_CELLS: Final = 20
REPEATED_FRACTION: Final = 0.2

JOINT_FLAGS: Final = {
    "no_plateau": "the surface does not bend enough within the measured depths and sizes to fix I∞",
    "prior_decided": "some parameters were decided by the prior, not by the data",
    "above_ceiling": "I∞ exceeds the entropy of the auxiliary signal, which is impossible",
    "few_grid_cells": "fewer than 20 combinations of depth and size",
    "one_seed": "one seed: differences between seeds cannot be seen, and the intervals leave them out",
    "not_replicated": "numbers are repeated over seeds or sizes: they are not independent measurements",
    "weak_measurements": WEAK_MEANS,
    "not_converged": "the search did not settle",
}
"""Every flag of the joint laws with its meaning."""


@dataclass(frozen=True)
class JointParameter:
    """One parameter in its own unit: bits, UMIs per cell, training cells, or none."""

    name: str
    value: float
    low: float
    high: float
    prior_decided: bool
    """Whether the data left its prior nearly as wide as it was."""


@dataclass(frozen=True, eq=False)
class JointLawFit:
    """A joint law fitted to one surface; predictions from it are made by ``predict_joint``."""

    form: str
    parameters: tuple[JointParameter, ...]
    residual_sd_bits: float
    """σ of the grid cells around the law: misfit and noise together."""
    r2_grid_cells: float
    """Of the law alone, on the seed means of the grid cells."""
    r2_points: float
    n_grid_cells: int
    n_points: int
    n_seeds: int
    deepest: float
    """The deepest measured level; inf where a noiseless level was measured."""
    most_cells: float
    """The largest measured training size."""
    converged: bool
    flags: tuple[str, ...]
    """What is doubtful: keys of ``JOINT_FLAGS``."""
    cells: GridCells
    """What was fitted."""
    posterior: MapFit
    """The parameters on their search scale, with their covariance."""
    settings: JointSettings

    def parameter(self, name: str) -> JointParameter:
        """A parameter by its name."""
        return next(one for one in self.parameters if one.name == name)


def fit_joint_law(
    surface: Surface, settings: JointSettings | None = None, *, ceiling_bits: float | None = None
) -> JointLawFit:
    """Fits J (or H) to seed means, with a prior and with misfit that neighbouring grid cells share.

    ``ceiling_bits`` is H(Y). Doubtful fits are flagged; raises MeasurementError where a surface is too small.
    """
    settings = settings or JointSettings()
    fit = fit_joint_laws([grid_cells_of(surface)], settings, ceiling_bits=ceiling_bits)[0]
    return _with_own_uncertainty(fit, own_uncertainty(surface.curve_at(fit.most_cells)))


def _with_own_uncertainty(fit: JointLawFit, own: OwnUncertainty) -> JointLawFit:
    """The fit with what its measurements with most cells leave open, each by itself, in the interval of I∞."""
    i_inf, *others = fit.parameters
    low, high = own.widened((i_inf.low, i_inf.high))
    earned = {*fit.flags, *(("weak_measurements",) if own.is_weak else ())}
    return replace(
        fit,
        parameters=(replace(i_inf, low=low, high=high), *others),
        flags=tuple(flag for flag in JOINT_FLAGS if flag in earned),
    )


def fit_joint_laws(
    surfaces: Sequence[GridCells], settings: JointSettings, *, ceiling_bits: float | None = None
) -> list[JointLawFit]:
    """The same for many surfaces in one batch; each is fitted by itself."""
    if not surfaces:
        return []
    fits = most_probable(surfaces, settings)
    return [_summary(cells, fit, settings, ceiling_bits) for cells, fit in zip(surfaces, fits, strict=True)]


def law_bits(form: Form, theta: FloatArray, log_depth: FloatArray, log_cells: FloatArray) -> FloatArray:
    """The law at places (n,) with one set of parameters (n_parameters,), in bits."""
    return form.law(theta[:, None], log_depth[:, None], log_cells[:, None])[0][:, 0]


def _summary(cells: GridCells, fit: MapFit, settings: JointSettings, ceiling_bits: float | None) -> JointLawFit:
    fitted = law_bits(settings.law, fit.theta, cells.log_depth, cells.log_cells)
    measured = np.isfinite(cells.by_seed_bits)
    parameters = _parameters(fit, settings)
    return JointLawFit(
        form=settings.form,
        parameters=parameters,
        residual_sd_bits=fit.sd_bits,
        r2_grid_cells=r_squared(cells.mean_bits, fitted),
        r2_points=r_squared(cells.by_seed_bits[measured], np.broadcast_to(fitted[:, None], measured.shape)[measured]),
        n_grid_cells=len(cells.depth),
        n_points=int(measured.sum()),
        n_seeds=cells.n_seeds,
        deepest=float(cells.depth.max()),
        most_cells=float(cells.n_cells.max()),
        converged=fit.converged,
        flags=_flags(cells, fit, parameters, ceiling_bits),
        cells=cells,
        posterior=fit,
        settings=settings,
    )


def _parameters(fit: MapFit, settings: JointSettings) -> tuple[JointParameter, ...]:
    from scipy.special import ndtri

    form = settings.law
    sd = np.sqrt(np.diag(fit.covariance))
    half = float(ndtri(0.5 + settings.confidence / 2)) * sd
    decided = sd > PRIOR_DECIDED * fit.prior_sd
    columns = (form.natural(theta) for theta in (fit.theta, fit.theta - half, fit.theta + half))
    return tuple(
        JointParameter(name, float(value), float(low), float(high), bool(by_prior))
        for name, value, low, high, by_prior in zip(form.parameters, *columns, decided, strict=True)
    )


def _flags(
    cells: GridCells, fit: MapFit, parameters: tuple[JointParameter, ...], ceiling_bits: float | None
) -> tuple[str, ...]:
    i_inf = parameters[0]
    earned = {
        "no_plateau": i_inf.high - i_inf.low > PLATEAU_WIDTH_BITS,
        "prior_decided": any(one.prior_decided for one in parameters),
        "above_ceiling": ceiling_bits is not None and i_inf.value > ceiling_bits,
        "few_grid_cells": len(cells.depth) < FEW_GRID_CELLS,
        "one_seed": cells.n_seeds < 2,
        "not_replicated": _has_repeats(cells),
        "not_converged": not fit.converged,
    }
    return tuple(flag for flag in JOINT_FLAGS if earned.get(flag))


def _has_repeats(cells: GridCells) -> bool:
    """Whether a fifth of the measurements or more repeat a number of another seed or size at the same depth."""
    repeated = 0
    for depth in np.unique(cells.depth):
        values = cells.by_seed_bits[cells.depth == depth]
        values = values[np.isfinite(values)]
        repeated += len(values) - len(np.unique(values))
    return bool(repeated >= REPEATED_FRACTION * np.isfinite(cells.by_seed_bits).sum())
