"""The size of a task, before its counts are read: what a study and its price need to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.h5ad_task import kept_cells, read_groups
from nsl_assets.tasks.settings import H5adTask, SimulatedCells
from nsl_assets.tasks.simulated import simulated_names
from nsl_assets.tasks.split import PROBE, TRAIN, VALIDATION, split_cells


@dataclass(frozen=True)
class Outline:
    """Numbers of cells and genes of a task, and of cells in each part of its split."""

    n_cells: int
    n_genes: int
    n_train_pool: int
    n_validation: int
    n_probe: int


def outline(settings: H5adTask | SimulatedCells) -> Outline:
    """The size of a task and of its split. InputError where the file or its groups cannot be used."""
    if isinstance(settings, SimulatedCells):
        names, groups, n_genes = simulated_names(settings)[0], None, settings.n_genes
    else:
        with open_h5ad(settings.path) as file:
            matrix = file.matrix(settings.layer)
            kept = kept_cells(matrix.cell_names, settings)
            names, n_genes, groups = matrix.cell_names[kept], matrix.shape[1], None
            if settings.group is not None:
                groups = read_groups(file, settings.group, matrix.cell_names)[kept]
    roles = split_cells(names, groups, settings)
    n_train, n_validation, n_probe = (int(np.count_nonzero(roles == role)) for role in (TRAIN, VALIDATION, PROBE))
    return Outline(names.size, n_genes, n_train, n_validation, n_probe)
