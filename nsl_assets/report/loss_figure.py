"""The loss curves of one model on one cell of the grid: training and validation, one pair of lines a seed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from nsl_assets.report import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Losses = Mapping[str, Sequence[float]]
HEIGHT_INCHES: Final = 3.6


def loss_figure(by_seed: Mapping[int, Losses], *, title: str) -> bytes:
    """Losses against epoch or evaluation, as PNG bytes (1,280 pixels wide).

    ``by_seed`` gives the curves `train_loss` and `validation_loss` of each seed; the lowest validation loss, whose
    weights are kept, is marked. Losses are drawn as the model reports them.
    """
    figure = canvas.new_figure(HEIGHT_INCHES)
    axes = figure.add_axes((0.1, 0.17, 0.87, 0.68))
    figure.text(0.02, 0.97, title, fontsize=canvas.TITLE_POINTS, fontweight="bold", va="top")
    for place, (seed, losses) in enumerate(by_seed.items()):
        _draw(axes, losses, seed=seed, colour=canvas.MODEL_COLOURS[place % len(canvas.MODEL_COLOURS)])
    axes.set_xlabel("epoch or evaluation", fontsize=canvas.TEXT_POINTS)
    axes.set_ylabel("loss", fontsize=canvas.TEXT_POINTS)
    axes.tick_params(labelsize=canvas.SMALL_POINTS)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=canvas.SMALL_POINTS, frameon=False, ncols=2)
    return canvas.png_of(figure)


def _draw(axes: "Axes", losses: Losses, *, seed: int, colour: str) -> None:
    for name, style, label in (("train_loss", ":", "training"), ("validation_loss", "-", "validation")):
        values = np.asarray(losses.get(name, ()), dtype=float)
        if values.size:
            axes.plot(1 + np.arange(values.size), values, style, color=colour, label=f"{label}, seed {seed}")
    if validation := np.asarray(losses.get("validation_loss", ()), dtype=float).tolist():
        best = int(np.argmin(validation))
        axes.plot(1 + best, validation[best], "o", color=colour, markersize=7, markerfacecolor="white")
