"""A surface of information over depth and training cells, as the joint law has it, with what was measured."""

from typing import Any, Final

import numpy as np

from nsl_assets.laws import FittedSurface, predict_joint
from nsl_assets.report import canvas
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.numbers import bits_text
from nsl_assets.report.points import depth_tip

GRID: Final = 36
CONTOURS: Final = 9
MARGIN: Final = 1.6
NOTE: Final = (
    "Colour: predicted information, the joint law with the misfit of measured neighbours. Circles: what was measured, "
    "in the same colours, so a circle that stands out is a misfit. The steeper direction is the one that pays more."
)


def joint_figure(fitted: FittedSurface) -> Drawn | None:
    """Contours of the predicted surface with the measured cells; None where no joint law was fitted."""
    fit, measured = fitted.fit, fitted.measured
    if fit is None:
        return None
    cells = fit.cells
    finite = np.isfinite(cells.depth)
    depth, sizes = cells.depth[finite], cells.n_cells[finite]
    x = np.geomspace(depth.min() / MARGIN, depth.max() * MARGIN, GRID)
    y = np.geomspace(sizes.min() / MARGIN, sizes.max() * MARGIN, GRID)
    bits = predict_joint(fit, np.tile(x, GRID), np.repeat(y, GRID)).bits.reshape(GRID, GRID)
    means = cells.mean_bits[finite]
    figure = canvas.new_figure(4.4)
    axes = figure.subplots()
    ends = (float(min(bits.min(), means.min(), 0)), float(max(bits.max(), means.max(), 0.05)))
    levels = np.linspace(*ends, CONTOURS + 1)
    filled = axes.contourf(x, y, bits, levels=levels, cmap="cividis", extend="neither")
    axes.scatter(
        depth, sizes, c=filled.to_rgba(means), s=42, edgecolors="white", linewidths=0.9,
        zorder=3, gid="cells",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    canvas.log_ticks(axes.xaxis, x[0], x[-1])
    canvas.log_ticks(axes.yaxis, y[0], y[-1])
    canvas.label(axes, "UMIs per cell", "training cells")
    canvas.tidy(axes)
    canvas.write_title(axes, f"{measured.task} · {measured.model}")
    bar = figure.colorbar(filled, ax=axes, format="%.1f", aspect=30, pad=0.02)
    bar.set_label("mutual information (bits)", fontsize=canvas.TEXT_POINTS)
    bar.ax.tick_params(labelsize=canvas.SMALL_POINTS)
    predicted = predict_joint(fit, depth, sizes)
    return Drawn(
        name=file_name("joint-law", measured.task, measured.model),
        title=f"{measured.task} · {measured.model}: depth and training cells",
        figure=figure,
        caption="",
        records=_records(fitted, depth, sizes, means, predicted.bits, predicted.law_bits),
        marks={"cells": Marks(tuple(_tip(*row) for row in zip(sizes, depth, means, predicted.bits, strict=True)))},
        task=measured.task,
        model=measured.model,
    )


def _tip(n_cells: float, depth: float, mean_bits: float, predicted_bits: float) -> str:
    where = f"{n_cells:,.0f} cells, {depth_tip(depth)}"
    return f"{where}: measured {bits_text(mean_bits)}, predicted {bits_text(predicted_bits)} bits"


def _records(fitted: FittedSurface, *columns: Any) -> list[dict[str, Any]]:
    names = ("umis_per_cell", "n_cells", "mean_bits", "predicted_bits", "law_bits")
    return [
        {
            "task": fitted.measured.task,
            "model": fitted.measured.model,
            **dict(zip(names, (float(value) for value in row), strict=True)),
        }
        for row in zip(*columns, strict=True)
    ]
