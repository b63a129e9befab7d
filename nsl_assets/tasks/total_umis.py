"""From the depth of a panel to the depth over all genes: what sequencing is paid for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.base_settings import FileTask
from nsl_assets.tasks.counts import BLOCK_ROWS
from nsl_assets.tasks.findings import LIKELY_ALL_GENES
from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.h5ad_task import read_total_umis
from nsl_assets.tasks.settings import SimulatedCells
from nsl_assets.tasks.task import Task


def total_umi_factor(settings: FileTask | SimulatedCells, task: Task) -> float | None:
    """UMIs over all genes for each UMI of the genes of the task, in its probe cells at the measured depth.

    Thinning scales both alike, so the factor holds at every noise level. None where the settings name no total, and
    for a panel without any count. Raises InputError where a total is unknown or below the counts of its panel.
    """
    if not isinstance(settings, FileTask) or settings.total_umis is None:
        return None
    if isinstance(settings.total_umis, float):
        return settings.total_umis
    with open_h5ad(settings.path) as file:
        total_of = dict(zip(file.cell_names(), read_total_umis(file, settings.total_umis), strict=True))
    rows = task.probe_rows()
    totals = np.array([total_of[name] for name in task.cell_names[rows]])
    panel = np.concatenate(
        [
            task.counts.take(rows[i : i + BLOCK_ROWS]).sum(axis=1, dtype=np.int64)
            for i in range(0, rows.size, BLOCK_ROWS)
        ]
    )
    require_totals(totals, panel, task.cell_names[rows], settings.total_umis)
    return float(totals.sum() / panel.sum()) if panel.sum() else None


def lacks_total_umis(settings: FileTask | SimulatedCells) -> bool:
    """Whether the genes of a file are so few that they are a panel or a selection, and no total UMIs are named.

    InputError where the file cannot be read.
    """
    if not isinstance(settings, FileTask) or settings.total_umis is not None:
        return False
    with open_h5ad(settings.path) as file:
        return file.matrix(settings.layer).shape[1] < LIKELY_ALL_GENES


def require_totals(
    totals: npt.NDArray[np.float64], panel: npt.NDArray[Any], cell_names: npt.NDArray[Any], column: str
) -> None:
    """Raise InputError, naming the cell, where a cell has fewer UMIs over all genes than in its panel."""
    short = np.flatnonzero(totals < panel)
    if short.size:
        at = short[0]
        raise InputError(
            f"{column} holds {totals[at]:g} for cell {cell_names[at]}, fewer than the {panel[at]:,.0f} UMIs of"
            f" its genes in the file ({short.size:,} such cell(s)): the total is over all genes."
        )
