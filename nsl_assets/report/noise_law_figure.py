"""The figure of one fitted noise law."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws import FLAGS, Curve, NoiseLawFit, levels_of, noise_law_band
from nsl_assets.report import canvas
from nsl_assets.report.canvas import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, DepthAxis
from nsl_assets.report.numbers import bits_text, depth_text, interval_label, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
PLOT_INCHES: Final = 5.5
FLAG_INCHES: Final = 0.23
WRAP_CHARACTERS: Final = 96
TALLEST: Final = 1.6
"""The information axis follows the ends of Imax and the ceiling up to this many times the highest point."""
KEY_COLUMNS: Final = 4


def noise_law_figure(
    curve: Curve,
    fit: NoiseLawFit,
    *,
    title: str,
    truth: Line | None = None,
    floor_bits: float | None = None,
    ceiling_bits: float | None = None,
    other: Mapping[str, Curve] | None = None,
) -> bytes:
    """One curve with its fitted noise law, its uncertainty and its doubts, as PNG bytes (1,280 pixels wide).

    Shows the points of each seed, seed means, the fit with the band of all curves that the data allow, Imax,
    ū and the target depth with their intervals (an arrow where open), and the fit's flags in words.
    ``truth`` is (depth (n,), bits (n,)) where it is known; ``floor_bits`` the estimator's value for shuffled
    pairs, ``ceiling_bits`` H(Y); ``other`` names further curves to compare with: another estimator, the
    untrained model.
    """
    others = dict(other or {})
    axis = canvas.depth_axis([curve, *others.values()], [fit.ubar, fit.target_depth])
    doubts = _doubts(fit)
    figure = canvas.new_figure(PLOT_INCHES + FLAG_INCHES * len(doubts))
    axes, strip = _framed_axes(figure, len(doubts))
    canvas.style(axes, axis)
    canvas.mark_noiseless(axes, axis)
    _write(figure, title, fit, doubts)
    _draw_references(axes, truth, floor_bits, ceiling_bits)
    _draw_fit(axes, axis, curve, fit)
    _draw_points(axes, axis, curve, others)
    wanted = [fit.imax_low_bits, fit.imax_bits, fit.imax_high_bits, ceiling_bits]
    axes.set_ylim(*_bits_range([curve, *others.values()], wanted))
    _draw_imax(axes, fit)
    _draw_depths(axes, strip, axis, fit)
    _draw_key(axes)
    return canvas.png_of(figure)


def _doubts(fit: NoiseLawFit) -> list[str]:
    """The flags in words, wrapped to the width of the figure."""
    lines: list[str] = []
    for flag in fit.flags:
        lines += textwrap.wrap(f"⚠ {FLAGS[flag]} [{flag}]", WRAP_CHARACTERS, subsequent_indent="    ")
    return lines


def _framed_axes(figure: "Figure", n_doubts: int) -> tuple["Axes", "Axes"]:
    """The axes of the curve, and below them the strip of depths with their intervals."""
    height = PLOT_INCHES + FLAG_INCHES * n_doubts
    floor = 0.72 + FLAG_INCHES * n_doubts + (0.1 if n_doubts else 0)
    strip = figure.add_axes((0.105, floor / height, 0.795, 0.55 / height))
    lower = floor + 0.62
    axes = figure.add_axes((0.105, lower / height, 0.795, (height - lower - 1.48) / height))
    return axes, strip


def _write(figure: "Figure", title: str, fit: NoiseLawFit, doubts: list[str]) -> None:
    """Title and numbers above, doubts below."""
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=canvas.TITLE_POINTS, fontweight="bold", va="top")
    for line, text in enumerate(_numbers(fit)):
        y = 1 - (0.43 + 0.22 * line) / height
        figure.text(0.02, y, text, fontsize=canvas.SMALL_POINTS, va="top", color=GREY)
    for line, text in enumerate(reversed(doubts)):
        y = (0.1 + FLAG_INCHES * line) / height
        figure.text(0.02, y, text, fontsize=canvas.SMALL_POINTS, va="bottom", color=VERMILION)


def _numbers(fit: NoiseLawFit) -> tuple[str, str]:
    imax = with_interval(fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits, bits_text)
    target = with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text)
    seeds = "1 seed" if fit.n_seeds == 1 else f"{fit.n_seeds} seeds"
    fitted = f"{fit.n_levels} noise levels, {seeds}  ·  R² {fit.r2_seed_means:.3f}"
    return (
        f"Imax {imax} bits  ·  {fit.target_label}: {target} UMIs per cell",
        f"{fitted}  ·  in brackets: {interval_label(fit)} intervals",
    )


def _draw_references(axes: "Axes", truth: Line | None, floor_bits: float | None, ceiling_bits: float | None) -> None:
    if ceiling_bits is not None:
        axes.axhline(ceiling_bits, color=BLACK, linewidth=1.3, label="ceiling H(Y)")
    if floor_bits is not None:
        axes.axhline(floor_bits, color=GREY, linewidth=1.3, linestyle=(0, (1, 1.5)), label="shuffled pairs")
    if truth is not None:
        depth, bits = (np.asarray(values)[np.argsort(truth[0])] for values in truth)
        axes.plot(depth[np.isfinite(depth)], bits[np.isfinite(depth)], color=GREEN, linewidth=2.4, label="truth")


def _draw_fit(axes: "Axes", axis: DepthAxis, curve: Curve, fit: NoiseLawFit) -> None:
    depth = axis.grid()
    axes.fill_between(depth, *noise_law_band(curve, fit, depth), color=BLUE, alpha=0.16, linewidth=0)
    canvas.draw_law(axes, axis, fit, colour=BLUE, label="noise law")


def _draw_points(axes: "Axes", axis: DepthAxis, curve: Curve, others: dict[str, Curve]) -> None:
    hollow: dict[str, Any] = {"markersize": 5, "markerfacecolor": "none", "linestyle": "none", "alpha": 0.65}
    levels = levels_of(curve)
    if levels.n_points > len(levels.depth):
        axes.plot(axis.place(curve.depth), curve.mi_bits, "o", color=BLUE, label="seeds", zorder=4, **hollow)
    name = "seed means" if levels.n_points > len(levels.depth) else "measured"
    axes.plot(axis.place(levels.depth), levels.mean_bits, "o", markersize=7, color=BLUE, label=name, zorder=5)
    for (name, drawn), colour, marker in zip(others.items(), (ORANGE, PURPLE, GREY), "s^D", strict=False):
        axes.plot(axis.place(drawn.depth), drawn.mi_bits, marker, color=colour, label=name, **hollow)


def _bits_range(curves: list[Curve], wanted: list[float | None]) -> tuple[float, float]:
    """The information axis: all points, and wanted values that do not squeeze them."""
    bits = np.concatenate([curve.mi_bits for curve in curves])
    highest = max(float(bits.max()), 0.01)
    shown = [value for value in wanted if value is not None and value <= TALLEST * highest]
    top = max([highest, *shown])
    return min(0.0, float(bits.min())) - 0.03 * top, 1.08 * top


def _draw_imax(axes: "Axes", fit: NoiseLawFit) -> None:
    """Imax as a dashed line, its interval as a bar at the right edge; arrows where it leaves the axis."""
    top = axes.get_ylim()[1]
    beside = axes.get_yaxis_transform()
    if fit.imax_bits < top:
        axes.axhline(fit.imax_bits, color=VERMILION, linewidth=1.6, linestyle=(0, (5, 3)), zorder=2)
    style: dict[str, Any] = {"transform": beside, "clip_on": False, "color": VERMILION}
    low, high = min(fit.imax_low_bits, 0.94 * top), min(fit.imax_high_bits, top)
    axes.plot([1.015, 1.015], [low, high], linewidth=2.2, solid_capstyle="butt", **style)
    axes.plot(1.015, high, marker="^" if fit.imax_high_bits > top else "_", markersize=9, **style)
    if fit.imax_low_bits < top:
        axes.plot(1.015, low, marker="_", markersize=9, **style)
    if fit.imax_bits < top:
        axes.plot(1.015, fit.imax_bits, "D", markersize=7, markeredgecolor="white", zorder=6, **style)
    height = min(fit.imax_bits, 0.97 * top)
    axes.text(1.035, height, "Imax", transform=beside, color=VERMILION, va="center", fontsize=canvas.TEXT_POINTS)


def _draw_key(axes: "Axes") -> None:
    """The key above the plot, where it hides nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.05),
        ncols=KEY_COLUMNS,
        frameon=False,
        fontsize=canvas.SMALL_POINTS,
        borderaxespad=0,
        borderpad=0,
        columnspacing=1.6,
        handletextpad=0.5,
    )


def _draw_depths(axes: "Axes", strip: "Axes", axis: DepthAxis, fit: NoiseLawFit) -> None:
    """ū and the target depth with their intervals in the strip, with lines up to the curve."""
    canvas.style(strip, axis)
    axes.tick_params(which="both", bottom=False, labelbottom=False)
    axes.set_xlabel("")
    strip.set_ylabel("")
    strip.grid(False)
    target = f"{100 * fit.target_fraction:.3g} %" if fit.target_fraction is not None else "target"
    strip.set_ylim(-0.6, 1.6)
    strip.set_yticks([1, 0], labels=["ū", target], fontsize=canvas.TEXT_POINTS)
    strip.spines["left"].set_visible(False)
    strip.tick_params(axis="y", length=0)
    rows = (
        (1.0, GREY, (fit.ubar, fit.ubar_low, fit.ubar_high)),
        (0.0, VERMILION, (fit.target_depth, fit.target_depth_low, fit.target_depth_high)),
    )
    for row, colour, ends in rows:
        canvas.draw_interval(strip, axis, ends, row=row, colour=colour)
        if axis.shows(ends[0]):
            axes.axvline(ends[0], color=colour, linewidth=1.1, linestyle=(0, (2, 2)), zorder=1)
