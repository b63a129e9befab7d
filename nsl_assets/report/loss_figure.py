"""The loss curves of one model on one cell of the grid: training and validation, one pair of lines a seed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.report import canvas
from nsl_assets.report.drawn import Drawn, Marks, file_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Losses = Mapping[str, Sequence[float]]
HEIGHT_INCHES: Final = 3.6
KINDS: Final = (("train_loss", ":", "training"), ("validation_loss", "-", "validation"))
NOTE: Final = (
    "Dotted: training loss, solid: validation loss, one pair of lines a seed. The ring is the lowest validation loss, "
    "whose weights are kept. Losses as the model reports them."
)


def loss_picture(by_seed: Mapping[int, Losses], *, title: str) -> bytes:
    """The figure as PNG bytes, 1,280 pixels wide."""
    return loss_figure(by_seed, title=title).png()


def loss_figure(by_seed: Mapping[int, Losses], *, title: str, task: str = "", model: str = "") -> Drawn:
    """Losses against epoch or evaluation.

    ``by_seed`` gives the curves `train_loss` and `validation_loss` of each seed; the lowest validation loss, whose
    weights are kept, is marked. Losses are drawn as the model reports them.
    """
    figure = canvas.new_figure(HEIGHT_INCHES)
    axes = figure.subplots()
    marks: dict[str, Marks] = {}
    for place, (seed, losses) in enumerate(by_seed.items()):
        marks |= _draw(axes, losses, seed=seed, colour=canvas.MODEL_COLOURS[place % len(canvas.MODEL_COLOURS)])
    canvas.label(axes, "epoch or evaluation", "loss")
    canvas.tidy(axes)
    canvas.write_title(axes, title)
    canvas.write_key(figure, axes, n_columns=2)
    return Drawn(
        name=file_name("loss", title), title=title, figure=figure, caption="",
        records=_records(by_seed, task=task, model=model), marks=marks, task=task, model=model,
    )  # fmt: skip


def _draw(axes: "Axes", losses: Losses, *, seed: int, colour: str) -> dict[str, Marks]:
    marks = {}
    for name, style, label in KINDS:
        values = np.asarray(losses.get(name, ()), dtype=float)
        if values.size:
            gid = f"{label}-{seed}"
            axes.plot(
                1 + np.arange(values.size), values, style, marker=".", markersize=3.5, color=colour,
                label=f"{label}, seed {seed}", gid=gid,
            )  # fmt: skip
            marks[gid] = Marks(tuple(f"{label}, seed {seed}, {n}: {v:.4g}" for n, v in enumerate(values, start=1)))
    if validation := np.asarray(losses.get("validation_loss", ()), dtype=float).tolist():
        best = int(np.argmin(validation))
        axes.plot(1 + best, validation[best], "o", color=colour, markersize=7, markerfacecolor="white")
    return marks


def _records(by_seed: Mapping[int, Losses], **names: str) -> list[dict[str, Any]]:
    return [
        {**names, "seed": seed, "curve": name, "step": step, "loss": float(value)}
        for seed, losses in by_seed.items()
        for name, values in losses.items()
        for step, value in enumerate(values, start=1)
    ]
