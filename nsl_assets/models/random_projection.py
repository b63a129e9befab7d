"""Random projection of counts: a linear baseline whose directions are drawn, not learned (paper, E.1)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from nsl_assets.models.affine_map import AffineMap, affine_map
from nsl_assets.models.highly_variable import GeneStatistics
from nsl_assets.models.linear import (
    LinearKind,
    LinearModel,
    gaussian_directions,
    linear_cost,
    weights_mib,
)
from nsl_assets.models.preprocessing import FloatArray, IndexArray
from nsl_assets.models.protocol import Cost, FitReport

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows, Task


class RandomProjection(LinearKind):
    """Gaussian random projection. Untrained baseline: see `RandomProjectionModel`."""

    CODE_VERSION: ClassVar[str] = "1"

    kind: Literal["random_projection"] = "random_projection"
    """Name of this kind of model."""
    input: Literal["normalised", "raw"] = "normalised"
    """"normalised": log-normalised counts of the highly variable genes, standardised on the training cells.
    "raw": counts of all genes as they are (the published supplement and code); nothing is learned then, and the
    settings of highly variable genes are not used."""
    fixed_seed: int | None = Field(default=None, ge=0, lt=2**32)
    """None: the seed of the replicate draws the directions. A number: every replicate has the directions of
    `sklearn.random_projection.GaussianRandomProjection(random_state=...)`; the published code has 42."""

    def create(self, task: Task, level: float, runtime: Runtime) -> RandomProjectionModel:  # noqa: ARG002 - the same for all
        """The model, not trained yet."""
        return RandomProjectionModel(self)

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:
        """See `linear_cost`; no Gram matrix is formed."""
        n_chosen = n_genes if self.input == "raw" else min(self.n_highly_variable_genes, n_genes)
        without_gram = linear_cost(n_train_cells, n_genes, 1, self.n_components)
        return replace(without_gram, disk_mib=weights_mib(n_chosen, self.n_components))

    def depends_on_size(self) -> bool:
        """False for raw input, where nothing is learned from training cells."""
        return self.input == "normalised"


class RandomProjectionModel(LinearModel):
    """Random projection of counts.

    Untrained baseline: log-normalised counts of all genes on Gaussian directions of the seed; no gene is
    chosen, centred or scaled, since all of that is learned from the training cells. With raw input nothing
    is ever learned, and the baseline is the model itself.
    """

    def __init__(self, settings: RandomProjection) -> None:
        self.settings = settings

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        """Choose and standardise genes on the training cells and draw the directions.

        Raises MeasurementError where fewer than 2 training cells have counts (normalised input).
        """
        start = time.perf_counter()
        is_raw = self.settings.input == "raw"
        statistics = self.settings.statistics(train, n_needed=0 if is_raw else 2)
        if is_raw:
            self.initialise(train, seed=seed)
        else:
            self._map = self._standardised_map(train, statistics, seed)
        return FitReport(
            n_train_cells=train.n_cells,
            n_nonempty_train_cells=statistics.n_nonempty_cells,
            n_validation_cells=validation.n_cells,
            n_parameters=self._parameters().weights.size,
            seconds=time.perf_counter() - start,
            notes={"n_genes_used": self._parameters().genes.size},
        )

    def _standardised_map(self, train: CountRows, statistics: GeneStatistics, seed: int) -> AffineMap:
        genes = self.settings.choose_genes(train, statistics)
        moments = statistics.expression.of(genes)
        weights = self._directions(train, genes, seed) * moments.inverse_deviation()[:, None]
        return affine_map(train, weights, genes=genes, centre=moments.mean)

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """Directions of all genes, for log-normalised or raw counts as the settings say."""
        weights = self._directions(train, np.arange(train.n_genes), seed)
        self._map = affine_map(train, weights, is_log_normalised=self.settings.input == "normalised")

    def _directions(self, cells: CountRows, genes: IndexArray, seed: int) -> FloatArray:
        settings = self.settings
        if settings.fixed_seed is not None:
            return sklearn_directions(genes.size, settings.n_components, settings.fixed_seed)
        return gaussian_directions(cells.gene_names[genes], settings.n_components, seed=seed)


def sklearn_directions(n_genes: int, n_components: int, random_state: int) -> FloatArray:
    """Weights (n_genes, n_components) of scikit-learn's Gaussian projection with that random state."""
    from sklearn.random_projection import GaussianRandomProjection

    projection = GaussianRandomProjection(n_components, random_state=random_state)
    return np.ascontiguousarray(projection.fit(np.zeros((1, n_genes))).components_.T)
