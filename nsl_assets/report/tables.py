"""Fitted laws as a plain-text table for terminals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nsl_assets.laws import NoiseLawFit
from nsl_assets.report.numbers import bits_text, depth_text, interval_label, with_interval

RIGHT_ALIGNED = ("cells", "R²")


@dataclass(frozen=True)
class LawRow:
    """One fitted noise law with what it belongs to."""

    study: str
    task: str
    model: str
    n_cells: int
    fit: NoiseLawFit


def law_table(rows: Sequence[LawRow]) -> str:
    """The laws as aligned columns, one line a law, with a line that says what the brackets are.

    Information in bits, depths in UMIs per cell. Where the data leave an interval open, its bound stands
    alone: ``≥ 3,200`` means that the curve tells no more than that.
    """
    if not rows:
        return "no fitted laws yet"
    columns = _columns(rows)
    widths = {name: max(len(text) for text in [name, *cells]) for name, cells in columns.items()}
    lines = [_line({name: name for name in columns}, widths)]
    lines.append("  ".join("─" * width for width in widths.values()))
    for index in range(len(rows)):
        lines.append(_line({name: cells[index] for name, cells in columns.items()}, widths))
    return "\n".join([*lines, "", _legend(rows)])


def _columns(rows: Sequence[LawRow]) -> dict[str, list[str]]:
    fits = [row.fit for row in rows]
    return {
        "study": [row.study for row in rows],
        "task": [row.task for row in rows],
        "model": [row.model for row in rows],
        "cells": [f"{row.n_cells:,}" for row in rows],
        "Imax (bits)": [with_interval(fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits, bits_text) for fit in fits],
        "ū (UMIs per cell)": [with_interval(fit.ubar, fit.ubar_low, fit.ubar_high, depth_text) for fit in fits],
        _target_column(fits): [
            with_interval(fit.target_depth, fit.target_depth_low, fit.target_depth_high, depth_text) for fit in fits
        ],
        "R²": [f"{fit.r2_seed_means:.3f}" if np.isfinite(fit.r2_seed_means) else "n/a" for fit in fits],
        "flags": [", ".join(fit.flags) or "–" for fit in fits],
    }


def _target_column(fits: Sequence[NoiseLawFit]) -> str:
    labels = {fit.target_label for fit in fits}
    return f"UMIs per cell for {labels.pop()}" if len(labels) == 1 else "target depth (UMIs per cell)"


def _line(cells: dict[str, str], widths: dict[str, int]) -> str:
    aligned = [
        text.rjust(widths[name]) if name in RIGHT_ALIGNED else text.ljust(widths[name]) for name, text in cells.items()
    ]
    return "  ".join(aligned).rstrip()


def _legend(rows: Sequence[LawRow]) -> str:
    kinds = {interval_label(row.fit) for row in rows}
    return f"In brackets: {' or '.join(sorted(kinds))} intervals. ≥ and ≤: the data leave the other side open."
