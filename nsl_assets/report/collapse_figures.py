"""Curves rescaled by their fitted laws: where the law holds, all fall on one line (the paper's Figures 2e and 2b)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws import FittedCells, FittedCurve, NoiseLawFit, levels_of
from nsl_assets.report import canvas
from nsl_assets.report.canvas import Look
from nsl_assets.report.drawn import Drawn, Marks
from nsl_assets.report.numbers import bits_text, depth_text
from nsl_assets.report.points import depth_tip

DEEPEST_SHARE: Final = 0.1
NOISE_CAPTION: Final = (
    "Every level of {n} curves, all training sizes, rescaled by the Imax and ū of its own curve. Eq. 1 says that the "
    "signal-to-noise ratio behind the information, 2^(2I) − 1, reaches the share r/(1 + r) of its noiseless value at "
    "r = u/ū: the black line. {left_out}"
)
CELLS_CAPTION: Final = (
    "Every training size of {n} curves, rescaled by the I∞, Nsat and s of its own curve. The cell-number law says that "
    "(N/Nsat)⁻ˢ bits are missing: the black line. {left_out}"
)

Rescaled = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[str, ...]]


def noise_collapse_figure(curves: Sequence[FittedCurve], looks: Mapping[str, Look]) -> Drawn | None:
    """All noise curves on one line; None where no law was fitted."""
    usable = [one for one in curves if one.fit is not None and _is_determined(one.fit)]
    if not usable:
        return None
    rescaled = [(one, *_rescaled_noise(one)) for one in usable]
    records = [
        {
            "task": one.measured.task, "model": one.measured.model, "n_cells": one.measured.n_cells,
            "u_over_ubar": x, "snr_share": y,
        }
        for one, xs, ys, _ in rescaled
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    ]  # fmt: skip
    n_left_out = len(curves) - len(usable)
    return _collapse(
        [(one.measured.model, x, y, tips) for one, x, y, tips in rescaled],
        looks,
        name="noise-collapse",
        title="Noise curves on one line",
        labels=("depth over ū", "share of the noiseless SNR"),
        line=lambda x: x / (1 + x),
        caption=NOISE_CAPTION.format(
            n=len(usable), left_out=_left_out(n_left_out, "whose law has no upper end of ū, or no law at all")
        ),
        records=records,
        top=1.6,
    )


def cell_number_collapse_figure(cells: Sequence[FittedCells], looks: Mapping[str, Look]) -> Drawn | None:
    """All curves over training cells on one line; None where no law was fitted.

    Levels below a tenth of the deepest are left out, as in the paper, and curves that do not rise.
    """
    deepest = {(one.measured.task, one.measured.model): one.measured.depth for one in reversed(cells)}
    for one in cells:
        name = (one.measured.task, one.measured.model)
        deepest[name] = max(deepest[name], one.measured.depth)
    usable = [
        one
        for one in cells
        if one.fit is not None
        and one.fit.n_sat > 0
        and np.isfinite(one.fit.i_inf_bits * one.fit.n_sat)
        and one.measured.depth >= DEEPEST_SHARE * deepest[one.measured.task, one.measured.model]
        and one.fit.i_inf_high_bits < np.inf
    ]
    if not usable:
        return None
    rescaled = [(one, *_rescaled_cells(one)) for one in usable]
    records = [
        {
            "task": one.measured.task, "model": one.measured.model, "umis_per_cell": one.measured.depth,
            "cells_over_nsat_to_the_s": x, "bits_above_i_inf": y,
        }
        for one, xs, ys, _ in rescaled
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    ]  # fmt: skip
    why = "without a law, without an upper end of I∞, or thinned to less than a tenth of the deepest level"
    return _collapse(
        [(one.measured.model, x, y, tips) for one, x, y, tips in rescaled],
        looks,
        name="cell-number-collapse",
        title="Curves over training cells on one line",
        labels=("(training cells over Nsat) to the power s", "bits above I∞"),
        line=lambda x: -1 / x,
        caption=CELLS_CAPTION.format(n=len(usable), left_out=_left_out(len(cells) - len(usable), why)),
        records=records,
        top=0.5,
    )


def _is_determined(fit: NoiseLawFit) -> bool:
    return "at_bound" not in fit.flags and bool(np.isfinite(fit.ubar_high))


def _left_out(n: int, why: str) -> str:
    return f"Left out: {n} {'curve' if n == 1 else 'curves'} {why}." if n else ""


def _rescaled_noise(one: FittedCurve) -> Rescaled:
    fit = one.fit
    assert fit is not None
    levels = levels_of(one.measured.curve)
    finite = np.isfinite(levels.depth)
    depth, bits = levels.depth[finite], levels.mean_bits[finite]
    share = np.expm1(2 * np.log(2) * bits) / np.expm1(2 * np.log(2) * fit.imax_bits)
    cells = "" if one.measured.n_cells is None else f", {one.measured.n_cells:,} cells"
    name = f"{one.measured.task}, {one.measured.model}{cells}"
    tips = tuple(f"{name}: {bits_text(b)} bits at {depth_tip(u)}" for u, b in zip(depth, bits, strict=True))
    return depth / fit.ubar, share, tips


def _rescaled_cells(one: FittedCells) -> Rescaled:
    fit, curve = one.fit, one.measured.curve
    assert fit is not None
    levels = levels_of(curve)
    x = np.exp(np.clip(fit.exponent * np.log(levels.depth / fit.n_sat), -700, 700))
    name = f"{one.measured.task}, {one.measured.model}, {depth_tip(one.measured.depth)}"
    tips = tuple(
        f"{name}: {bits_text(b)} bits at {depth_text(n)} cells"
        for n, b in zip(levels.depth, levels.mean_bits, strict=True)
    )
    return x, levels.mean_bits - fit.i_inf_bits, tips


def _collapse(
    series: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64], tuple[str, ...]]],
    looks: Mapping[str, Look],
    *,
    name: str,
    title: str,
    labels: tuple[str, str],
    line: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    caption: str,
    records: Sequence[Mapping[str, Any]],
    top: float,
) -> Drawn:
    figure = canvas.new_figure()
    axes = figure.subplots()
    marks: dict[str, Marks] = {}
    for model in dict.fromkeys(one[0] for one in series):
        of_model = [one for one in series if one[0] == model]
        gid, look = f"points-{len(marks)}", looks[model]
        x, y = (np.concatenate([one[part] for one in of_model]) for part in (1, 2))
        tips = [tip for one in of_model for tip in one[3]]
        shown = np.flatnonzero(y <= top)
        axes.plot(
            x[shown], y[shown], look.marker, color=look.colour, markersize=3.8, alpha=0.55, markeredgewidth=0,
            label=canvas.short(model), gid=gid,
        )  # fmt: skip
        marks[gid] = Marks(tuple(tips[i] for i in shown), model)
    everything = np.concatenate([one[1] for one in series])
    low, high = everything.min() / 1.5, everything.max() * 1.5
    grid = np.geomspace(low, high, canvas.GRID_POINTS)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    highest = max(float(one[2].max()) for one in series)
    lowest = min(float(one[2].min()) for one in series)
    axes.set_ylim(lowest - 0.05 * (highest - lowest), min(highest, top) + 0.05 * (min(highest, top) - lowest))
    axes.plot(grid, line(grid), color=canvas.BLACK, linewidth=1.6, label="law", zorder=4)
    canvas.log_ticks(axes.xaxis, low, high)
    canvas.label(axes, *labels)
    canvas.tidy(axes)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    canvas.write_title(axes, title)
    canvas.write_key(figure, axes)
    n_beyond = sum(int((one[2] > top).sum()) for one in series)
    beyond = f" Points above the axis: {n_beyond}; the data file has them." if n_beyond else ""
    return Drawn(name=name, title=title, figure=figure, caption=caption + beyond, records=records, marks=marks)
