"""The size of a task, before its counts are read: what a study and its price need to know."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.base_settings import FileTask
from nsl_assets.tasks.cell_plan import plan_cells
from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.settings import SimulatedCells
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


def outline(settings: FileTask | SimulatedCells) -> Outline:
    """The size of a task and of its split. InputError where the file or its groups cannot be used."""
    if isinstance(settings, SimulatedCells):
        names = simulated_names(settings)[0]
        roles = split_cells(names, None, settings)
        return _outline(settings.n_genes, roles, roles == PROBE)
    with open_h5ad(settings.path) as file:
        plan = plan_cells(file, settings)
        return _outline(file.matrix(settings.layer).shape[1], plan.roles, plan.is_probed)


def _outline(n_genes: int, roles: npt.NDArray[np.int8], is_probed: npt.NDArray[np.bool_]) -> Outline:
    n_train, n_validation = (int(np.count_nonzero(roles == role)) for role in (TRAIN, VALIDATION))
    return Outline(roles.size, n_genes, n_train, n_validation, int(np.count_nonzero(is_probed)))
