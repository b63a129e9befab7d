"""Principal components of standardised, log-normalised counts of the highly variable genes (paper, E.2).

The components come from a streamed Gram matrix, see docs/decisions/pca-by-gram.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from nsl_assets.models.affine_map import affine_map
from nsl_assets.models.linear import (
    LinearKind,
    LinearModel,
    check_genes_suffice,
    gaussian_directions,
    linear_cost,
)
from nsl_assets.models.preprocessing import (
    PART_ROWS,
    FloatArray,
    IndexArray,
    Moments,
    log_normalised,
    sorted_parts,
)
from nsl_assets.models.protocol import Cost, FitReport

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows, Task


class Pca(LinearKind):
    """Principal component analysis. Untrained baseline: random orthonormal directions, see `PcaModel`."""

    CODE_VERSION: ClassVar[str] = "1"

    kind: Literal["pca"] = "pca"
    """Name of this kind of model."""
    centred: bool = True
    """True: genes are standardised to mean 0 and variance 1. False: neither centred nor scaled, which is
    `sklearn.decomposition.TruncatedSVD` of the log-normalised counts (the published supplement and code)."""

    @model_validator(mode="after")
    def _enough_genes(self) -> Self:
        if self.n_highly_variable_genes < self.n_components:
            raise ValueError(
                f"n_highly_variable_genes is {self.n_highly_variable_genes}, fewer than the "
                f"{self.n_components} components: ask for at least as many genes as components"
            )
        return self

    def create(self, task: Task, level: float, runtime: Runtime) -> PcaModel:  # noqa: ARG002 - the same for all
        """The model, not trained yet."""
        return PcaModel(self)

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:
        """See `linear_cost`."""
        n_chosen = min(self.n_highly_variable_genes, n_genes)
        return linear_cost(n_train_cells, n_genes, n_chosen, self.n_components)


@dataclass(frozen=True)
class Gram:
    """Sums over cells of the log-normalised expression of k genes: (k,), and of its products: (k, k)."""

    n_cells: int
    sums: FloatArray
    products: FloatArray

    def moments(self) -> Moments:
        """Mean and variance (denominator n_cells) of each gene."""
        return Moments.of_sums(self.sums, np.diag(self.products), self.n_cells, ddof=0)

    def correlation(self) -> FloatArray:
        """(k, k); rows and columns of genes that are constant over the cells are 0."""
        moments = self.moments()
        covariance = self.products / self.n_cells - np.outer(moments.mean, moments.mean)
        scale = moments.inverse_deviation()
        return covariance * scale[:, None] * scale


def gram(cells: CountRows, genes: IndexArray) -> Gram:
    """One pass over the cells, in float64; memory is one dense block of the chosen genes and the products."""
    sums, products = np.zeros(genes.size), np.zeros((genes.size, genes.size))
    buffer = np.empty((PART_ROWS, genes.size))  # reused: fresh pages would cost a fifth of the time
    for part in sorted_parts(cells):
        expression = log_normalised(part, genes).toarray(out=buffer[: part.shape[0]])
        sums += expression.sum(axis=0)
        products += expression.T @ expression
    return Gram(cells.n_cells, sums, products)


def leading_eigenvectors(matrix: FloatArray, n_components: int) -> tuple[FloatArray, FloatArray]:
    """Largest eigenvalues (n_components,), descending, and vectors (k, n_components) of a Gram matrix.

    The largest entry of each vector is positive. Directions without variance, which a matrix of lower rank
    leaves undetermined, are vectors of zeros.
    """
    from scipy.linalg import eigh

    k = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[k - n_components, k - 1])
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    has_variance = values > k * np.finfo(np.float64).eps * values[0] * 10
    return np.where(has_variance, values, 0.0), _sign_fixed(vectors) * has_variance


def _sign_fixed(vectors: FloatArray) -> FloatArray:
    """Turn each column so that its entry of largest size is positive."""
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, np.arange(vectors.shape[1])])
    return np.asarray(vectors * signs)


class PcaModel(LinearModel):
    """PCA of counts. Embeddings are the scores of the components.

    Untrained baseline: log-normalised counts of all genes, projected on random orthonormal directions of the
    seed; no gene is chosen, centred or scaled, since all of that is learned from the training cells.
    """

    def __init__(self, settings: Pca) -> None:
        self.settings = settings

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:  # noqa: ARG002
        """Choose genes, standardise them and find the components; nothing is drawn, so the seed is not used.

        Raises MeasurementError where fewer training cells have counts than the components need, or the task
        has fewer genes than components.
        """
        start = time.perf_counter()
        settings = self.settings
        check_genes_suffice(train.n_genes, settings.n_components)
        statistics = settings.statistics(train, n_needed=max(2, settings.n_components + settings.centred))
        genes = settings.choose_genes(train, statistics)
        singular_values = self._decompose(train, genes)
        return FitReport(
            n_train_cells=train.n_cells,
            n_nonempty_train_cells=statistics.n_nonempty_cells,
            n_validation_cells=validation.n_cells,
            n_parameters=genes.size * settings.n_components,
            seconds=time.perf_counter() - start,
            notes={
                "n_genes_used": genes.size,
                "singular_values": singular_values.tolist(),
                "n_components_with_variance": int(np.count_nonzero(singular_values)),
            },
        )

    def _decompose(self, train: CountRows, genes: IndexArray) -> FloatArray:
        """Set the map; returns the singular values of the (standardised) training expression."""
        sums = gram(train, genes)
        matrix = sums.correlation() * sums.n_cells if self.settings.centred else sums.products
        values, vectors = leading_eigenvectors(matrix, self.settings.n_components)
        moments = sums.moments()
        if self.settings.centred:
            weights = vectors * moments.inverse_deviation()[:, None]
            self._map = affine_map(train, weights, genes=genes, centre=moments.mean)
        else:
            self._map = affine_map(train, vectors, genes=genes)
        return np.sqrt(values)

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """Random orthonormal directions of all genes. Raises MeasurementError for too few genes."""
        check_genes_suffice(train.n_genes, self.settings.n_components)
        gaussian = gaussian_directions(train.gene_names, self.settings.n_components, seed=seed)
        orthonormal, triangle = np.linalg.qr(gaussian)
        self._map = affine_map(train, orthonormal * np.sign(np.diag(triangle)))
