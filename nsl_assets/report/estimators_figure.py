"""One model's curve by every estimator."""

from collections.abc import Sequence
from typing import Final

from nsl_assets.laws import MeasuredCurve
from nsl_assets.report import canvas
from nsl_assets.report.canvas import looks_of
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.points import draw_means, mean_tips, point_records, try_levels

NOTE: Final = (
    "The same embeddings, measured by every estimator of the study; the headline, which is fitted, is bold. How far "
    "the headline can be trusted: the calibration above."
)


def estimators_figure(curves: Sequence[MeasuredCurve], headline: str) -> Drawn:
    """Seed means by all estimators against depth, for one task, model and training size."""
    first = curves[0]
    looks = looks_of([headline, *(one.estimator for one in curves)])
    figure = canvas.new_figure()
    axes = figure.subplots()
    axis = canvas.depth_axis([one.curve for one in curves], [])
    canvas.style(axes, axis)
    canvas.mark_noiseless(axes, axis)
    if first.ceiling_bits is not None:
        axes.axhline(first.ceiling_bits, color=canvas.GREY, linewidth=1.3, label="ceiling H(Y)")
    marks = {}
    for place, one in enumerate(curves):
        levels = try_levels(one)
        if levels is None:
            continue
        look, is_headline = looks[one.estimator], one.estimator == headline
        draw_means(axes, axis, levels, look, gid=f"estimator-{place}")
        axes.plot(
            axis.place(levels.depth), levels.mean_bits, color=look.colour, linewidth=2.4 if is_headline else 1.1,
        )  # fmt: skip
        name = canvas.plain(f"{one.estimator} (headline)" if is_headline else one.estimator)
        axes.plot([], [], look.marker, linestyle="-", color=look.colour, markersize=5.5, label=name)
        marks[f"estimator-{place}"] = Marks(mean_tips(levels, one.estimator))
    title = f"{first.task} · {first.model}: estimators"
    canvas.write_title(axes, title)
    canvas.write_key(figure, axes)
    return Drawn(
        name=file_name("estimators", first.task, first.model),
        title=title,
        figure=figure,
        caption="",
        records=[row for one in curves for row in point_records(one)],
        marks=marks,
        task=first.task,
        model=first.model,
    )
