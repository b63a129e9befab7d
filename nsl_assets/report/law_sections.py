"""The sections of the noise law and of the cell-number law."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from nsl_assets.laws import FittedCells, FittedCurve
from nsl_assets.report.blocks import (
    Block,
    Gallery,
    PageTable,
    Paragraph,
    Row,
    Section,
    interval_cell,
    number_cell,
    text_cell,
)
from nsl_assets.report.canvas import Look
from nsl_assets.report.cell_number_figure import NOTE as CELL_NUMBER_NOTE
from nsl_assets.report.cell_number_figure import cell_number_figure
from nsl_assets.report.collapse_figures import cell_number_collapse_figure, noise_collapse_figure
from nsl_assets.report.content import ReportContent
from nsl_assets.report.drawn import Drawn
from nsl_assets.report.noise_curves_figure import NOTE as NOISE_CURVES_NOTE
from nsl_assets.report.noise_curves_figure import noise_curves_figure
from nsl_assets.report.noise_law_figure import noise_law_figure
from nsl_assets.report.numbers import (
    bits_text,
    count_text,
    depth_text,
    interval_label,
    probability_text,
    with_interval,
)
from nsl_assets.report.parameters_figure import Estimate, parameters_figure
from nsl_assets.report.residual_figure import NOTE as RESIDUAL_NOTE
from nsl_assets.report.residual_figure import residual_figure
from nsl_assets.report.selection import by_model, largest, tasks_of

Looks = Mapping[str, Look]
ONE_SIZE: Final = "Curves over training cells need at least two training sizes, the cell-number law four. {how}"
HOW_SIZES: Final = {
    "study": "Give the study more: `sizes = [...]` in its file, or `nsl run --sizes 6`.",
    "table": "Add rows of other sizes, with a column `n_cells`.",
}
OPEN: Final = "Arrows: the data leave that side of the interval open, or it lies beyond the axis."


def depth_section(content: ReportContent, looks: Looks) -> Section:
    """Information against depth: curves, laws, depth table, collapse, parameters, lack of fit."""
    shown = largest(content.curves)
    of_task = [[one for one in shown if one.measured.task == task] for task in tasks_of(content)]
    blocks: list[Block] = [
        Gallery(
            "Information against depth, all models",
            [noise_curves_figure(curves, looks) for curves in of_task],
            NOISE_CURVES_NOTE,
        ),
        depth_table(shown),
        Gallery("Each law, annotated", [noise_law_figure(one) for one in shown]),
    ]
    collapse = noise_collapse_figure(content.curves, looks)
    fitted = [one for one in shown if one.fit is not None]
    figures = [*([] if collapse is None else [collapse]), *(_noise_parameters(fitted, looks) if fitted else [])]
    if figures:
        blocks.append(Gallery("One law for all curves, and its parameters", figures))
    residuals = [figure for curves in of_task if (figure := residual_figure(curves, looks)) is not None]
    if residuals:
        blocks += [Gallery("Lack of fit", residuals, RESIDUAL_NOTE), fit_table(content.curves)]
    if len(shown) < len(content.curves):
        blocks.append(
            depth_table(content.curves, name="noise-law-all-sizes", title="The noise law at every training size")
        )
    return Section("depth", "Depth: how deep is deep enough", blocks)


def depth_table(
    curves: Sequence[FittedCurve], *, name: str = "noise-law", title: str = "Depth needed by each model"
) -> PageTable:
    """Imax, ū and target depth of each curve (the paper's Table C1)."""
    fits = [one.fit for one in curves if one.fit is not None]
    targets = sorted({fit.target_label for fit in fits})
    kinds = sorted({interval_label(fit) for fit in fits})
    target = targets[0] if len(targets) == 1 else "the target"
    return PageTable(
        name=name,
        title=title,
        columns=("task", "model", "cells", "Imax (bits)", "ū (UMIs per cell)", f"UMIs per cell for {target}", "flags"),
        rows=[_depth_row(one) for one in curves],
        records=[_law_record(one) for one in curves],
        note=f"In brackets: {' or '.join(kinds)} intervals. ≥ and ≤: the data leave the other side open."
        if fits
        else "",
    )


def _depth_row(one: FittedCurve) -> Row:
    names = _name_cells(one)
    fit = one.fit
    if fit is None:
        dash = text_cell("–")
        cells = (*names, dash, dash, dash, text_cell(one.problem))
    else:
        cells = (
            *names,
            interval_cell(
                with_interval(fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits, bits_text), fit.imax_bits
            ),
            interval_cell(with_interval(fit.ubar, fit.ubar_low, fit.ubar_high, depth_text), fit.ubar),
            interval_cell(
                with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text),
                fit.target_depth,
            ),
            text_cell(", ".join(fit.flags) or "–"),
        )
    return Row(cells, one.measured.task, one.measured.model)


