"""The overview figure of one task: every model's curve in one frame."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.laws import Curve, NoiseLawFit, levels_of
from nsl_assets.report import canvas
from nsl_assets.report.canvas import DepthAxis
from nsl_assets.report.noise_law_figure import Line
from nsl_assets.report.numbers import bits_text, depth_text, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FittedCurve = tuple[Curve, NoiseLawFit]
Reference = tuple[str, dict[str, Any]]
HEIGHT_INCHES: Final = 5.0
LINE_INCHES: Final = 0.21
GAP_INCHES: Final = 0.15
KEY_LEFT: Final = 0.7
KEY_CHARACTERS: Final = 32
TRUTH_LOOK: Final[dict[str, Any]] = {"color": canvas.BLACK, "linestyle": (0, (1, 1))}
CEILING_LOOK: Final[dict[str, Any]] = {"color": canvas.GREY, "linestyle": "-"}


def study_figure(
    curves: Mapping[str, FittedCurve],
    *,
    title: str,
    truth: Line | None = None,
    ceiling_bits: float | None = None,
) -> bytes:
    """All models of one task in one frame, as PNG bytes (1,280 pixels wide).

    ``curves`` gives the curve and its fit by model name; drawn are seed means with the range of the seeds,
    the fitted law (dashed where extrapolated), and a hollow diamond at the target depth where it lies within the
    axis. ``truth`` is (depth (n,), bits (n,)) where known, ``ceiling_bits`` H(Y).
    """
    axis = canvas.depth_axis([curve for curve, _ in curves.values()], [])
    references = _references(truth, ceiling_bits)
    height = max(HEIGHT_INCHES, _key_inches(curves, references))
    figure = canvas.new_figure(height)
    axes = figure.add_axes((0.1, 0.72 / height, 0.53, (height - 1.3) / height))
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=canvas.TITLE_POINTS, fontweight="bold", va="top")
    canvas.style(axes, axis)
    canvas.mark_noiseless(axes, axis)
    if truth is not None:
        order = np.argsort(truth[0])
        axes.plot(truth[0][order], truth[1][order], linewidth=2.2, **TRUTH_LOOK)
    if ceiling_bits is not None:
        axes.axhline(ceiling_bits, linewidth=1.4, **CEILING_LOOK)
    for place, (curve, fit) in enumerate(curves.values()):
        _draw_model(axes, axis, curve, fit, place)
    _write_key(figure, curves, references)
    return canvas.png_of(figure)


def _references(truth: Line | None, ceiling_bits: float | None) -> list[Reference]:
    """What else is drawn, and how the key shows it."""
    drawn = (("truth", truth, TRUTH_LOOK), ("ceiling H(Y)", ceiling_bits, CEILING_LOOK))
    return [(name, look) for name, value, look in drawn if value is not None]


def _draw_model(axes: "Axes", axis: DepthAxis, curve: Curve, fit: NoiseLawFit, place: int) -> None:
    """Seed means with the range of the seeds, the law, and the target depth on it."""
    colour, marker = _look(place)
    levels = levels_of(curve)
    low, high = np.nanmin(levels.by_seed_bits, axis=1), np.nanmax(levels.by_seed_bits, axis=1)
    depth = axis.place(levels.depth)
    axes.vlines(depth, low, high, color=colour, linewidth=1.3, alpha=0.6)
    axes.plot(depth, levels.mean_bits, marker, markersize=6, color=colour, zorder=4)
    canvas.draw_law(axes, axis, fit, colour=colour, label="")
    if axis.shows(fit.target_depth):
        axes.plot(
            fit.target_depth, fit.target_bits, "D", markersize=10, markerfacecolor="white",
            markeredgecolor=colour, markeredgewidth=2, zorder=6,
        )  # fmt: skip


def _look(place: int) -> tuple[str, str]:
    return (
        canvas.MODEL_COLOURS[place % len(canvas.MODEL_COLOURS)],
        canvas.MODEL_MARKERS[place % len(canvas.MODEL_MARKERS)],
    )


def _write_key(figure: "Figure", curves: Mapping[str, FittedCurve], references: list[Reference]) -> None:
    """The key beside the plot, best model at the deepest level first, with each law's numbers."""
    places = {name: place for place, name in enumerate(curves)}
    height = figure.get_figheight()
    y = height - 0.62
    for name, (_, fit) in sorted(curves.items(), key=lambda item: -_bits_at_deepest(item[1])):
        colour, marker = _look(places[name])
        _key_mark(figure, y, color=colour, marker=marker)
        _key_text(figure, y, name, fontweight="bold")
        for line, text in enumerate(_key_lines(fit), start=1):
            _key_text(figure, y - line * LINE_INCHES, text)
        y -= (len(_key_lines(fit)) + 1) * LINE_INCHES + GAP_INCHES
    for name, look in references:
        _key_mark(figure, y, **look)
        _key_text(figure, y, name)
        y -= LINE_INCHES


def _key_inches(curves: Mapping[str, FittedCurve], references: list[Reference]) -> float:
    lines = sum(len(_key_lines(fit)) + 1 for _, fit in curves.values()) + len(references)
    return lines * LINE_INCHES + len(curves) * GAP_INCHES + 0.7


def _key_text(figure: "Figure", y_inches: float, text: str, **look: Any) -> None:
    y = y_inches / figure.get_figheight()
    figure.text(KEY_LEFT, y, text, va="center", fontsize=canvas.SMALL_POINTS, **look)


def _key_mark(figure: "Figure", y_inches: float, **look: Any) -> None:
    from matplotlib.lines import Line2D

    y = y_inches / figure.get_figheight()
    x = (KEY_LEFT - 0.05, KEY_LEFT - 0.03, KEY_LEFT - 0.01)
    figure.add_artist(Line2D(x, (y, y, y), linewidth=2.2, markevery=[1], markersize=7, **look))


def _bits_at_deepest(fitted: FittedCurve) -> float:
    return float(levels_of(fitted[0]).mean_bits[-1])


def _key_lines(fit: NoiseLawFit) -> list[str]:
    imax = with_interval(fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits, bits_text)
    target = with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text)
    at = "" if target.startswith(("≥", "≤")) else "at "
    wanted = "target" if fit.target_fraction is None else f"{100 * fit.target_fraction:.3g} %"
    doubts = textwrap.wrap(f"⚠ {', '.join(fit.flags)}", KEY_CHARACTERS) if fit.flags else []
    return [f"Imax {imax} bits", f"◇ {wanted} {at}{target}", *doubts]
