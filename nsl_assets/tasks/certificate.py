"""What probed cells share with the cells that models see: the certificate of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.pairing import Pairs
from nsl_assets.tasks.split import TRAIN, VALIDATION
from nsl_assets.tasks.task import Task


@dataclass(frozen=True)
class Leakage:
    """Counts of what is both in the probe and among the cells of train pool and validation; 0 is clean.

    None where there is nothing to share: cells without groups, or without partners.
    """

    n_shared_cells: int
    n_shared_groups: int | None
    n_shared_partners: int | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing is shared."""
        return not (self.n_shared_cells or self.n_shared_groups or self.n_shared_partners)


def leakage(task: Task, pairs: Pairs) -> Leakage:
    """What the probed cells, their partners and the groups of both share with train pool and validation.

    Seen is what the split gave to models, and what `Task.train_rows` and `Task.validation_rows` really hand to them.
    """
    handed = np.union1d(task.train_rows(task.n_train_pool, seed=0), task.validation_rows())
    seen = np.union1d(np.flatnonzero((task.role == TRAIN) | (task.role == VALIDATION)), handed)
    probed = np.union1d(task.probe_rows(), pairs.partners)
    return Leakage(
        n_shared_cells=_n_shared(task.cell_names, task.probe_rows(), seen),
        n_shared_groups=None if task.group is None else _n_shared(task.group, probed, seen),
        n_shared_partners=None if task.pairing is None else _n_shared(task.cell_names, pairs.partners, seen),
    )


def _n_shared(values: npt.NDArray[Any], probed: npt.NDArray[np.intp], seen: npt.NDArray[np.intp]) -> int:
    """Distinct values that occur on both sides. Names are compared, not rows, so that a doubled cell is found."""
    return len(set(values[probed].tolist()).intersection(values[seen].tolist()))
