"""Information against training cells of one model, with the cell-number law annotated (the paper's Figure 2a)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets import laws
from nsl_assets.laws import CELL_NUMBER_FLAGS, CellNumberLawFit, FittedCells, levels_of
from nsl_assets.report import canvas
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.numbers import bits_text, depth_text, with_interval
from nsl_assets.report.points import depth_tip, seed_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE: Final = (
    "Every colour is a noise level, the darkest the deepest, whose law is annotated; bars: lowest to highest seed."
)
PALEST: Final = 0.85
"""Where the shallowest level lies on the colour map; the deepest lies at 0."""
FEWEST_SIZES: Final = 3


def cell_number_figure(cells: Sequence[FittedCells]) -> Drawn:
    """Every noise level of one task and model, shallow to deep from pale to dark; the law at the deepest is annotated.

    ``cells`` is ordered from the deepest level to the shallowest.
    """
    first = cells[0].measured
    figure = canvas.new_figure(4.4)
    axes = figure.subplots()
    axes.set_xscale("log")
    marks: dict[str, Marks] = {}
    colours = _colours(len(cells))
    for place in reversed(range(len(cells))):
        marks |= _draw_level(axes, cells[place], colours[place], place)
    sizes = np.concatenate([one.measured.curve.depth for one in cells])
    axes.set_xlim(sizes.min() / 1.5, sizes.max() * 2)
    fit = cells[0].fit
    if fit is not None:
        _annotate(axes, fit)
    if first.ceiling_bits is not None:
        axes.axhline(first.ceiling_bits, color=canvas.GREY, linewidth=1.2, label="ceiling H(Y)")
    canvas.log_ticks(axes.xaxis, *axes.get_xlim())
    canvas.label(axes, "training cells", "mutual information (bits)")
    canvas.tidy(axes)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    canvas.write_title(axes, f"{first.task} · {first.model}")
    canvas.write_key(figure, axes, n_columns=5, title="UMIs per cell")
    return Drawn(
        name=file_name("cell-number", first.task, first.model),
        title=f"{first.task} · {first.model}: information against training cells",
        figure=figure,
        caption=_caption(cells[0]),
        records=[row for one in cells for row in _records(one)],
        marks=marks,
        task=first.task,
        model=first.model,
    )


def _colours(n: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["cividis"](share) for share in np.linspace(0, PALEST, n)]


def _draw_level(axes: "Axes", one: FittedCells, colour: Any, place: int) -> dict[str, Marks]:
    """Seed means with the range of the seeds, and the fitted law, bold at the deepest level."""
    measured, is_deepest = one.measured, place == 0
    gid, where = f"level-{place}", depth_tip(measured.depth)
    label = f"{float(f'{measured.depth:.3g}'):,.10g}" if np.isfinite(measured.depth) else "no noise"
    n_cells = np.unique(measured.curve.depth)
    if len(n_cells) < FEWEST_SIZES:
        axes.plot(measured.curve.depth, measured.curve.mi_bits, "o", color=colour, markersize=4, gid=gid, label=label)
        return {gid: Marks(tuple(f"{bits_text(b)} bits, {where}" for b in measured.curve.mi_bits))}
    levels = levels_of(measured.curve)
    axes.vlines(levels.depth, *seed_range(levels), color=colour, linewidth=1)
    style = "none" if one.fit is not None else ":"
    axes.plot(
        levels.depth, levels.mean_bits, "o", linestyle=style, linewidth=1, markersize=5.5 if is_deepest else 4,
        color=colour, gid=gid, zorder=5, label=label,
    )  # fmt: skip
    if one.fit is not None and 0 < one.fit.n_sat < np.inf:
        grid = np.geomspace(n_cells.min(), n_cells.max() * 2, canvas.GRID_POINTS)
        bits = laws.cell_number_law(grid, one.fit.i_inf_bits, one.fit.n_sat, one.fit.exponent)
        axes.plot(grid, bits, color=colour, linewidth=2 if is_deepest else 1)
    tips = tuple(
        f"{bits_text(bits)} bits with {n:,.0f} cells, {where}"
        for n, bits in zip(levels.depth, levels.mean_bits, strict=True)
    )
    return {gid: Marks(tips)}


def _annotate(axes: "Axes", fit: CellNumberLawFit) -> None:
    """I∞ as a dashed line, Nsat where 1 bit is missing; what lies outside the axes is left to the caption."""
    low, high = axes.get_ylim()
    if fit.i_inf_bits < 1.6 * high:
        axes.set_ylim(low, max(high, 1.08 * fit.i_inf_bits))
        axes.axhline(fit.i_inf_bits, color=canvas.VERMILION, linewidth=1.3, linestyle=(0, (5, 3)), zorder=2)
        axes.text(
            0.01, fit.i_inf_bits, "I∞", transform=axes.get_yaxis_transform(), color=canvas.VERMILION, va="bottom",
            fontsize=canvas.SMALL_POINTS,
        )  # fmt: skip
    left, right = axes.get_xlim()
    if left < fit.n_sat < right:
        axes.axvline(fit.n_sat, color=canvas.GREY, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1)
        axes.text(
            fit.n_sat, 0.02, " Nsat", transform=axes.get_xaxis_transform(), color=canvas.GREY,
            fontsize=canvas.SMALL_POINTS,
        )  # fmt: skip


def _caption(deepest: FittedCells) -> str:
    fit = deepest.fit
    where = depth_tip(deepest.measured.depth)
    if fit is None:
        return f"No law at {where}: {deepest.problem}"
    i_inf = with_interval(fit.i_inf_bits, fit.i_inf_low_bits, fit.i_inf_high_bits, bits_text, "bits")
    n_sat = with_interval(fit.n_sat, fit.n_sat_low, fit.n_sat_high, depth_text, "cells")
    exponent = with_interval(fit.exponent, fit.exponent_low, fit.exponent_high, lambda s: f"{s:.2f}")
    said = f"At {where}: I∞ {i_inf}, Nsat {n_sat}, s {exponent}; R² {fit.r2_seed_means:.3f}."
    return " ".join([said, *(f"⚠ {CELL_NUMBER_FLAGS[flag]} [{flag}]." for flag in fit.flags)])


def _records(one: FittedCells) -> list[dict[str, Any]]:
    measured = one.measured
    return [
        {
            "task": measured.task, "model": measured.model, "level": measured.level,
            "umis_per_cell": measured.depth, "n_cells": n, "seed": seed, "mi_bits": bits,
        }
        for n, seed, bits in zip(
            measured.curve.depth.tolist(), measured.curve.seed.tolist(), measured.curve.mi_bits.tolist(), strict=True
        )
    ]  # fmt: skip
