"""The figure of one fitted noise law, annotated (the paper's Figure 2d)."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.laws import FLAGS, FittedCurve, MeasuredCurve, NoiseLawFit, levels_of, noise_law_band
from nsl_assets.report import canvas
from nsl_assets.report.canvas import BLACK, BLUE, GREEN, GREY, VERMILION, DepthAxis, Look
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.numbers import DEPTH_UNIT, bits_text, depth_text, interval_label, with_interval
from nsl_assets.report.points import depth_tip, draw_means, mean_tips, point_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT_INCHES: Final = 4.6
STRIP_SHARE: Final = 0.16
TALLEST: Final = 1.6
"""The information axis follows the ends of Imax and the ceiling up to this many times the highest point."""


def noise_law_figure(fitted: FittedCurve) -> Drawn:
    """One curve with its fitted noise law and its uncertainty.

    Shows the points of each seed, seed means, the fit with the band of all curves that the data allow, Imax, ū and
    the target depth with their intervals (an arrow where open), and the law's flags. Without a fit, the points.
    """
    measured, fit = fitted.measured, fitted.fit
    figure = canvas.new_figure(PLOT_INCHES)
    wanted = [] if fit is None else [fit.ubar, fit.target_depth]
    axis = canvas.depth_axis([measured.curve], wanted)
    if fit is None:
        axes = figure.subplots()
        canvas.style(axes, axis)
    else:
        axes, strip = figure.subplots(2, 1, height_ratios=(1 - STRIP_SHARE, STRIP_SHARE))
        canvas.style(axes, axis)
        _draw_references(axes, measured)
        _draw_fit(axes, axis, measured, fit)
    canvas.mark_noiseless(axes, axis)
    tips = _draw_points(axes, axis, measured)
    if fit is not None:
        axes.set_ylim(*_bits_range(measured, fit))
        _draw_imax(axes, fit)
        _draw_depths(axes, strip, axis, fit)
    canvas.write_title(axes, measured.title)
    canvas.write_key(figure, axes)
    return Drawn(
        name=file_name("noise-law", measured.task, measured.model, measured.n_cells or ""),
        title=measured.title,
        figure=figure,
        caption=_caption(fitted),
        records=point_records(measured),
        marks=tips,
        task=measured.task,
        model=measured.model,
    )


def _caption(fitted: FittedCurve) -> str:
    fit = fitted.fit
    if fit is None:
        return f"No law was fitted: {fitted.problem}"
    imax = with_interval(fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits, bits_text, "bits")
    ubar = with_interval(fit.ubar, fit.ubar_low, fit.ubar_high, depth_text, DEPTH_UNIT)
    target = with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text, DEPTH_UNIT)
    seeds = "1 seed" if fit.n_seeds == 1 else f"{fit.n_seeds} seeds"
    numbers = (
        f"Imax {imax}; ū {ubar}; depth for {fit.target_label}: {target}. "
        f"{fit.n_levels} noise levels, {seeds}, R² {fit.r2_seed_means:.3f}; in brackets: {interval_label(fit)} "
        "intervals."
    )
    return " ".join([numbers, *doubts(fit)])


def doubts(fit: NoiseLawFit) -> list[str]:
    """The flags in words."""
    return [f"⚠ {FLAGS[flag]} [{flag}]." for flag in fit.flags]


def _draw_references(axes: "Axes", measured: MeasuredCurve) -> None:
    if measured.ceiling_bits is not None:
        axes.axhline(measured.ceiling_bits, color=BLACK, linewidth=1.2, label="ceiling H(Y)")
    if measured.floor_bits is not None:
        axes.axhline(measured.floor_bits, color=GREY, linewidth=1.2, linestyle=(0, (1, 1.5)), label="shuffled pairs")
    if measured.truth is not None:
        depth, bits = (np.asarray(values)[np.argsort(measured.truth[0])] for values in measured.truth)
        axes.plot(depth[np.isfinite(depth)], bits[np.isfinite(depth)], color=GREEN, linewidth=2, label="truth")


def _draw_fit(axes: "Axes", axis: DepthAxis, measured: MeasuredCurve, fit: NoiseLawFit) -> None:
    depth = axis.grid()
    axes.fill_between(depth, *noise_law_band(measured.curve, fit, depth), color=BLUE, alpha=0.16, linewidth=0)
    canvas.draw_law(axes, axis, fit, colour=BLUE, label="noise law")


def _draw_points(axes: "Axes", axis: DepthAxis, measured: MeasuredCurve) -> dict[str, Marks]:
    """Raw points where seeds differ, and seed means where there are levels enough."""
    curve = measured.curve
    tips = tuple(
        f"seed {seed}: {bits_text(bits)} bits at {depth_tip(depth)}"
        for seed, bits, depth in zip(curve.seed, curve.mi_bits, curve.depth, strict=True)
    )
    hollow: dict[str, Any] = {"markersize": 4.5, "markerfacecolor": "none", "linestyle": "none", "alpha": 0.65}
    marks: dict[str, Marks] = {}
    has_levels = len(np.unique(curve.depth if curve.level is None else curve.level)) > 2
    if not has_levels or len(np.unique(curve.seed)) > 1:
        axes.plot(axis.place(curve.depth), curve.mi_bits, "o", color=BLUE, label="seeds", gid="seeds", **hollow)
        marks["seeds"] = Marks(tips)
    if has_levels:
        levels = levels_of(curve)
        draw_means(axes, axis, levels, Look(BLUE, "o"), gid="means", size=6)
        axes.plot([], [], "o", color=BLUE, markersize=6, label="seed means" if marks else "measured")
        marks["means"] = Marks(mean_tips(levels, "mean" if marks else "measured"))
    return marks


def _bits_range(measured: MeasuredCurve, fit: NoiseLawFit) -> tuple[float, float]:
    """The information axis: all points, and wanted values that do not squeeze them."""
    bits = measured.curve.mi_bits
    highest = max(float(bits.max()), 0.01)
    wanted = [fit.imax_low_bits, fit.imax_bits, fit.imax_high_bits, measured.ceiling_bits]
    shown = [value for value in wanted if value is not None and value <= TALLEST * highest]
    top = max([highest, *shown])
    return min(0.0, float(bits.min())) - 0.03 * top, 1.08 * top


def _draw_imax(axes: "Axes", fit: NoiseLawFit) -> None:
    """Imax as a dashed line, its interval as a bar at the right edge; arrows where it leaves the axis."""
    top = axes.get_ylim()[1]
    beside = axes.get_yaxis_transform()
    if fit.imax_bits < top:
        axes.axhline(fit.imax_bits, color=VERMILION, linewidth=1.4, linestyle=(0, (5, 3)), zorder=2)
    style: dict[str, Any] = {"transform": beside, "clip_on": False, "color": VERMILION}
    low, high = min(fit.imax_low_bits, 0.94 * top), min(fit.imax_high_bits, top)
    axes.plot([1.02, 1.02], [low, high], linewidth=2, solid_capstyle="butt", **style)
    axes.plot(1.02, high, marker="^" if fit.imax_high_bits > top else "_", markersize=8, **style)
    if fit.imax_low_bits < top:
        axes.plot(1.02, low, marker="_", markersize=8, **style)
    if fit.imax_bits < top:
        axes.plot(1.02, fit.imax_bits, "D", markersize=6, markeredgecolor="white", zorder=6, **style)
    height = min(fit.imax_bits, 0.97 * top)
    axes.text(1.045, height, "Imax", transform=beside, color=VERMILION, va="center", fontsize=canvas.SMALL_POINTS)


def _draw_depths(axes: "Axes", strip: "Axes", axis: DepthAxis, fit: NoiseLawFit) -> None:
    """ū and the target depth with their intervals in the strip, with lines up to the curve."""
    canvas.style(strip, axis)
    axes.tick_params(which="both", bottom=False, labelbottom=False)
    axes.set_xlabel("")
    strip.set_ylabel("")
    strip.grid(False)
    target = f"{100 * fit.target_fraction:.3g} %" if fit.target_fraction is not None else "target"
    strip.set_ylim(-0.6, 1.6)
    strip.set_yticks([1, 0], labels=["ū", target], fontsize=canvas.SMALL_POINTS)
    strip.spines["left"].set_visible(False)
    strip.tick_params(axis="y", length=0, pad=9)
    rows = (
        (1.0, GREY, (fit.ubar, fit.ubar_low, fit.ubar_high)),
        (0.0, VERMILION, (fit.target_depth, fit.target_depth_low, fit.target_depth_high)),
    )
    for row, colour, ends in rows:
        canvas.draw_interval(strip, axis, ends, row=row, colour=colour)
        if axis.shows(ends[0]):
            axes.axvline(ends[0], color=colour, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1)
