"""The calibration map: biases on problems of known information, and where a study's curves lie among them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from nsl_assets.probing import ExpectedBias, Family, ProblemSummary
from nsl_assets.report import canvas
from nsl_assets.report.drawn import Drawn, Marks, file_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[ExpectedBias]]
"""The points of each curve, by its title."""
EXPLANATION: Final = (
    "Coloured: what the estimator found in problems of known information. White: the curves of this study, each point "
    "at the mean bias of the five problems most like it, with bars of their spread. Grey band: ± 0.1 bit."
)
PLOT_INCHES: Final = 3.9
LINE_INCHES: Final = 0.2
KEY_COLUMNS: Final = 3
LINEAR_BITS: Final = 0.1
"""The bias axis is linear up to here and logarithmic beyond; larger biases are warned of."""
LOWEST_BITS: Final = 0.15
"""The bias axis reaches at least this far on either side."""
TICKS_BITS: Final = (-3, -1, -0.3, -0.1, -0.05, 0, 0.05, 0.1, 0.3, 1, 3)
FAMILY_COLOURS: Final = dict(
    zip(get_args(Family), (canvas.GREY, *canvas.MODEL_COLOURS[:6], "#7A4B00", "#B5A300"), strict=True)
)
PAIR_MARKERS: Final = ("v", "o", "s", "D", "P")
CURVE_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
CURVE_LINES: Final = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)))


def calibration_figure(summaries: Sequence[ProblemSummary], curves: Curves, *, title: str, task: str = "") -> Drawn:
    """Bias against estimate of all calibration problems, and the curves at their expected bias.

    Colour is the family, the marker the number of pairs; the grey band is ± 0.1 bit. A curve is drawn with bars of
    the spread of its nearest problems; its points that are off the map are crosses on the axis.
    """
    sizes = sorted({summary.n_pairs for summary in summaries})
    keys = [*_problem_keys(summaries, sizes), *_curve_keys(curves)]
    figure = canvas.new_figure(PLOT_INCHES + LINE_INCHES * math.ceil(len(keys) / KEY_COLUMNS))
    axes = figure.subplots()
    _style(axes, summaries, curves)
    marks = {}
    for place, (family, n_pairs) in enumerate(sorted({(one.family, one.n_pairs) for one in summaries})):
        group = [one for one in summaries if (one.family, one.n_pairs) == (family, n_pairs)]
        look = {"marker": _size_marker(sizes, n_pairs), "color": FAMILY_COLOURS[family], "linestyle": "none"}
        axes.plot(
            [one.value_bits for one in group], [one.bias_bits for one in group], markersize=5, alpha=0.75,
            markeredgewidth=0, gid=f"problems-{place}", **look,
        )  # fmt: skip
        marks[f"problems-{place}"] = Marks(tuple(map(_problem_tip, group)))
    for place, (name, points) in enumerate(curves.items()):
        _draw_curve(axes, points, place)
        known = [point for point in points if not point.is_off_map]
        marks[f"curve-{place}"] = Marks(tuple(_curve_tip(name, point) for point in known))
    _write_keys(figure, keys)
    canvas.write_title(axes, title)
    return Drawn(
        name=file_name("calibration", task),
        title=title,
        figure=figure,
        caption=EXPLANATION,
        records=[_problem_record(one) for one in summaries],
        marks=marks,
        task=task,
    )


def _problem_tip(one: ProblemSummary) -> str:
    return f"{one.problem}, {one.n_pairs:,} pairs: {one.value_bits:.2f} bits, bias {one.bias_bits:+.2f}"


def _curve_tip(name: str, point: ExpectedBias) -> str:
    return (
        f"{name}: {point.features.value_bits:.2f} bits, expected bias {point.bias_bits:+.2f} ± {point.spread_bits:.2f}"
    )


def _problem_record(one: ProblemSummary) -> dict[str, Any]:
    return {
        "problem": one.problem,
        "family": one.family,
        "estimator": one.estimator,
        "n_pairs": one.n_pairs,
        "n_seeds": one.n_seeds,
        "truth_bits": one.true_bits,
        "mi_bits": one.value_bits,
        "bias_bits": one.bias_bits,
        "sd_bits": one.sd_bits,
        "holds_share": one.holds_share,
    }


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
    canvas.label(axes, "estimate (bits)", "bias: estimate − truth (bits)")
    canvas.tidy(axes)


def _draw_curve(axes: "Axes", points: Sequence[ExpectedBias], place: int) -> None:
    on_map = [point for point in points if not point.is_off_map]
    bits = [point.features.value_bits for point in on_map]
    biases = [point.bias_bits for point in on_map]
    axes.errorbar(bits, biases, [point.spread_bits for point in on_map], fmt="none", ecolor=canvas.BLACK,
                  elinewidth=3, alpha=0.13, zorder=3)  # fmt: skip
    axes.plot(bits, biases, zorder=5, gid=f"curve-{place}", **_curve_look(place))
    off_map = [point.features.value_bits for point in points if point.is_off_map]
    if off_map:
        axes.plot(
            off_map, [0] * len(off_map), "x", color=canvas.VERMILION, markersize=8, markeredgewidth=2, clip_on=False,
            transform=axes.get_xaxis_transform(), zorder=6,
        )  # fmt: skip


def _curve_look(place: int) -> dict[str, Any]:
    return {
        "color": canvas.BLACK,
        "linewidth": 1.2,
        "linestyle": CURVE_LINES[place % len(CURVE_LINES)],
        "marker": CURVE_MARKERS[place % len(CURVE_MARKERS)],
        "markersize": 5.5,
        "markerfacecolor": "white",
        "markeredgewidth": 1.2,
    }


Key = tuple[str, dict[str, Any]]
"""A line of the key: its text, and how its mark looks."""


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
    return [*families, *pairs]


def _size_marker(sizes: Sequence[int], n_pairs: int) -> str:
    return PAIR_MARKERS[sizes.index(n_pairs) % len(PAIR_MARKERS)]


def _curve_keys(curves: Curves) -> list[Key]:
    off_map: Key = ("off the map", {"color": canvas.VERMILION, "marker": "x", "linestyle": "none", "markersize": 8})
    has_off_map = any(point.is_off_map for points in curves.values() for point in points)
    return [*((title, _curve_look(place)) for place, title in enumerate(curves)), *([off_map] if has_off_map else [])]


def _write_keys(figure: "Figure", keys: Sequence[Key]) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        [Line2D([], [], **look) for _, look in keys], [canvas.short(text) for text, _ in keys],
        loc="outside lower left", ncols=KEY_COLUMNS, frameon=False, fontsize=canvas.SMALL_POINTS, borderpad=0.2,
        columnspacing=1.0, handletextpad=0.4, handlelength=2.2,
    )  # fmt: skip
