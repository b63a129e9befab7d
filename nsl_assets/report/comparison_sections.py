"""The sections of the joint law, of the law's rivals, and of models against each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from nsl_assets.laws import (
    JOINT_FLAGS,
    ComparedLaws,
    ComparedModels,
    Difference,
    FittedSurface,
    JointParameter,
    LawScore,
    ModelComparison,
)
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
from nsl_assets.report.joint_figure import NOTE as JOINT_NOTE
from nsl_assets.report.joint_figure import joint_figure
from nsl_assets.report.numbers import bits_text, count_text, depth_text, factor_text, signed_bits_text

PARAMETERS: Final = {
    "i_inf_bits": ("I∞ (bits)", bits_text),
    "ubar": ("ū (UMIs per cell)", depth_text),
    "n0": ("N0 (cells)", depth_text),
    "exponent": ("s", depth_text),
    "nuisance": ("nuisance k", depth_text),
    "spread": ("spread w", depth_text),
    "cap": ("cap r", depth_text),
    "interaction": ("interaction c", depth_text),
}
"""Parameters of the joint laws: heading and how they are written."""
LAW_NAMES: Final = {
    "noise_law": "noise law (Eq. 1)",
    "law_with_floor": "Eq. 1 with a floor",
    "law_with_free_slope": "Eq. 1 with a free slope",
    "hill": "Hill",
    "michaelis_menten": "Michaelis–Menten",
    "log_linear": "log-linear",
}
SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MUCH_WORSE: Final = 2.0
"""AICc above the best from which a law is worse by more than chance."""


def joint_section(content: ReportContent) -> Section:
    """Depth and cells at once: surfaces, and what the data and the prior decided."""
    title = "Depth and cells together"
    figures = [figure for one in content.surfaces if (figure := joint_figure(one)) is not None]
    if not figures:
        problem = next((one.problem for one in content.surfaces), "it needs at least two training sizes.")
        return Section("joint", title, [Paragraph(f"No joint law over depth and training cells: {problem}", "absent")])
    return Section(
        "joint",
        title,
        [Gallery("Information over depth and cells", figures, JOINT_NOTE), joint_table(content.surfaces)],
    )


def joint_table(surfaces: Sequence[FittedSurface]) -> PageTable:
    """Parameters of the joint law; what the prior decided is marked."""
    fitted = [(one.measured, one.fit) for one in surfaces if one.fit is not None]
    names = list(dict.fromkeys(parameter.name for _, fit in fitted for parameter in fit.parameters))
    return PageTable(
        name="joint-law",
        title="Parameters of the joint law",
        columns=(
            "task", "model", "form", *(PARAMETERS[name][0] for name in names), "R² of grid cells", "residual sd (bits)",
            "flags",
        ),
        rows=[
            Row(
                (
                    text_cell(m.task),
                    text_cell(m.model),
                    text_cell(fit.form),
                    *(_parameter_cell(fit.parameters, name) for name in names),
                    number_cell(fit.r2_grid_cells, lambda r: f"{r:.3f}"),
                    number_cell(fit.residual_sd_bits, lambda sd: f"{sd:.3f}"),
                    text_cell(", ".join(fit.flags) or "–"),
                ),
                m.task,
                m.model,
            )
            for m, fit in fitted
        ],
        records=[
            {
                "task": m.task, "model": m.model, "form": fit.form, **asdict(parameter),
                "r2_grid_cells": fit.r2_grid_cells, "residual_sd_bits": fit.residual_sd_bits, "flags": fit.flags,
            }
            for m, fit in fitted
            for parameter in fit.parameters
        ],
        note=" ".join(
            [
                "† decided by the prior: the data left it nearly as wide as it was.",
                *(f"{flag}: {JOINT_FLAGS[flag]}." for flag in JOINT_FLAGS if any(flag in f.flags for _, f in fitted)),
            ]
        ),
    )  # fmt: skip


def _parameter_cell(parameters: Sequence[JointParameter], name: str) -> Cell:
    found = next((one for one in parameters if one.name == name), None)
    if found is None:
        return text_cell("–")
    write = PARAMETERS[name][1]
    text = f"{_capped(found.value, write)} ({_capped(found.low, write)}–{_capped(found.high, write)})"
    return interval_cell(text + " †" * found.prior_decided, found.value)


def _capped(value: float, write: Any) -> str:
    """A number beyond all data in few signs."""
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e7:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return str(write(value))


def laws_section(content: ReportContent) -> Section:
    """The noise law against its rivals."""
    compared = [(one, one.comparison) for one in content.laws if one.comparison is not None]
    if not compared:
        problem = next((one.problem for one in content.laws), "no curve was compared.")
        return Section("laws", "Is it the right law", [Paragraph(f"Laws were not compared: {problem}", "absent")])
    blocks: list[Block] = [_rivals_paragraph(content.laws), _rivals_table(content.laws), _scores_table(content.laws)]
    return Section("laws", "Is it the right law", blocks)


def _scores_by_law(laws: Sequence[ComparedLaws]) -> Mapping[str, list[LawScore]]:
    found: dict[str, list[LawScore]] = {}
    for one in laws:
        for score in () if one.comparison is None else one.comparison.scores:
            found.setdefault(score.law, []).append(score)
    return found


def _rivals_paragraph(laws: Sequence[ComparedLaws]) -> Paragraph:
    scores = _scores_by_law(laws)["noise_law"]
    n_close = sum(score.aicc_above_best <= MUCH_WORSE for score in scores)
    return Paragraph(
        f"The noise law is the best of six laws, or within {MUCH_WORSE:g} AICc of the best, on {n_close} of "
        f"{len(scores)} curves. Predicting each level from all others, it errs by {_mean_error(scores):.3f} bits."
    )


def _mean_error(scores: Sequence[LawScore]) -> float:
    known = [score.held_out_rmse_bits for score in scores if math.isfinite(score.held_out_rmse_bits)]
    return sum(known) / len(known) if known else math.nan


def _rivals_table(laws: Sequence[ComparedLaws]) -> PageTable:
    by_law = _scores_by_law(laws)
    records: list[dict[str, Any]] = [
        {
            "law": law,
            "n_parameters": scores[0].n_parameters,
            "n_curves": len(scores),
            "n_best": sum(score.aicc_above_best == 0 for score in scores),
            "n_within_2": sum(score.aicc_above_best <= MUCH_WORSE for score in scores),
            "mean_held_out_rmse_bits": _mean_error(scores),
            "mean_deepest_error_bits": sum(score.deepest_error_bits for score in scores) / len(scores),
        }
        for law, scores in by_law.items()
    ]
    return PageTable(
        name="laws-overall",
        title="Six laws over all curves",
        columns=(
            "law", "parameters", "best on", "within 2 AICc of the best", "held-out error (bits)",
            "error at the deepest level (bits)",
        ),
        rows=[
            Row(
                (
                    text_cell(LAW_NAMES[str(row["law"])]),
                    number_cell(row["n_parameters"], count_text),
                    Cell(f"{row['n_best']} of {row['n_curves']}", row["n_best"]),
                    Cell(f"{row['n_within_2']} of {row['n_curves']}", row["n_within_2"]),
                    number_cell(row["mean_held_out_rmse_bits"], lambda e: f"{e:.3f}"),
                    number_cell(row["mean_deepest_error_bits"], signed_bits_text),
                )
            )
            for row in records
        ],
        records=records,
        note="Largest training sizes. Held-out error: each level predicted from all others, root mean square, then the "
        "mean over curves. Error at the deepest level: predicted less measured, from all shallower levels.",
    )  # fmt: skip


def _scores_table(laws: Sequence[ComparedLaws]) -> PageTable:
    compared = [(one.measured, score) for one in laws if one.comparison for score in one.comparison.scores]
    return PageTable(
        name="laws",
        title="Six laws, curve by curve",
        columns=("task", "model", "cells", "law", "AICc above the best", "weight", "R²", "held-out error (bits)"),
        rows=[
            Row(
                (
                    text_cell(m.task),
                    text_cell(m.model),
                    number_cell(m.n_cells, count_text),
                    text_cell(LAW_NAMES[score.law]),
                    number_cell(score.aicc_above_best, lambda a: f"{a:.1f}" if math.isfinite(a) else "too few levels"),
                    number_cell(score.weight, lambda w: f"{w:.2f}"),
                    number_cell(score.r2, lambda r: f"{r:.3f}"),
                    number_cell(score.held_out_rmse_bits, lambda e: f"{e:.3f}"),
                ),
                m.task,
                m.model,
            )
            for m, score in compared
        ],
        records=[{"task": m.task, "model": m.model, "n_cells": m.n_cells, **asdict(score)} for m, score in compared],
    )


def models_section(content: ReportContent) -> Section:
    """Every two models of a task, compared by the seeds that they share."""
    compared = [(one, one.comparison) for one in content.models if one.comparison is not None]
    if not compared:
        problem = next((one.problem for one in content.models), "one model a task was measured; add others to compare.")
        return Section("models", "Which model", [Paragraph(f"Models are not compared: {problem}", "absent")])
    return Section("models", "Which model", [models_table(content.models)])


def models_table(models: Sequence[ComparedModels]) -> PageTable:
    """Paired differences with their intervals."""
    compared = [(one, one.comparison) for one in models if one.comparison is not None]
    confidence = compared[0][1].confidence
    return PageTable(
        name="model-comparison",
        title="Every two models of a task",
        columns=(
            "task", "first", "second", "cells", "Imax, first − second (bits)", "ū, first ÷ second",
            "target depth, first ÷ second", "shared seeds", "flags",
        ),
        rows=[_comparison_row(one, comparison) for one, comparison in compared],
        records=[
            {
                "task": one.first.task, "n_cells": one.first.n_cells, "first": c.first, "second": c.second,
                "imax_difference_bits": c.imax_bits.value, "imax_difference_low_bits": c.imax_bits.low,
                "imax_difference_high_bits": c.imax_bits.high, "ubar_ratio": c.ubar_ratio.value,
                "ubar_ratio_low": c.ubar_ratio.low, "ubar_ratio_high": c.ubar_ratio.high,
                "target_depth_ratio": c.target_depth_ratio.value, "target_depth_ratio_low": c.target_depth_ratio.low,
                "target_depth_ratio_high": c.target_depth_ratio.high, "n_seeds": c.n_seeds, "flags": c.flags,
            }
            for one, c in compared
        ],
        note=f"Differences are taken seed by seed: what a seed does to both models cancels. In brackets: "
        f"{100 * confidence:.3g} % intervals; bold: the interval leaves out no difference.",
    )  # fmt: skip


def _comparison_row(one: ComparedModels, comparison: ModelComparison) -> Row:
    return Row(
        (
            text_cell(one.first.task),
            text_cell(comparison.first),
            text_cell(comparison.second),
            number_cell(one.first.n_cells, count_text),
            _difference_cell(comparison.imax_bits, signed_bits_text, neutral=0.0),
            _difference_cell(comparison.ubar_ratio, factor_text, neutral=1.0),
            _difference_cell(comparison.target_depth_ratio, factor_text, neutral=1.0),
            number_cell(comparison.n_seeds, count_text),
            text_cell(", ".join(comparison.flags) or "–"),
        ),
        one.first.task,
    )


def _difference_cell(difference: Difference, write: Any, *, neutral: float) -> Cell:
    """The difference with its interval; told apart where the interval leaves out no difference."""
    value, low, high = difference.value, difference.low, difference.high
    is_open = not math.isfinite(high) and (low <= 0 if neutral else not math.isfinite(low))
    ends = "no interval" if is_open else f"{_capped(low, write)} to {_capped(high, write)}"
    return Cell(f"{_capped(value, write)} ({ends})", value, is_strong=not low <= neutral <= high)
