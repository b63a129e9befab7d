"""Bits of one model as a picture: a row for each depth of training, a column for each depth of the probe."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nsl_assets.report import canvas
from nsl_assets.report.drawn import Drawn, Marks, file_name
from nsl_assets.report.noise_matrix import NoiseMatrix, PairedDifference
from nsl_assets.report.numbers import bits_text, depth_text, signed_bits_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_WRITTEN: Final = 12
"""Levels up to which there is room to write the bits into the picture."""
LONGEST_LEVEL_TICKS: Final = 30
"""Characters of all depths together that fit below the columns without being turned."""
LIGHT_FROM: Final = 0.55
"""Place on the colour scale from which text is dark."""
MISSING_COLOUR: Final = "#ECECEC"

Range = tuple[float, float]


def bits_range(matrices: Sequence[NoiseMatrix]) -> Range:
    """Ends of a colour scale that pictures share: from 0, or the lowest value below it."""
    means = [one.mean_bits(*place) for one in matrices for place in one.bits if one.has(*place)]
    return min(0.0, *means), max(0.05, *means)


def noise_matrix_figure(matrix: NoiseMatrix, ends: Range, caption: str) -> Drawn:
    """Seed means with the matched models framed; what was not measured is grey."""
    levels = matrix.levels[::-1]
    means = np.array([[matrix.mean_bits(train, probe) for probe in levels] for train in levels])
    figure = canvas.new_figure(4.4)
    axes = figure.subplots()
    axes.set_facecolor(MISSING_COLOUR)
    edges = np.arange(len(levels) + 1) - 0.5
    drawn = axes.pcolormesh(
        edges, edges, np.ma.masked_invalid(means), cmap="cividis", vmin=ends[0], vmax=ends[1],
        edgecolors="white", linewidth=1.0,
    )  # fmt: skip
    if len(levels) <= MOST_WRITTEN:
        _write_bits(axes, means, ends)
    _frame_matched(axes, len(levels))
    marks = _mark_cells(axes, matrix, levels)
    _name_levels(axes, [depth_text(matrix.umis_per_cell[level]) for level in levels])
    title = f"{matrix.task} · {matrix.model}: {matrix.n_cells:,} cells"
    canvas.write_title(axes, title)
    bar = figure.colorbar(drawn, ax=axes, format="%.1f", aspect=30, pad=0.02)
    bar.set_label("mutual information (bits)", fontsize=canvas.TEXT_POINTS)
    bar.ax.tick_params(labelsize=canvas.SMALL_POINTS)
    return Drawn(
        name=file_name("train-probe", matrix.task, matrix.model),
        title=f"{title}, trained at one depth and probed at another",
        figure=figure,
        caption=caption,
        records=matrix_records(matrix),
        marks=marks,
        task=matrix.task,
        model=matrix.model,
    )


def _write_bits(axes: "Axes", means: Any, ends: Range) -> None:
    for row, column in np.ndindex(means.shape):
        bits = float(means[row, column])
        is_light = math.isnan(bits) or (bits - ends[0]) / (ends[1] - ends[0]) > LIGHT_FROM
        axes.text(
            column, row, "–" if math.isnan(bits) else bits_text(bits), ha="center", va="center",
            fontsize=canvas.SMALL_POINTS, color=canvas.BLACK if is_light else "white",
        )  # fmt: skip


def _frame_matched(axes: "Axes", n_levels: int) -> None:
    """A frame around each model that was probed at the level of its training."""
    from matplotlib.patches import Rectangle

    for place in range(n_levels):
        frame = Rectangle(
            (place - 0.46, place - 0.46), 0.92, 0.92, fill=False, edgecolor=canvas.VERMILION, linewidth=2.0
        )
        axes.add_patch(frame)


def _mark_cells(axes: "Axes", matrix: NoiseMatrix, levels: Sequence[float]) -> Mapping[str, Marks]:
    """Markers that cannot be seen, for what is said of each cell."""
    places = [(row, column) for row, column in product(range(len(levels)), repeat=2)]
    rows, columns = zip(*places, strict=True)
    axes.plot(columns, rows, "s", markersize=12, alpha=0.0, gid="cells")
    return {"cells": Marks(tuple(_tip(matrix, levels[row], levels[column]) for row, column in places))}


def _tip(matrix: NoiseMatrix, train: float, probe: float) -> str:
    depths = [depth_text(matrix.umis_per_cell[level]) for level in (train, probe)]
    where = f"trained at {depths[0]}, probed at {depths[1]} UMIs per cell"
    if not matrix.has(train, probe):
        return f"{where}: not measured"
    text = f"{where}: {bits_text(matrix.mean_bits(train, probe))} bits"
    difference = matrix.difference(train, probe)
    if difference is None or train == probe:
        return text
    return f"{text}, {difference_text(difference)} against the model trained there"


def difference_text(difference: PairedDifference) -> str:
    """A difference with its interval: −0.52 (−0.64 to −0.40)."""
    text = signed_bits_text(difference.bits)
    if difference.low_bits is None or difference.high_bits is None:
        return f"{text} (one seed)"
    return f"{text} ({signed_bits_text(difference.low_bits)} to {signed_bits_text(difference.high_bits)})"


def _name_levels(axes: "Axes", names: Sequence[str]) -> None:
    is_turned = sum(map(len, names)) > LONGEST_LEVEL_TICKS
    axes.set_xticks(range(len(names)), names, rotation=45 if is_turned else 0, ha="right" if is_turned else "center")
    axes.set_yticks(range(len(names)), names)
    canvas.label(axes, "probed at (UMIs per cell)", "trained at (UMIs per cell)")
    canvas.tidy(axes)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)


def matrix_records(matrix: NoiseMatrix) -> list[dict[str, Any]]:
    """Every measured cell of a matrix, for a data file."""
    records = []
    for train, probe in product(matrix.levels, repeat=2):
        if matrix.has(train, probe):
            bits = list(matrix.bits[train, probe].values())
            difference = matrix.difference(train, probe)
            records.append(
                {
                    "task": matrix.task,
                    "model": matrix.model,
                    "n_cells": matrix.n_cells,
                    "train_level": train,
                    "probe_level": probe,
                    "train_umis_per_cell": matrix.umis_per_cell[train],
                    "probe_umis_per_cell": matrix.umis_per_cell[probe],
                    "n_seeds": len(bits),
                    "mean_bits": matrix.mean_bits(train, probe),
                    "sd_bits": float(np.std(bits, ddof=1)) if len(bits) > 1 else None,
                    **difference_record(difference),
                }
            )
    return records


def difference_record(difference: PairedDifference | None) -> dict[str, Any]:
    """The difference to the matched model by column; empty where there is none."""
    if difference is None:
        return dict.fromkeys(("difference_bits", "difference_low_bits", "difference_high_bits", "n_paired_seeds"))
    return {
        "difference_bits": difference.bits,
        "difference_low_bits": difference.low_bits,
        "difference_high_bits": difference.high_bits,
        "n_paired_seeds": difference.n_seeds,
    }
