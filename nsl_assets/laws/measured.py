"""Measured curves by task, model and training size, and what follows from them: curves over cells, and surfaces."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.cell_number_fit import curve_over_cells
from nsl_assets.laws.curve import Curve
from nsl_assets.laws.surface import Surface

Truth = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class MeasuredCurve:
    """Information against depth of one model at one training size, by one estimator."""

    task: str
    model: str
    n_cells: int | None
    """Training cells; None where a table does not say."""
    estimator: str
    curve: Curve
    floor_bits: float | None = None
    """Mean of what the estimator finds in shuffled pairs."""
    ceiling_bits: float | None = None
    """Entropy of a categorical auxiliary signal."""
    truth: Truth | None = None
    """Depths and true bits, (n_levels,) each, where the data are simulated."""
    digest: str = ""
    """Content hash over the measurements."""
    unreliable_fraction: float = 0.0
    """Of the estimates: made from few pairs and, by what their estimator saw, not to be relied on."""

    @property
    def is_of_few_pairs(self) -> bool:
        """Whether most of its estimates are unreliable because pairs are few: a law through them says little."""
        return self.unreliable_fraction > 0.5

    @property
    def title(self) -> str:
        """What a figure of this curve says above itself."""
        return " · ".join([self.task, self.model, *cells_text(self.n_cells), self.estimator])


@dataclass(frozen=True, eq=False)
class MeasuredCells:
    """Information against training cells of one model at one noise level, by one estimator."""

    task: str
    model: str
    level: float
    """The nominal noise level."""
    depth: float
    """Geometric mean of the realised depths, UMIs per cell; inf where there is no noise."""
    estimator: str
    curve: Curve
    """As ``curve_over_cells`` makes it."""
    ceiling_bits: float | None = None
    digests: tuple[str, ...] = ()
    """Content hashes of the curves over depth that it was made from."""

    @property
    def title(self) -> str:
        """What a figure of this curve says above itself."""
        return f"{self.task} · {self.model} · {self.depth:,.4g} UMIs per cell · {self.estimator}"


@dataclass(frozen=True, eq=False)
class MeasuredSurface:
    """Information against depth and training cells of one model, by one estimator."""

    task: str
    model: str
    estimator: str
    surface: Surface
    ceiling_bits: float | None = None
    digests: tuple[str, ...] = field(default=())
    """Content hashes of the curves over depth that it was made from."""

    @property
    def title(self) -> str:
        """What a figure of this surface says above itself."""
        return f"{self.task} · {self.model} · {self.estimator}"


def cells_text(n_cells: int | None) -> list[str]:
    """The training size in words, where it is known."""
    return [] if n_cells is None else [f"{n_cells:,} cells"]


def largest_curves(curves: Iterable[MeasuredCurve]) -> list[MeasuredCurve]:
    """Of every task, model and estimator the curve of the largest training size, in the order of appearance."""
    largest: dict[tuple[str, str, str], MeasuredCurve] = {}
    for curve in curves:
        name = (curve.task, curve.model, curve.estimator)
        if name not in largest or (curve.n_cells or 0) > (largest[name].n_cells or 0):
            largest[name] = curve
    return list(largest.values())


def curves_over_cells(curves: Sequence[MeasuredCurve]) -> list[MeasuredCells]:
    """The curves over training cells, one for each noise level: only those of two sizes or more."""
    return [
        _over_cells(of_model, level)
        for of_model in _by_model(curves)
        for level in np.unique(np.concatenate([_levels(one) for one in of_model]))[::-1]
        if sum(level in _levels(one) for one in of_model) > 1
    ]


def surfaces(curves: Sequence[MeasuredCurve]) -> list[MeasuredSurface]:
    """The surfaces over depth and training cells: only those of two sizes or more."""
    return [one for one in all_surfaces(curves) if len(np.unique(one.surface.n_cells)) > 1]


def all_surfaces(curves: Sequence[MeasuredCurve]) -> list[MeasuredSurface]:
    """The measurements of each model over depth and training cells, also where there is but one size."""
    return [_surface(of_model) for of_model in _by_model(curves)]


def _by_model(curves: Sequence[MeasuredCurve]) -> list[list[MeasuredCurve]]:
    """The curves of a known size, by task, model and estimator; sizes ascending."""
    known = [curve for curve in curves if curve.n_cells is not None]
    known.sort(key=lambda one: (one.task, one.model, one.estimator, one.n_cells))
    return [list(group) for _, group in groupby(known, key=lambda one: (one.task, one.model, one.estimator))]


def _levels(measured: MeasuredCurve) -> npt.NDArray[np.float64]:
    """Nominal noise level of each point; its depth where levels have no name."""
    curve = measured.curve
    return curve.depth if curve.level is None else curve.level


def _over_cells(of_model: Sequence[MeasuredCurve], level: float) -> MeasuredCells:
    masks = [_levels(one) == level for one in of_model]
    curves = [one.curve for one in of_model]
    depth = np.concatenate([curve.depth[mask] for curve, mask in zip(curves, masks, strict=True)])
    return MeasuredCells(
        task=of_model[0].task,
        model=of_model[0].model,
        level=float(level),
        depth=float(np.exp(np.log(depth).mean())),
        estimator=of_model[0].estimator,
        curve=curve_over_cells(
            np.repeat([one.n_cells or 0 for one in of_model], [mask.sum() for mask in masks]),
            np.concatenate([curve.mi_bits[mask] for curve, mask in zip(curves, masks, strict=True)]),
            np.concatenate([curve.seed[mask] for curve, mask in zip(curves, masks, strict=True)]),
        ),
        ceiling_bits=of_model[-1].ceiling_bits,
        digests=tuple(one.digest for one in of_model),
    )


def _surface(of_model: Sequence[MeasuredCurve]) -> MeasuredSurface:
    curves = [one.curve for one in of_model]
    return MeasuredSurface(
        task=of_model[0].task,
        model=of_model[0].model,
        estimator=of_model[0].estimator,
        surface=Surface(
            depth=np.concatenate([curve.depth for curve in curves]),
            n_cells=np.repeat([float(one.n_cells or 0) for one in of_model], [len(curve.depth) for curve in curves]),
            mi_bits=np.concatenate([curve.mi_bits for curve in curves]),
            seed=np.concatenate([curve.seed for curve in curves]),
            level=np.concatenate([_levels(one) for one in of_model]),
        ),
        ceiling_bits=of_model[-1].ceiling_bits,
        digests=tuple(one.digest for one in of_model),
    )
