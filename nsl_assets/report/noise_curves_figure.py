"""All models of one task in one frame, each with its law and its band (the paper's Figure 2c)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.laws import FittedCurve, noise_law_band
from nsl_assets.report import canvas
from nsl_assets.report.canvas import DepthAxis, Look
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.numbers import bits_text
from nsl_assets.report.points import depth_tip, draw_means, mean_tips, point_records, try_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRUTH_LOOK: Final[dict[str, Any]] = {"color": canvas.BLACK, "linestyle": (0, (1, 1))}
CEILING_LOOK: Final[dict[str, Any]] = {"color": canvas.GREY, "linestyle": "-"}
NOTE: Final = (
    "Largest training size of each model. Points: seed means, with bars from the lowest to the highest seed. Lines: "
    "the fitted noise law, dashed beyond the deepest level. Bands: all curves that the data allow. Point at a marker "
    "for its numbers."
)


def noise_curves_figure(curves: Sequence[FittedCurve], looks: Mapping[str, Look]) -> Drawn:
    """Information against depth of every model of one task; curves without a law show their points only."""
    first = curves[0].measured
    figure = canvas.new_figure()
    axes = figure.subplots()
    axis = canvas.depth_axis([one.measured.curve for one in curves], [])
    canvas.style(axes, axis)
    canvas.mark_noiseless(axes, axis)
    _draw_references(axes, curves)
    marks: dict[str, Marks] = {}
    for place, one in enumerate(curves):
        marks |= _draw_model(axes, axis, one, looks[one.measured.model], place)
    canvas.write_title(axes, f"{first.task}: information against depth")
    canvas.write_key(figure, axes)
    unfitted = [f"{one.measured.model}: {one.problem}" for one in curves if one.fit is None]
    return Drawn(
        name=file_name("noise-curves", first.task),
        title=f"{first.task}: information against depth",
        figure=figure,
        caption=f"Without a law, {'; '.join(unfitted)}" if unfitted else "",
        records=[row for one in curves for row in point_records(one.measured)],
        marks=marks,
        task=first.task,
    )


def _draw_references(axes: "Axes", curves: Sequence[FittedCurve]) -> None:
    truths = [one.measured.truth for one in curves if one.measured.truth is not None]
    ceilings = [one.measured.ceiling_bits for one in curves if one.measured.ceiling_bits is not None]
    if truths:
        order = np.argsort(truths[0][0])
        axes.plot(truths[0][0][order], truths[0][1][order], linewidth=2, label="truth", **TRUTH_LOOK)
    if ceilings:
        axes.axhline(max(ceilings), linewidth=1.3, label="ceiling H(Y)", **CEILING_LOOK)


def _draw_model(axes: "Axes", axis: DepthAxis, one: FittedCurve, look: Look, place: int) -> dict[str, Marks]:
    model, curve = one.measured.model, one.measured.curve
    marks: dict[str, Marks] = {}
    if one.fit is not None:
        depth, band = axis.grid(), f"band-{place}"
        low, high = noise_law_band(curve, one.fit, depth)
        axes.fill_between(depth, low, high, color=look.colour, alpha=0.13, linewidth=0, gid=band)
        lines = canvas.draw_law(axes, axis, one.fit, colour=look.colour, label="", gid=f"law-{place}")
        marks |= {gid: Marks(model=model) for gid in (band, *lines)}
    axes.plot([], [], look.marker, linestyle="-", color=look.colour, markersize=5.5, label=canvas.short(model))
    return marks | {f"points-{place}": Marks(_draw_points(axes, axis, one, look, gid=f"points-{place}"), model)}


def _draw_points(axes: "Axes", axis: DepthAxis, one: FittedCurve, look: Look, *, gid: str) -> tuple[str, ...]:
    """Seed means, or raw points with too few levels for them; and what is said of each."""
    model, curve = one.measured.model, one.measured.curve
    levels = try_levels(one.measured)
    if levels is not None:
        draw_means(axes, axis, levels, look, gid=gid)
        return mean_tips(levels, model)
    axes.plot(axis.place(curve.depth), curve.mi_bits, look.marker, color=look.colour, markersize=5.5, gid=gid)
    return tuple(
        f"{model}: {bits_text(bits)} bits at {depth_tip(depth)}, seed {seed}"
        for bits, depth, seed in zip(curve.mi_bits, curve.depth, curve.seed, strict=True)
    )