def _name_cells(one: FittedCurve) -> tuple[Any, ...]:
    measured = one.measured
    return (text_cell(measured.task), text_cell(measured.model), number_cell(measured.n_cells, count_text))


def _law_record(one: FittedCurve) -> dict[str, Any]:
    measured = one.measured
    names = {"task": measured.task, "model": measured.model, "n_cells": measured.n_cells}
    names |= {"estimator": measured.estimator, "problem": one.problem}
    return names if one.fit is None else names | asdict(one.fit)


def fit_table(curves: Sequence[FittedCurve]) -> PageTable:
    """How well the noise law fits every curve."""
    fitted = [(one, one.fit) for one in curves if one.fit is not None]
    return PageTable(
        name="lack-of-fit",
        title="How well the noise law fits",
        columns=(
            "task", "model", "cells", "levels", "seeds", "R² of seed means", "R² of points", "residual sd (bits)",
            "autocorrelation", "p of misfit",
        ),
        rows=[
            Row(
                (
                    *_name_cells(one),
                    number_cell(fit.n_levels, count_text),
                    number_cell(fit.n_seeds, count_text),
                    number_cell(fit.r2_seed_means, lambda r: f"{r:.3f}"),
                    number_cell(fit.r2_points, lambda r: f"{r:.3f}"),
                    number_cell(fit.residual_sd_bits, lambda sd: f"{sd:.3f}"),
                    number_cell(fit.residual_autocorrelation, lambda r: f"{r:.2f}".replace("-", "−")),
                    number_cell(fit.lack_of_fit_p, probability_text, absent="n/a"),
                ),
                one.measured.task,
                one.measured.model,
            )
            for one, fit in fitted
        ],
        records=[
            {
                "task": one.measured.task, "model": one.measured.model, "n_cells": one.measured.n_cells,
                "n_levels": fit.n_levels, "n_seeds": fit.n_seeds, "r2_seed_means": fit.r2_seed_means,
                "r2_points": fit.r2_points, "residual_sd_bits": fit.residual_sd_bits,
                "residual_autocorrelation": fit.residual_autocorrelation, "lack_of_fit_p": fit.lack_of_fit_p,
            }
            for one, fit in fitted
        ],
        note="A small p says that the law misses the seed means by more than seeds differ; n/a: that needs two seeds.",
    )  # fmt: skip


def _noise_parameters(fitted: Sequence[FittedCurve], looks: Looks) -> list[Drawn]:
    fits = [(one.measured, one.fit) for one in fitted if one.fit is not None]
    return [
        parameters_figure(
            [Estimate(m.task, m.model, f.imax_bits, f.imax_low_bits, f.imax_high_bits) for m, f in fits],
            looks, name="imax", title="Imax: bits at unlimited depth", label="Imax (bits)", is_log=False,
            write=bits_text, caption=f"Largest training size of each model. {OPEN}",
        ),
        parameters_figure(
            [Estimate(m.task, m.model, f.ubar, f.ubar_low, f.ubar_high) for m, f in fits],
            looks, name="ubar", title="ū: depth scale", label="ū (UMIs per cell)", is_log=True, write=depth_text,
            caption=f"The smaller ū, the fewer UMIs a model needs. Largest training size of each model. {OPEN}",
        ),
    ]  # fmt: skip


