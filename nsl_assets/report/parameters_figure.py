"""One parameter of all models and tasks side by side, with intervals (the paper's Figures 2f and B1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.report import canvas
from nsl_assets.report.canvas import Look
from nsl_assets.report.drawn import Drawn, Marks
from nsl_assets.report.numbers import with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES: Final = 0.235
FRAME_INCHES: Final = 1.15
WIDEST_DECADES: Final = 6.0
BEYOND: Final = 3.0
"""Open intervals and far values are drawn as arrows this factor beyond the closed ones."""


@dataclass(frozen=True)
class Estimate:
    """One value with its interval; open ends are 0 or infinite."""

    task: str
    model: str
    value: float
    low: float
    high: float


def parameters_figure(
    estimates: Sequence[Estimate],
    looks: Mapping[str, Look],
    *,
    name: str,
    title: str,
    label: str,
    is_log: bool,
    write: Callable[[float], str],
    caption: str,
    reference: float | None = None,
) -> Drawn:
    """A line a model, grouped by task: the estimate, its interval, an arrow where the interval is open.

    ``label`` names the axis with its unit; ``reference`` draws a line at a value to compare with.
    """
    tasks = list(dict.fromkeys(one.task for one in estimates))
    n_rows = len(estimates) + len(tasks)
    figure = canvas.new_figure(FRAME_INCHES + ROW_INCHES * n_rows)
    axes = figure.subplots()
    low, high = _range(estimates, is_log=is_log)
    if is_log:
        axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(n_rows - 0.4, -0.6)
    if reference is not None:
        axes.axvline(reference, color=canvas.GREY, linewidth=1.1, linestyle=(0, (4, 3)))
    places, names, marks = _draw_rows(axes, estimates, tasks, looks, write)
    axes.set_yticks(places, labels=names, fontsize=canvas.SMALL_POINTS)
    if is_log:
        canvas.log_ticks(axes.xaxis, low, high)
    canvas.label(axes, label, "")
    canvas.tidy(axes)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    canvas.write_title(axes, title)
    return Drawn(name=name, title=title, figure=figure, caption=caption, records=_records(estimates, name), marks=marks)


def _draw_rows(
    axes: "Axes",
    estimates: Sequence[Estimate],
    tasks: Sequence[str],
    looks: Mapping[str, Look],
    write: Callable[[float], str],
) -> tuple[list[int], list[str], dict[str, Marks]]:
    places, names, marks = [], [], {}
    row = 0
    for task in tasks:
        axes.text(
            0.012, row, canvas.plain(task), transform=axes.get_yaxis_transform(), va="center", fontweight="bold",
            fontsize=canvas.SMALL_POINTS, color=canvas.BLACK,
        )  # fmt: skip
        for one in (estimate for estimate in estimates if estimate.task == task):
            row += 1
            gid = f"row-{row}"
            _draw_estimate(axes, one, row, looks[one.model], gid)
            places.append(row)
            names.append(canvas.short(one.model))
            text = with_interval(one.value, one.low, one.high, write)
            marks[gid] = Marks((f"{task}, {one.model}: {text}",), one.model)
            marks[f"{gid}-bar"] = Marks(model=one.model)
        row += 1
    return places, names, marks


def _draw_estimate(axes: "Axes", one: Estimate, row: int, look: Look, gid: str) -> None:
    low, high = axes.get_xlim()
    left, right = float(np.clip(one.low, low, high)), float(np.clip(one.high, low, high))
    axes.plot([left, right], [row, row], color=look.colour, linewidth=2, solid_capstyle="butt", gid=f"{gid}-bar")
    for is_open, place, marker in ((one.low < low, low, "<"), (one.high > high, high, ">")):
        if is_open:
            axes.plot(place, row, marker, color=look.colour, markersize=6, clip_on=False)
    place = float(np.clip(one.value, low, high))
    is_inside = low <= one.value <= high
    axes.plot(
        place, row, look.marker, color=look.colour, markersize=6.5, markeredgecolor="white",
        alpha=1.0 if is_inside else 0.0, zorder=5, gid=gid,
    )  # fmt: skip


def _range(estimates: Sequence[Estimate], *, is_log: bool) -> tuple[float, float]:
    """An axis that shows all closed ends, and values whose intervals are open."""
    ends = np.array([[one.low, one.value, one.high] for one in estimates])
    if not is_log:
        shown = ends[np.isfinite(ends) & (np.abs(ends) < 10 * max(float(np.nanmedian(ends[:, 1])), 1e-3) + 10)]
        margin = 0.06 * max(float(np.ptp(shown)), 0.1)
        return float(shown.min()) - margin, float(shown.max()) + margin
    closed = (ends[:, 0] > 0) & np.isfinite(ends[:, 2])
    core = ends[closed] if closed.any() else ends[:, 1:2][ends[:, 1:2] > 0]
    centre = float(np.median(np.log10(core))) if core.size else 0.0
    reach = 10.0 ** (centre + np.array([-WIDEST_DECADES, WIDEST_DECADES]) / 2)
    near = core[(core > reach[0]) & (core < reach[1])]
    inside = near if near.size else reach
    return float(inside.min()) / BEYOND, float(inside.max()) * BEYOND


def _records(estimates: Sequence[Estimate], name: str) -> list[dict[str, Any]]:
    return [
        {"parameter": name, "task": one.task, "model": one.model, "value": one.value, "low": one.low, "high": one.high}
        for one in estimates
    ]
