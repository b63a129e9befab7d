"""A model of one's own: gene programmes, by non-negative matrix factorisation of log-normalised counts.

In a study: `kind = "custom"`, `class_path = "examples/own_model.py:GeneProgrammes"`,
`settings = {n_programmes = 8}`.
"""
# ruff: noqa: D102, ARG002 - the methods are those of nsl_assets.models.Model

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import NMF, non_negative_factorization

from nsl_assets.models import FitReport, log_normalised
from nsl_assets.randomness import generator, integer_seed
from nsl_assets.tasks import CountRows


class GeneProgrammes:
    """An embedding is the usage of each programme in a cell."""

    def __init__(self, n_programmes: int = 16) -> None:
        self.n_programmes = n_programmes

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        key = integer_seed("gene programmes", seed) % 2**32
        nmf = NMF(self.n_programmes, tol=1e-2, random_state=key)
        self.programmes = nmf.fit(log_normalised(train.read())).components_
        return FitReport(train.n_cells, n_parameters=self.programmes.size, steps=nmf.n_iter_)

    def initialise(self, train: CountRows, *, seed: int) -> None:
        self.programmes = generator("gene programmes", seed).random((self.n_programmes, train.n_genes))

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        return np.concatenate([self._usage(log_normalised(block)) for block in cells.blocks()])

    def _usage(self, expression: Any) -> npt.NDArray[np.float32]:
        usage, _, _ = non_negative_factorization(
            expression, H=self.programmes, n_components=self.n_programmes, update_H=False, max_iter=1000
        )
        return np.asarray(usage, dtype=np.float32)

    def save(self, folder: Path) -> None:
        np.save(folder / "programmes.npy", self.programmes)

    def load(self, folder: Path) -> None:
        self.programmes = np.load(folder / "programmes.npy", allow_pickle=False)
