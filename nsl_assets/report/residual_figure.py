"""What the noise law misses at each level, in one frame a task."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from nsl_assets.laws import FittedCurve, levels_of, noise_law
from nsl_assets.report import canvas
from nsl_assets.report.canvas import Look
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.numbers import signed_bits_text
from nsl_assets.report.points import depth_tip

HEIGHT_INCHES: Final = 3.4
NOTE: Final = (
    "Seed means less the fitted law. Points that stay on one side over several levels are a misfit of the law; points "
    "that scatter are noise."
)


def residual_figure(curves: Sequence[FittedCurve], looks: Mapping[str, Look]) -> Drawn | None:
    """Residuals of the seed means against depth, all models of one task; None where no law was fitted."""
    fitted = [(one.measured, one.fit) for one in curves if one.fit is not None]
    if not fitted:
        return None
    task = fitted[0][0].task
    figure = canvas.new_figure(HEIGHT_INCHES)
    axes = figure.subplots()
    axis = canvas.depth_axis([measured.curve for measured, _ in fitted], [])
    canvas.style(axes, axis)
    canvas.mark_noiseless(axes, axis)
    axes.axhline(0, color=canvas.GREY, linewidth=1.2)
    marks, records = {}, []
    for place, (measured, fit) in enumerate(fitted):
        levels, look = levels_of(measured.curve), looks[measured.model]
        residuals = levels.mean_bits - noise_law(levels.depth, fit.imax_bits, fit.ubar)
        gid = f"residuals-{place}"
        axes.plot(
            axis.place(levels.depth), residuals, look.marker, linestyle="-", linewidth=0.9, markersize=4.5,
            color=look.colour, label=canvas.short(measured.model), gid=gid,
        )  # fmt: skip
        tips = (
            f"{measured.model}: {signed_bits_text(bits)} bits at {depth_tip(depth)}"
            for bits, depth in zip(residuals, levels.depth, strict=True)
        )
        marks[gid] = Marks(tuple(tips), measured.model)
        records += [
            {"task": task, "model": measured.model, "umis_per_cell": depth, "residual_bits": bits}
            for depth, bits in zip(levels.depth.tolist(), residuals.tolist(), strict=True)
        ]
    reach = 1.15 * max(0.05, float(np.abs([row["residual_bits"] for row in records]).max()))
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("measured − law (bits)", fontsize=canvas.TEXT_POINTS)
    title = f"{task}: what the law misses"
    canvas.write_title(axes, title)
    canvas.write_key(figure, axes)
    return Drawn(
        name=file_name("residuals", task), title=title, figure=figure, caption="", records=records, marks=marks,
        task=task,
    )  # fmt: skip
