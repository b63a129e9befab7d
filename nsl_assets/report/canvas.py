"""What all figures share: size, colours, the depth axis, and PNG bytes. Matplotlib is imported on first use.

Figures are drawn 1,280 pixels wide and stay readable at half of that. Colours: Okabe and Ito's palette, which
colour-blind readers can tell apart; no meaning is carried by colour alone.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

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
WIDTH_INCHES: Final = 8.0
DOTS_PER_INCH: Final = 160
TITLE_POINTS: Final = 14
TEXT_POINTS: Final = 12.5
SMALL_POINTS: Final = 11.0
FURTHEST: Final = 30.0


def new_figure(height_inches: float) -> "Figure":
    """An empty figure, outside of pyplot's global state."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor="white")


def png_of(figure: "Figure") -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class DepthAxis:
    """The range of the log depth axis in UMIs per cell; a noiseless level is drawn at its right edge."""

    low: float
    high: float
    deepest: float
    """The deepest measured finite level."""
    has_noiseless: bool

    def grid(self) -> npt.NDArray[np.float64]:
        """Depths at which lines are drawn, (400,)."""
        return np.geomspace(self.low, self.edge, 400)

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
    _log_depth_ticks(axes, axis)
    axes.set_xlabel("UMIs per cell", fontsize=TEXT_POINTS)
    axes.set_ylabel("mutual information (bits)", fontsize=TEXT_POINTS)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def _log_depth_ticks(axes: "Axes", axis: DepthAxis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(axis.low, axis.high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if axis.high / axis.low > 300 else (1.0, 3.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}" if value <= axis.edge else ""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=TEXT_POINTS, color=GREY)
    axes.tick_params(which="minor", length=2.5, color=GREY)
    axes.spines[["top", "right"]].set_visible(False)


def mark_noiseless(axes: "Axes", axis: DepthAxis) -> None:
    """A line before the noiseless level, and its name; nothing where none was measured."""
    if not axis.has_noiseless:
        return
    axes.axvline(axis.edge, color=GREY, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.annotate(
        "no noise",
        (float(axis.place(np.array([np.inf]))[0]), 1),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        fontsize=SMALL_POINTS,
        color=GREY,
    )


def draw_law(axes: "Axes", axis: DepthAxis, fit: NoiseLawFit, *, colour: str, label: str) -> None:
    """The fitted law, dashed beyond the deepest level: there it is extrapolated."""
    depth = axis.grid()
    bits = noise_law(depth, fit.imax_bits, fit.ubar)
    measured = depth <= axis.deepest if np.isfinite(fit.deepest) else np.full(len(depth), True)
    axes.plot(depth[measured], bits[measured], color=colour, linewidth=2.2, label=label, zorder=3)
    axes.plot(depth[~measured], bits[~measured], color=colour, linewidth=1.8, dashes=(3, 2), zorder=3)


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
