"""The calibration map: biases on problems of known information, and where a study's curves lie among them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from nsl_assets.probing import ExpectedBias, Family, ProblemSummary
from nsl_assets.report import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[ExpectedBias]]
"""The points of each curve, by its title."""
EXPLANATION: Final = "Each point of a curve lies at the mean bias of the five problems most like it; bars: their spread"
PLOT_INCHES: Final = 5.1
LINE_INCHES: Final = 0.215
LINEAR_BITS: Final = 0.1
"""The bias axis is linear up to here and logarithmic beyond; larger biases are warned of."""
LOWEST_BITS: Final = 0.15
"""The bias axis reaches at least this far on either side."""
TICKS_BITS: Final = (-3, -1, -0.3, -0.1, -0.05, 0, 0.05, 0.1, 0.3, 1, 3)
NAMED_FROM_BITS: Final = 0.2
"""Problems with larger biases are named."""
MOST_NAMES: Final = 6
NAME_HEIGHT_DOTS: Final = 22.0
FAMILY_COLOURS: Final = dict(
    zip(get_args(Family), (canvas.GREY, *canvas.MODEL_COLOURS[:6], "#7A4B00", "#B5A300"), strict=True)
)
PAIR_MARKERS: Final = ("v", "o", "s", "D", "P")
CURVE_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
CURVE_LINES: Final = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))


def calibration_figure(summaries: Sequence[ProblemSummary], curves: Curves, *, title: str) -> bytes:
    """Bias against estimate of all calibration problems, and the curves at their expected bias, as PNG bytes.

    1,280 pixels wide. Colour is the family, the marker the number of pairs; the grey band is ± 0.1 bit. A curve is
    drawn with bars of the spread of its nearest problems; its points that are off the map are crosses on the axis.
    """
    sizes = sorted({summary.n_pairs for summary in summaries})
    beside, below = _problem_keys(summaries, sizes), _curve_keys(curves)
    floor = 0.72 + LINE_INCHES * math.ceil(len(below) / 2)
    height = floor + PLOT_INCHES
    figure = canvas.new_figure(height)
    axes = figure.add_axes((0.1, floor / height, 0.66, (PLOT_INCHES - 0.75) / height))
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=canvas.TITLE_POINTS, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.43 / height, EXPLANATION, fontsize=canvas.SMALL_POINTS - 1, va="top", color=canvas.GREY)
    _style(axes, summaries, curves)
    for summary in summaries:
        look = {"marker": _size_marker(sizes, summary.n_pairs), "color": FAMILY_COLOURS[summary.family]}
        axes.plot(summary.value_bits, summary.bias_bits, markersize=6.5, alpha=0.75, markeredgewidth=0, **look)
    for place, points in enumerate(curves.values()):
        _draw_curve(axes, points, place)
    _name_the_worst(axes, summaries)
    for line, key in enumerate(beside):
        _write_key(figure, key, left=0.79, y_inches=height - 0.85 - line * LINE_INCHES)
    for line, key in enumerate(below):
        _write_key(figure, key, left=0.1 + 0.45 * (line % 2), y_inches=floor - 0.72 - (line // 2) * LINE_INCHES)
    return canvas.png_of(figure)


def _style(axes: "Axes", summaries: Sequence[ProblemSummary], curves: Curves) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    known = [point for points in curves.values() for point in points if not point.is_off_map]
    biases = [summary.bias_bits for summary in summaries] + [point.bias_bits for point in known]
    axes.set_yscale("symlog", linthresh=LINEAR_BITS, linscale=1.0)
    axes.set_ylim(1.3 * min(-LOWEST_BITS, *biases), 1.3 * max(LOWEST_BITS, *biases))
    axes.yaxis.set_major_locator(FixedLocator(TICKS_BITS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda bits, _: f"{bits:+g}".replace("-", "−") if bits else "0"))
    axes.axhspan(-LINEAR_BITS, LINEAR_BITS, color="#F1F1F1", zorder=0)
    axes.axhline(0, color=canvas.GREY, linewidth=1.2, zorder=1)
    for edge in (-LINEAR_BITS, LINEAR_BITS):
        axes.axhline(edge, color=canvas.GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlabel("estimate (bits)", fontsize=canvas.TEXT_POINTS)
    axes.set_ylabel("bias: estimate − truth (bits)", fontsize=canvas.TEXT_POINTS)
    axes.tick_params(labelsize=canvas.SMALL_POINTS, color=canvas.GREY)
    axes.spines[["top", "right"]].set_visible(False)


def _name_the_worst(axes: "Axes", summaries: Sequence[ProblemSummary]) -> None:
    """Names beside the largest biases, each problem once, where they do not write over each other."""
    written: list[float] = []
    named: set[str] = set()
    for one in sorted(summaries, key=lambda one: -abs(one.bias_bits)):
        height = float(axes.transData.transform((one.value_bits, one.bias_bits))[1])
        is_free = all(abs(height - other) > NAME_HEIGHT_DOTS for other in written)
        is_worth_it = abs(one.bias_bits) > NAMED_FROM_BITS and one.problem not in named and len(named) < MOST_NAMES
        if is_worth_it and is_free:
            axes.annotate(one.problem, (one.value_bits, one.bias_bits), (6, -3.5), textcoords="offset points",
                          fontsize=9, color=canvas.GREY, zorder=2)  # fmt: skip
            written.append(height)
            named.add(one.problem)


def _draw_curve(axes: "Axes", points: Sequence[ExpectedBias], place: int) -> None:
    on_map = [point for point in points if not point.is_off_map]
    bits = [point.features.value_bits for point in on_map]
    biases = [point.bias_bits for point in on_map]
    axes.errorbar(bits, biases, [point.spread_bits for point in on_map], fmt="none", ecolor=canvas.BLACK,
                  elinewidth=3, alpha=0.13, zorder=3)  # fmt: skip
    axes.plot(bits, biases, zorder=5, **_curve_look(place))
    off_map = [point.features.value_bits for point in points if point.is_off_map]
    axes.plot(off_map, [0] * len(off_map), "x", color=canvas.VERMILION, markersize=8, markeredgewidth=2, clip_on=False,
              transform=axes.get_xaxis_transform(), zorder=6)  # fmt: skip


def _curve_look(place: int) -> dict[str, Any]:
    return {
        "color": canvas.BLACK,
        "linewidth": 1.5,
        "linestyle": CURVE_LINES[place % len(CURVE_LINES)],
        "marker": CURVE_MARKERS[place % len(CURVE_MARKERS)],
        "markersize": 7,
        "markerfacecolor": "white",
        "markeredgewidth": 1.5,
    }


Key = tuple[str, dict[str, Any]]
"""A line of the key: its text, and how its mark looks; a heading has no mark."""


def _problem_keys(summaries: Sequence[ProblemSummary], sizes: Sequence[int]) -> list[Key]:
    there = {summary.family for summary in summaries}
    look = {"markersize": 7, "linestyle": "none"}
    families = [
        (name.replace("_", " "), {"marker": "o", "color": colour, **look})
        for name, colour in FAMILY_COLOURS.items()
        if name in there
    ]
    pairs = [
        (f"{n_pairs:,} pairs", {"marker": _size_marker(sizes, n_pairs), "color": canvas.GREY, **look})
        for n_pairs in sizes
    ]
    return [("known problems", {}), *families, *pairs]


def _size_marker(sizes: Sequence[int], n_pairs: int) -> str:
    return PAIR_MARKERS[sizes.index(n_pairs) % len(PAIR_MARKERS)]


def _curve_keys(curves: Curves) -> list[Key]:
    off_map: Key = ("off the map", {"color": canvas.VERMILION, "marker": "x", "linestyle": "none", "markersize": 8})
    has_off_map = any(point.is_off_map for points in curves.values() for point in points)
    return [*((title, _curve_look(place)) for place, title in enumerate(curves)), *([off_map] if has_off_map else [])]


def _write_key(figure: "Figure", key: Key, *, left: float, y_inches: float) -> None:
    from matplotlib.lines import Line2D

    (text, look), y = key, y_inches / figure.get_figheight()
    weight = "normal" if look else "bold"
    figure.text(left + 0.05 * bool(look), y, text, va="center", fontsize=canvas.SMALL_POINTS - 0.5, fontweight=weight)
    if look:
        figure.add_artist(Line2D((left, left + 0.02, left + 0.04), (y, y, y), markevery=[1], **look))
