"""The section of models that were trained at one depth and probed at another."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from nsl_assets.report.blocks import (
    Block,
    Cell,
    Gallery,
    PageTable,
    Paragraph,
    Row,
    Section,
    interval_cell,
    number_cell,
    text_cell,
)
from nsl_assets.report.content import ReportContent
from nsl_assets.report.drawn import Drawn
from nsl_assets.report.noise_matrix import NoiseMatrix, PairedDifference
from nsl_assets.report.noise_matrix_figure import bits_range, difference_record, difference_text, noise_matrix_figure
from nsl_assets.report.numbers import bits_text, count_text, depth_text

WHAT: Final = (
    "Every model was also probed at other noise levels than that of its training: what becomes of a model when the "
    "cells that it is used on are sequenced less, or more, deeply than those that it learned from. A model is always "
    "compared with the one that was trained at the depth of the probe, on the same cells and seeds."
)
FIGURE_NOTE: Final = (
    "Means over seeds; rows: depth of training, columns: depth of the probe, both UMIs per cell. Framed: trained and "
    "probed at the same depth. The colours of a task's models are on one scale; “–” was not measured."
)
INTERVAL_NOTE: Final = (
    "Differences are taken seed by seed; intervals: 95 %, Student's t over seeds, bold where 0 is outside. Seeds share "
    "the probe cells, so the interval says how far other draws of noise, training cells and weights would go."
)


def noise_matrix_section(content: ReportContent) -> Section | None:
    """Pictures and tables of crossed noise levels; None where nothing was crossed."""
    if not content.noise_matrices:
        return None
    tables = (_deep_table(content.noise_matrices), _shallow_table(content.noise_matrices))
    blocks: list[Block] = [
        Paragraph(WHAT),
        Gallery("Bits by depth of training and of the probe", _figures(content.noise_matrices), FIGURE_NOTE),
        *(table for table in tables if table is not None),
    ]
    return Section("train-probe", "Trained at one depth, probed at another", blocks)


def _figures(matrices: Sequence[NoiseMatrix]) -> list[Drawn]:
    """One picture of each task and model, at its largest training size."""
    largest: dict[tuple[str, str], NoiseMatrix] = {}
    for one in sorted(matrices, key=lambda one: one.n_cells):
        largest[one.task, one.model] = one
    shown = [one for one in matrices if largest[one.task, one.model] is one]
    ends = {task: bits_range([one for one in shown if one.task == task]) for task in {one.task for one in shown}}
    return [noise_matrix_figure(one, ends[one.task], _caption(one)) for one in shown]


def _caption(matrix: NoiseMatrix) -> str:
    """What the two corners say: trained deep and probed shallow, and the reverse."""
    deepest, shallowest = matrix.levels[0], matrix.levels[-1]
    sentences = [_sentence(matrix, deepest, shallowest), _sentence(matrix, shallowest, deepest)]
    return " ".join(filter(None, sentences))


def _sentence(matrix: NoiseMatrix, train: float, probe: float) -> str:
    difference = matrix.difference(train, probe)
    if difference is None or train == probe:
        return ""
    trained, probed = (depth_text(matrix.umis_per_cell[level]) for level in (train, probe))
    return (
        f"Trained at {trained} and probed at {probed} UMIs per cell: {bits_text(matrix.mean_bits(train, probe))} bits,"
        f" where the model trained there has {bits_text(matrix.mean_bits(probe, probe))}; difference"
        f" {difference_text(difference)}."
    )


def _deep_table(matrices: Sequence[NoiseMatrix]) -> PageTable | None:
    """At each depth of the probe: the model trained there, and the one trained at full depth."""
    return _table(
        matrices,
        name="trained-at-full-depth",
        title="Trained at full depth, probed at each depth",
        depth="probed at (UMIs per cell)",
        crossed="trained at full depth (bits)",
        matched="trained at the depth of the probe (bits)",
        places=lambda one: [(one.levels[0], probe) for probe in one.levels[1:]],
        varies=1,
    )


def _shallow_table(matrices: Sequence[NoiseMatrix]) -> PageTable | None:
    """At full depth of the probe: the models of each depth of training, and the one trained at full depth."""
    return _table(
        matrices,
        name="probed-at-full-depth",
        title="Trained at each depth, probed at full depth",
        depth="trained at (UMIs per cell)",
        crossed="trained at this depth (bits)",
        matched="trained at full depth (bits)",
        places=lambda one: [(train, one.levels[0]) for train in one.levels[1:]],
        varies=0,
    )


def _table(
    matrices: Sequence[NoiseMatrix],
    *,
    name: str,
    title: str,
    depth: str,
    crossed: str,
    matched: str,
    places: Callable[[NoiseMatrix], Sequence[tuple[float, float]]],
    varies: int,
) -> PageTable | None:
    """One line for each place (train, probe) with a difference; `varies` says which of both the lines differ in."""
    found = [
        (one, place, difference)
        for one in matrices
        for place in places(one)
        if (difference := one.difference(*place)) is not None
    ]
    if not found:
        return None
    columns = ("task", "model", "cells", depth, crossed, matched, "difference (bits)")
    rows = [_row(one, place, difference, place[varies]) for one, place, difference in found]
    records = [_record(one, place, difference) for one, place, difference in found]
    return PageTable(name, title, columns, rows, records, INTERVAL_NOTE)


def _row(one: NoiseMatrix, place: tuple[float, float], difference: PairedDifference, level: float) -> Row:
    probe = place[1]
    shown = interval_cell(difference_text(difference), difference.bits)
    cells = (
        text_cell(one.task),
        text_cell(one.model),
        number_cell(one.n_cells, count_text),
        number_cell(one.umis_per_cell[level], depth_text),
        number_cell(one.mean_bits(*place), bits_text),
        number_cell(one.mean_bits(probe, probe), bits_text),
        Cell(shown.text, shown.value, is_strong=difference.is_clear),
    )
    return Row(cells, one.task, one.model)


def _record(one: NoiseMatrix, place: tuple[float, float], difference: PairedDifference) -> dict[str, Any]:
    train, probe = place
    return {
        "task": one.task,
        "model": one.model,
        "n_cells": one.n_cells,
        "train_umis_per_cell": one.umis_per_cell[train],
        "probe_umis_per_cell": one.umis_per_cell[probe],
        "mean_bits": one.mean_bits(train, probe),
        "matched_mean_bits": one.mean_bits(probe, probe),
        **difference_record(difference),
    }
