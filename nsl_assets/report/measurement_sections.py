"""The sections of estimators and calibration, of training, and of the split."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, Final

from nsl_assets.report.blocks import Block, Gallery, PageTable, Paragraph, Row, Section, number_cell, text_cell
from nsl_assets.report.calibration_figure import calibration_figure
from nsl_assets.report.calibration_text import calibration_warning, signed
from nsl_assets.report.content import CalibratedCurve, Calibration, Leakage, ReportContent, Training
from nsl_assets.report.drawn import Drawn
from nsl_assets.report.estimators_figure import NOTE as ESTIMATORS_NOTE
from nsl_assets.report.estimators_figure import estimators_figure
from nsl_assets.report.loss_figure import NOTE as LOSS_NOTE
from nsl_assets.report.loss_figure import loss_figure
from nsl_assets.report.numbers import count_text, duration_text

NO_RUNS: Final = "A table of measurements says nothing of {what}; a study of `nsl run` does."


def calibration_section(content: ReportContent) -> Section:
    """How far the estimator can be trusted: expected bias, and other estimators beside it."""
    blocks: list[Block] = []
    if content.calibration is None:
        blocks.append(Paragraph(content.calibration_note, "absent"))
    else:
        blocks += _calibration_blocks(content.calibration)
    groups = _estimator_groups(content)
    if groups:
        blocks.append(Gallery("Estimators beside each other", groups, ESTIMATORS_NOTE))
    elif content.kind == "study":
        blocks.append(Paragraph("One estimator was run; the study's `probing.estimators` asks for more.", "absent"))
    return Section("calibration", "Can the measurement be trusted", blocks)


def _estimator_groups(content: ReportContent) -> list[Drawn]:
    groups: dict[tuple[str, str], list[Any]] = {}
    for one in content.estimators:
        groups.setdefault((one.task, one.model), []).append(one)
    return [estimators_figure(curves, content.headline) for curves in groups.values() if len(curves) > 1]


def _calibration_blocks(calibration: Calibration) -> list[Block]:
    warning = calibration_warning({str(place): one.expected for place, one in enumerate(calibration.curves)})
    said = f"Warning: {warning}." if warning else "No level of any curve is expected to be off by more than 0.1 bit."
    return [
        Paragraph(said, "warning" if warning else "text"),
        Gallery(f"Calibration of {calibration.estimator}", _calibration_figures(calibration)),
        _bias_table(calibration.curves),
    ]


def _calibration_figures(calibration: Calibration) -> list[Drawn]:
    figures = []
    for task in dict.fromkeys(one.task for one in calibration.curves):
        largest: dict[str, CalibratedCurve] = {}
        for one in sorted((one for one in calibration.curves if one.task == task), key=lambda one: one.n_cells):
            largest[one.model] = one
        figures.append(
            calibration_figure(
                calibration.summaries,
                {model: one.expected for model, one in largest.items()},
                task=task,
                title=f"{task}: calibration of {calibration.estimator}",
            )
        )
    return figures


def _bias_table(curves: Sequence[CalibratedCurve]) -> PageTable:
    rows, records = [], []
    for curve in curves:
        known = [point for point in curve.expected if not point.is_off_map]
        biases = [point.bias_bits for point in known]
        n_off = len(curve.expected) - len(known)
        spread = max((point.spread_bits for point in known), default=math.nan)
        record = {
            "task": curve.task, "model": curve.model, "n_cells": curve.n_cells,
            "lowest_bias_bits": min(biases, default=math.nan), "highest_bias_bits": max(biases, default=math.nan),
            "spread_bits": spread, "n_levels_off_map": n_off,
        }  # fmt: skip
        records.append(record)
        rows.append(
            Row(
                (
                    text_cell(curve.task),
                    text_cell(curve.model),
                    number_cell(curve.n_cells, count_text),
                    number_cell(min(biases, default=math.nan), signed),
                    number_cell(max(biases, default=math.nan), signed),
                    number_cell(spread, lambda bits: f"{bits:.2f}"),
                    number_cell(n_off, count_text),
                ),
                curve.task,
                curve.model,
            )
        )
    columns = (
        "task", "model", "cells", "lowest expected bias (bits)", "highest expected bias (bits)", "spread (bits)",
        "levels off the map",
    )  # fmt: skip
    return PageTable("expected-bias", "Bias to be expected of each curve, over its levels", columns, rows, records)


def training_section(content: ReportContent) -> Section:
    """Loss curves, numbers of parameters, time and memory."""
    title = "Training: losses, parameters, time, memory"
    if not content.training:
        return Section("training", title, [Paragraph(NO_RUNS.format(what="training"), "absent")])
    losses = _loss_figures(content.training)
    blocks: list[Block] = [
        Gallery("Loss curves at the largest size and deepest level", losses, LOSS_NOTE)
        if losses
        else Paragraph("No model of this study is trained step by step: there are no loss curves.", "absent"),
        _parameters_table(content.training),
        _cost_table(content.training),
    ]
    return Section("training", title, blocks)


def _by_model(training: Sequence[Training]) -> dict[tuple[str, str], list[Training]]:
    groups: dict[tuple[str, str], list[Training]] = {}
    for one in training:
        groups.setdefault((one.task, one.model), []).append(one)
    return groups


def _loss_figures(training: Sequence[Training]) -> list[Drawn]:
    figures = []
    for (task, model), rows in _by_model(training).items():
        with_losses = [one for one in rows if one.losses]
        if not with_losses:
            continue
        place = max((one.n_cells, one.level) for one in with_losses)
        chosen = [one for one in with_losses if (one.n_cells, one.level) == place]
        title = f"{task} · {model}: {place[0]:,} cells, level {place[1]:g}"
        figures.append(loss_figure({one.seed: one.losses for one in chosen}, title=title, task=task, model=model))
    return figures


def _parameters_table(training: Sequence[Training]) -> PageTable:
    """The paper's Table 3, of this study's models."""
    rows, records = [], []
    for (task, model), of_model in _by_model(training).items():
        largest = max(of_model, key=lambda one: (one.n_cells, one.level))
        records.append({"task": task, "model": model, "n_parameters": largest.n_parameters})
        cells = (
            text_cell(task),
            text_cell(model),
            number_cell(largest.n_parameters, count_text),
            number_cell(largest.n_parameters, lambda n: f"{n / 1e6:.3g}"),
        )
        rows.append(Row(cells, task, model))
    columns = ("task", "model", "parameters", "parameters (millions)")
    note = "Numbers that map a cell to its embedding, fitted or drawn."
    return PageTable("parameters", "Numbers of parameters", columns, rows, records, note)


def _cost_table(training: Sequence[Training]) -> PageTable:
    rows, records = [], []
    for (task, model), of_model in _by_model(training).items():
        seconds = [one.seconds for one in of_model if one.seconds is not None]
        cpu = [one.cpu_seconds for one in of_model if one.cpu_seconds is not None]
        memory = [one.peak_memory_mib for one in of_model if one.peak_memory_mib is not None]
        median = statistics.median(seconds) if seconds else math.nan
        record = {
            "task": task, "model": model, "n_trained": len(of_model), "median_training_seconds": median,
            "total_cpu_seconds": sum(cpu), "peak_memory_mib": max(memory, default=math.nan),
            "devices": ", ".join(sorted({one.device for one in of_model})),
            "stop_reasons": ", ".join(sorted({one.stop_reason for one in of_model if one.stop_reason})),
        }  # fmt: skip
        records.append(record)
        cells = (
            text_cell(task),
            text_cell(model),
            number_cell(len(of_model), count_text),
            number_cell(median, duration_text),
            number_cell(sum(cpu), duration_text),
            number_cell(max(memory, default=math.nan), count_text),
            text_cell(str(record["devices"]) or "–"),
            text_cell(str(record["stop_reasons"]) or "–"),
        )
        rows.append(Row(cells, task, model))
    columns = (
        "task", "model", "trained", "median training time", "processor time, all", "peak memory (MiB)", "device",
        "stopped by",
    )  # fmt: skip
    return PageTable("time-and-memory", "Time and memory", columns, rows, records)


def leakage_section(content: ReportContent) -> Section:
    """What probe cells share with the cells that models saw."""
    title = "Leakage: are probe cells new to the models"
    if not content.leakage:
        said = (
            NO_RUNS.format(what="how cells were split")
            if content.kind == "table"
            else "The prepared data are not in storage any more: `nsl run` makes them again, then the report checks."
        )
        return Section("leakage", title, [Paragraph(said, "absent")])
    n_shared = sum(
        one.n_shared_cells + (one.n_shared_groups or 0) + (one.n_shared_partners or 0) for one in content.leakage
    )
    what = _checked_for(content.leakage)
    said = f"No probe {_either(what)} is among those that models saw."
    if n_shared:
        said = f"{n_shared:,} {_either(what, plural=True)} are both in the probe and among those that models saw."
    columns = (
        "task", "shared cells", "shared groups", "shared partners", "train pool (cells)", "validation (cells)",
        "probe (cells)",
    )  # fmt: skip
    rows = [
        Row(
            (
                text_cell(one.task),
                number_cell(one.n_shared_cells, count_text),
                number_cell(one.n_shared_groups, count_text, absent="no groups"),
                number_cell(one.n_shared_partners, count_text, absent="not paired"),
                number_cell(one.n_train_pool_cells, count_text),
                number_cell(one.n_validation_cells, count_text),
                number_cell(one.n_probe_cells, count_text),
            ),
            one.task,
        )
        for one in content.leakage
    ]
    records = [vars(one) for one in content.leakage]
    table = PageTable("leakage", "The split of each task", columns, rows, records)
    return Section("leakage", title, [Paragraph(said, "warning" if n_shared else "text"), table])


def _checked_for(leakage: Sequence[Leakage]) -> list[str]:
    """What was looked for among the cells that models saw."""
    counts = {"group": [one.n_shared_groups for one in leakage], "partner": [one.n_shared_partners for one in leakage]}
    return ["cell", *(name for name, found in counts.items() if any(n is not None for n in found))]


def _either(names: Sequence[str], *, plural: bool = False) -> str:
    """cell, group or partner."""
    named = [f"{name}s" for name in names] if plural else names
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"
