"""Measured points, as every figure draws them: seed means, the range of the seeds, and what they say of themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.laws import Levels, MeasuredCurve, levels_of
from nsl_assets.report.canvas import DepthAxis, Look
from nsl_assets.report.numbers import bits_text, depth_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]


def seed_range(levels: Levels) -> tuple[Floats, Floats]:
    """Lowest and highest seed at each level, (n_levels,) in bits."""
    return np.nanmin(levels.by_seed_bits, axis=1), np.nanmax(levels.by_seed_bits, axis=1)


def draw_means(axes: "Axes", axis: DepthAxis, levels: Levels, look: Look, *, gid: str, size: float = 5.5) -> None:
    """Seed means as markers, the range of the seeds as bars."""
    place = axis.place(levels.depth)
    axes.vlines(place, *seed_range(levels), color=look.colour, linewidth=1.1, alpha=0.6)
    axes.plot(place, levels.mean_bits, look.marker, markersize=size, color=look.colour, zorder=5, gid=gid)


def mean_tips(levels: Levels, name: str) -> tuple[str, ...]:
    """What is said of each seed mean."""
    low, high = seed_range(levels)
    counts = np.isfinite(levels.by_seed_bits).sum(axis=1)
    return tuple(
        f"{name}: {bits_text(mean)} bits at {depth_tip(depth)}"
        + (f", seeds {bits_text(a)}–{bits_text(b)}" * bool(n > 1))
        for depth, mean, a, b, n in zip(levels.depth, levels.mean_bits, low, high, counts, strict=True)
    )


def depth_tip(depth: float) -> str:
    """A depth in words."""
    return f"{depth_text(depth)} UMIs per cell" if np.isfinite(depth) else "no noise"


def point_records(measured: MeasuredCurve, **further: Any) -> list[dict[str, Any]]:
    """The raw points of a curve, for a data file."""
    curve = measured.curve
    level: Sequence[float | None] = [None] * len(curve.depth) if curve.level is None else curve.level.tolist()
    return [
        {
            "task": measured.task,
            "model": measured.model,
            "n_cells": measured.n_cells,
            "estimator": measured.estimator,
            "level": name,
            "seed": seed,
            "umis_per_cell": depth,
            "mi_bits": bits,
            **further,
        }
        for name, seed, depth, bits in zip(
            level, curve.seed.tolist(), curve.depth.tolist(), curve.mi_bits.tolist(), strict=True
        )
    ]


def try_levels(measured: MeasuredCurve) -> Levels | None:
    """The curve by level; None with fewer than three levels."""
    try:
        return levels_of(measured.curve)
    except MeasurementError:
        return None
