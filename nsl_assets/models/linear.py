"""What random projection and PCA share: drawn directions, checks, cost, and the part of the model protocol
that an affine map of expression answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nsl_assets.errors import MeasurementError
from nsl_assets.models.affine_map import AffineMap
from nsl_assets.models.highly_variable import (
    Criterion,
    GeneStatistics,
    gene_statistics,
    highly_variable_genes,
)
from nsl_assets.models.preprocessing import PART_ROWS, FloatArray, IndexArray
from nsl_assets.models.protocol import Cost, ModelKind
from nsl_assets.randomness import generator

if TYPE_CHECKING:
    from nsl_assets.tasks import CountRows

_DENSITY: Final = 0.1  # fraction of entries that are nonzero, where nothing is known yet
_MIB: Final = 2**20


class LinearKind(ModelKind):
    """Settings that random projection and PCA share."""

    n_components: int = Field(default=16, ge=1)
    """Dimensions of the embedding."""
    n_highly_variable_genes: int = Field(default=750, ge=1)
    """Genes that enter, chosen on the training cells at each noise level; all genes if there are fewer."""
    highly_variable_by: Criterion = "log_variance"
    """How genes are chosen: "log_variance", the variance of log-normalised counts, or "seurat_dispersion", the
    default of `scanpy.pp.highly_variable_genes`, which prefers rarely seen genes when cells are shallow."""

    def statistics(self, train: CountRows, *, n_needed: int) -> GeneStatistics:
        """Statistics of the training cells. Raises MeasurementError where fewer than needed have counts."""
        statistics = gene_statistics(train, self.highly_variable_by)
        check_cells_suffice(statistics, n_needed)
        return statistics

    def choose_genes(self, train: CountRows, statistics: GeneStatistics) -> IndexArray:
        """Positions of the highly variable genes, ascending."""
        return highly_variable_genes(statistics.scores, train.gene_names, self.n_highly_variable_genes)


class LinearModel:
    """The part of the model protocol that needs the affine map alone; subclasses make the map."""

    _map: AffineMap | None = None

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """Embeddings (n_cells, n_dimensions)."""
        return self._parameters().embed(cells)

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json`."""
        self._parameters().save(folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._map = AffineMap.load(folder)

    def _parameters(self) -> AffineMap:
        if self._map is None:
            raise MeasurementError(
                "The model has no parameters yet. Call fit, initialise or load before embed or save."
            )
        return self._map


def gaussian_directions(gene_names: npt.NDArray[Any], n_components: int, *, seed: int) -> FloatArray:
    """Standard normal weights (n_genes, n_components), each row keyed by the seed and the gene's name.

    A gene thus has the same weights at every noise level and training size of a seed, whichever genes are
    chosen beside it and whatever their order.
    """
    rows = [generator("gaussian_directions", seed, str(g)).standard_normal(n_components) for g in gene_names]
    return np.array(rows).reshape(len(gene_names), n_components)


def check_cells_suffice(statistics: GeneStatistics, n_needed: int) -> None:
    """Raise MeasurementError where too few training cells have counts."""
    if statistics.n_nonempty_cells < n_needed:
        raise MeasurementError(
            f"{statistics.n_nonempty_cells} of {statistics.n_cells} training cells have a count at this noise "
            f"level; at least {n_needed} are needed. Raise the lowest noise level, train on more cells, or ask "
            "for fewer components."
        )


def check_genes_suffice(n_genes: int, n_components: int) -> None:
    """Raise MeasurementError where there are fewer genes than components."""
    if n_genes < n_components:
        raise MeasurementError(
            f"The task has {n_genes} genes, fewer than the {n_components} components asked for. Set "
            f"n_components to {n_genes} or less."
        )


def linear_cost(n_train_cells: int, n_genes: int, n_chosen: int, n_components: int) -> Cost:
    """Cost of two passes over the training cells and one over as many probe cells, a tenth of genes nonzero.

    Memory: 200 MiB for the process, a sparse block of 4,096 cells at 24 bytes an entry, 20 numbers a gene,
    two dense parts of 1,024 cells and four Gram matrices of the chosen genes, 200 bytes a cell for names.
    Time: 2 s, 80 ns an entry, 40 ps for each cell and pair of chosen genes (measured on one 2.5 GHz core).
    """
    sparse_block = 4096 * n_genes * _DENSITY * 24
    dense = 8 * n_chosen * (2 * PART_ROWS + 4 * n_chosen) + 8 * 20 * n_genes
    seconds = 2 + 80e-9 * n_train_cells * n_genes * _DENSITY + 40e-12 * n_train_cells * n_chosen**2
    memory_mib = 200 + (sparse_block + dense + 200 * n_train_cells) / _MIB
    return Cost(memory_mib, seconds, weights_mib(n_chosen, n_components))


def weights_mib(n_chosen: int, n_components: int) -> float:
    """Size of a saved map: float64 weights, and the position and name of each gene."""
    return 8 * n_chosen * (n_components + 4) / _MIB
