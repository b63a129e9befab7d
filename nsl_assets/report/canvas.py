"""What all figures share: size, colours, the depth axis. Matplotlib is imported on first use.

Figures are as wide as a column and a half of a journal; their smallest text stays above 9 pixels on a telephone.
Colours: Okabe and Ito's palette, which colour-blind readers can tell apart; no meaning is carried by colour alone.
"""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws import Curve, NoiseLawFit, noise_law

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
BLACK: Final = "#222222"
GREY: Final = "#6E6E6E"
MODEL_COLOURS: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MODEL_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
WIDTH_INCHES: Final = 5.6
HEIGHT_INCHES: Final = 4.2
DOTS_PER_INCH: Final = 1280 / WIDTH_INCHES
TITLE_POINTS: Final = 11.5
TEXT_POINTS: Final = 10.5
SMALL_POINTS: Final = 10.0
TITLE_CHARACTERS: Final = 54
NAME_CHARACTERS: Final = 26
KEY_LINE_INCHES: Final = 0.19
KEY_LINES: Final = 3
"""Lines of the key that every figure has room for; it grows with more."""
FURTHEST: Final = 30.0
GRID_POINTS: Final = 120


def new_figure(height_inches: float = HEIGHT_INCHES) -> "Figure":
    """An empty figure, outside of pyplot's global state; what is drawn in it is given the room that it needs."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained")


@dataclass(frozen=True)
class Look:
    """How one model is drawn, the same in all figures."""

    colour: str
    marker: str


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker for each name; both repeat after seven, but not together before 49."""
    looks = {}
    for place, name in enumerate(dict.fromkeys(names)):
        n = len(MODEL_COLOURS)
        looks[name] = Look(MODEL_COLOURS[place % n], MODEL_MARKERS[(place + place // n) % n])
    return looks


def plain(text: str) -> str:
    """Text of users, of which nothing is taken for a formula."""
    return text.replace("$", r"\$")


def short(name: str) -> str:
    """A name as keys and rows have room for it."""
    return plain(name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…")


def write_title(axes: "Axes", title: str) -> None:
    """The title above the axes, wrapped to the width of the figure."""
    wrapped = "\n".join(textwrap.wrap(title, TITLE_CHARACTERS)[:3])
    axes.set_title(plain(wrapped), fontsize=TITLE_POINTS, loc="left")


def write_key(figure: "Figure", axes: "Axes", n_columns: int = 3, title: str | None = None) -> None:
    """The key below the plot, where it hides nothing; nothing where nothing is named."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = max(map(len, labels))
        fitting = max(1, min(n_columns, 62 // (longest + 6)))
        n_more = max(0, -(-len(labels) // fitting) - KEY_LINES)
        figure.set_figheight(figure.get_figheight() + n_more * KEY_LINE_INCHES)
        figure.legend(
            handles,
            labels,
            title=title,
            loc="outside lower left",
            alignment="left",
            ncols=fitting,
            frameon=False,
            fontsize=SMALL_POINTS,
            title_fontsize=SMALL_POINTS,
            borderpad=0.2,
            columnspacing=1.2,
            handletextpad=0.5,
        )


def tidy(axes: "Axes") -> None:
    """No frame above and to the right, text of one size."""
    axes.tick_params(labelsize=SMALL_POINTS, color=GREY)
    axes.tick_params(which="minor", length=2.5, color=GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def label(axes: "Axes", x: str, y: str) -> None:
    """What the axes are."""
    axes.set_xlabel(x, fontsize=TEXT_POINTS)
    axes.set_ylabel(y, fontsize=TEXT_POINTS)


def log_ticks(axis: Any, low: float, high: float) -> None:
    """Plain numbers on a log axis: decades, with 3s between where there are few; powers of ten where there are many."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    n_decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1.0,) if n_decades > 2.2 else (1.0, 3.0), numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
    axis.set_minor_formatter(NullFormatter())


def number_text(value: float) -> str:
    """A round number as it stands at an axis: 0.01, 300, 10,000, 1 M."""
    if value >= 999_999:
        return f"{value / 1e6:,.10g} M"
    return f"{value:,.10g}"


@dataclass(frozen=True)
class DepthAxis:
    """The range of the log depth axis in UMIs per cell; a noiseless level is drawn at its right edge."""

    low: float
    high: float
    deepest: float
    """The deepest measured finite level."""
    has_noiseless: bool

    def grid(self) -> npt.NDArray[np.float64]:
        """Depths at which lines are drawn, (GRID_POINTS,)."""
        return np.geomspace(self.low, self.edge, GRID_POINTS)

    @property
    def edge(self) -> float:
        """Where finite depths end."""
        return self.high / 2.4 if self.has_noiseless else self.high

    def place(self, depth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Where depths are drawn: the noiseless level at the right edge."""
        return np.where(np.isinf(depth), self.high / np.sqrt(2.4), depth)

    def shows(self, depth: float) -> bool:
        """Whether a depth lies within the axis."""
        return self.low < depth < self.edge


def depth_axis(curves: list[Curve], wanted: list[float]) -> DepthAxis:
    """An axis that shows all measured levels, and wanted depths up to 30 times the deepest level."""
    depth = np.concatenate([curve.depth for curve in curves])
    finite = depth[np.isfinite(depth)]
    shown = [value for value in wanted if finite.min() / FURTHEST < value < finite.max() * FURTHEST]
    has_noiseless = bool(np.isinf(depth).any())
    low, high = min([finite.min(), *shown]) / 1.5, max([finite.max(), *shown]) * 1.8
    return DepthAxis(low, high * (2.8 if has_noiseless else 1), float(finite.max()), has_noiseless)


def style(axes: "Axes", axis: DepthAxis) -> None:
    """Log depth axis with plain numbers, information axis, faint grid."""
    axes.set_xscale("log")
    axes.set_xlim(axis.low, axis.high)
    log_ticks(axes.xaxis, axis.low, axis.edge)
    axes.xaxis.set_major_formatter(lambda value, _: number_text(value) if value <= axis.edge else "")
    label(axes, "UMIs per cell", "mutual information (bits)")
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    tidy(axes)


def mark_noiseless(axes: "Axes", axis: DepthAxis) -> None:
    """A line before the noiseless level, and its name; nothing where none was measured."""
    if not axis.has_noiseless:
        return
    axes.axvline(axis.edge, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.annotate(
        "no\nnoise",
        (float(axis.place(np.array([np.inf]))[0]), 0.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        fontsize=SMALL_POINTS,
        color=GREY,
    )


def draw_law(
    axes: "Axes", axis: DepthAxis, fit: NoiseLawFit, *, colour: str, label: str, gid: str = "law"
) -> tuple[str, str]:
    """The fitted law, dashed beyond the deepest level: there it is extrapolated. Returns the `gid`s of both parts."""
    depth = axis.grid()
    bits = noise_law(depth, fit.imax_bits, fit.ubar)
    measured = depth <= axis.deepest if np.isfinite(fit.deepest) else np.full(len(depth), True)
    beyond = f"{gid}-beyond"
    axes.plot(depth[measured], bits[measured], color=colour, linewidth=1.8, label=label, zorder=3, gid=gid)
    axes.plot(depth[~measured], bits[~measured], color=colour, linewidth=1.4, dashes=(3, 2), zorder=3, gid=beyond)
    return gid, beyond


def draw_interval(axes: "Axes", axis: DepthAxis, ends: tuple[float, float, float], *, row: float, colour: str) -> None:
    """A depth with its interval as a horizontal bar at height ``row``; an arrow where the interval leaves.

    ``ends`` is (estimate, low, high) in UMIs per cell; an estimate outside the axis is not drawn.
    """
    estimate, low, high = ends
    left, right = max(low, axis.low), min(high, axis.high)
    if left >= right:
        left, right = (axis.high / 1.4, axis.high) if low >= axis.high else (axis.low, axis.low * 1.4)
    axes.plot([left, right], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
    for leaves, place, marker in ((low < axis.low, left, "<"), (high > axis.high, right, ">")):
        axes.plot(place, row, marker if leaves else "|", markersize=9, color=colour, clip_on=False)
    if axis.shows(estimate):
        axes.plot(estimate, row, "D", markersize=7, color=colour, markeredgecolor="white", zorder=6)
