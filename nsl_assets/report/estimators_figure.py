"""The figure that compares estimators: every model's curve by every estimator, one panel a model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from nsl_assets.laws import Curve, levels_of
from nsl_assets.report import canvas
from nsl_assets.report.canvas import DepthAxis
from nsl_assets.report.noise_law_figure import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS_A_ROW: Final = 2
PANEL_INCHES: Final = 3.1
ONLY_MODEL_INCHES: Final = 4.2


def estimators_figure(
    curves: Mapping[str, Mapping[str, Curve]],
    *,
    headline: str,
    title: str,
    truth: Line | None = None,
    ceiling_bits: float | None = None,
) -> bytes:
    """Seed means of all estimators against depth, as PNG bytes (1,280 pixels wide).

    ``curves`` gives the curve by estimator by model; bars span the seeds, the ``headline`` is drawn bold. ``truth``
    is (depth (n,), bits (n,)) where known, ``ceiling_bits`` H(Y).
    """
    everything = [curve for by_estimator in curves.values() for curve in by_estimator.values()]
    axis = canvas.depth_axis(everything, [])
    names = list(dict.fromkeys(name for by_estimator in curves.values() for name in by_estimator))
    n_columns = min(PANELS_A_ROW, len(curves))
    n_rows = -(-len(curves) // n_columns)
    height = 1.2 + n_rows * (PANEL_INCHES if n_columns > 1 else ONLY_MODEL_INCHES)
    figure = canvas.new_figure(height)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, (model, by_estimator) in zip(panels, curves.items(), strict=False):
        canvas.style(panel, axis)
        canvas.mark_noiseless(panel, axis)
        panel.set_title(model, fontsize=canvas.TEXT_POINTS, loc="left")
        _draw_references(panel, truth, ceiling_bits)
        for name, curve in by_estimator.items():
            _draw(panel, axis, curve, place=names.index(name), name=name, is_headline=name == headline)
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    for panel in panels:
        panel.label_outer()
    figure.text(0.02, 1 - 0.12 / height, title, fontsize=canvas.TITLE_POINTS, fontweight="bold", va="top")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.01, 1 - 0.42 / height), ncols=3,
        frameon=False, fontsize=canvas.SMALL_POINTS,
    )  # fmt: skip
    figure.subplots_adjust(left=0.09, right=0.985, bottom=0.62 / height, top=1 - 1.3 / height, hspace=0.22, wspace=0.06)
    return canvas.png_of(figure)


def _draw_references(panel: "Axes", truth: Line | None, ceiling_bits: float | None) -> None:
    if truth is not None:
        order = np.argsort(truth[0])
        panel.plot(
            truth[0][order], truth[1][order], color=canvas.BLACK, linestyle=(0, (1, 1)), linewidth=2, label="truth"
        )
    if ceiling_bits is not None:
        panel.axhline(ceiling_bits, color=canvas.GREY, linewidth=1.4, label="ceiling H(Y)")


def _draw(panel: "Axes", axis: DepthAxis, curve: Curve, *, place: int, name: str, is_headline: bool) -> None:
    """Seed means joined by a line, with the range of the seeds."""
    levels = levels_of(curve)
    depth, look = axis.place(levels.depth), place % len(canvas.MODEL_COLOURS)
    low, high = np.nanmin(levels.by_seed_bits, axis=1), np.nanmax(levels.by_seed_bits, axis=1)
    colour = canvas.MODEL_COLOURS[look]
    panel.vlines(depth, low, high, color=colour, linewidth=1.2, alpha=0.6)
    panel.plot(
        depth, levels.mean_bits, marker=canvas.MODEL_MARKERS[look], markersize=5, color=colour,
        linewidth=2.6 if is_headline else 1.2, label=f"{name} (headline)" if is_headline else name,
        zorder=4 if is_headline else 3,
    )  # fmt: skip