def cells_section(content: ReportContent, looks: Looks) -> Section:
    """Information against training cells: curves, collapse, parameters."""
    title = "Cells: would more cells help"
    groups = by_model(content.cells)
    if not groups:
        return Section("cells", title, [Paragraph(ONE_SIZE.format(how=HOW_SIZES[content.kind]), "absent")])
    blocks: list[Block] = [
        Gallery("Information against training cells", [cell_number_figure(group) for group in groups], CELL_NUMBER_NOTE)
    ]
    deepest = [group[0] for group in groups]
    if not any(one.fit for one in content.cells):
        problem = next((one.problem for one in deepest), "")
        return Section("cells", title, [*blocks, Paragraph(f"No cell-number law could be fitted: {problem}", "absent")])
    collapse = cell_number_collapse_figure(content.cells, looks)
    figures = [*([] if collapse is None else [collapse]), *_cell_parameters(deepest, looks)]
    return Section(
        "cells",
        title,
        [*blocks, cells_table(content.cells), Gallery("One law for all curves, and its parameters", figures)],
    )


def cells_table(cells: Sequence[FittedCells]) -> PageTable:
    """The cell-number law at every noise level."""
    fitted = [(one.measured, one.fit) for group in by_model(cells) for one in group if one.fit is not None]
    return PageTable(
        name="cell-number-law",
        title="The cell-number law, I(N) = I∞ − (N/Nsat)⁻ˢ",
        columns=("task", "model", "UMIs per cell", "I∞ (bits)", "Nsat (cells)", "s", "R²", "flags"),
        rows=[
            Row(
                (
                    text_cell(m.task),
                    text_cell(m.model),
                    number_cell(m.depth, depth_text),
                    interval_cell(
                        with_interval(f.i_inf_bits, f.i_inf_low_bits, f.i_inf_high_bits, bits_text), f.i_inf_bits
                    ),
                    interval_cell(with_interval(f.n_sat, f.n_sat_low, f.n_sat_high, depth_text), f.n_sat),
                    interval_cell(with_interval(f.exponent, f.exponent_low, f.exponent_high, _exponent), f.exponent),
                    number_cell(f.r2_seed_means, lambda r: f"{r:.3f}"),
                    text_cell(", ".join(f.flags) or "–"),
                ),
                m.task,
                m.model,
            )
            for m, f in fitted
        ],
        records=[
            {"task": m.task, "model": m.model, "level": m.level, "umis_per_cell": m.depth, **asdict(f)}
            for m, f in fitted
        ],
        note="Nsat: cells at which 1 bit is missing. Curves that do not rise with cells have no Nsat.",
    )


def _exponent(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def _cell_parameters(deepest: Sequence[FittedCells], looks: Looks) -> list[Drawn]:
    fits = [(one.measured, one.fit) for one in deepest if one.fit is not None]
    if not fits:
        return []
    caption = f"At the deepest noise level. {OPEN}"
    return [
        parameters_figure(
            [Estimate(m.task, m.model, f.i_inf_bits, f.i_inf_low_bits, f.i_inf_high_bits) for m, f in fits],
            looks, name="i-inf", title="I∞: bits with unlimited cells", label="I∞ (bits)", is_log=False,
            write=bits_text, caption=caption,
        ),
        parameters_figure(
            [Estimate(m.task, m.model, f.n_sat, f.n_sat_low, f.n_sat_high) for m, f in fits],
            looks, name="nsat", title="Nsat: cells at which 1 bit is missing", label="Nsat (cells)", is_log=True,
            write=depth_text, caption=caption,
        ),
        parameters_figure(
            [Estimate(m.task, m.model, f.exponent, f.exponent_low, f.exponent_high) for m, f in fits],
            looks, name="exponent", title="s: how fast cells help", label="exponent s", is_log=True,
            write=_exponent, caption=caption,
        ),
    ]  # fmt: skip
