"""The fixed auxiliary of paired cells: principal components at the measured depth, fitted on the train pool.

The preprocessing is the one of the paper's PCA (E.2): 10,000 counts per cell, log1p, the 750 most variable genes,
each to mean 0 and variance 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = npt.NDArray[np.float64]
Blocks = Callable[[], Iterable["csr_array"]]

COUNTS_PER_CELL: Final = 10_000.0
N_GENES: Final = 750
_DECIMALS: Final = 9  # variances that agree to so many decimals are ties, not summation order
_PART_ROWS: Final = 1024


def reference_components(
    blocks: Blocks, is_train: npt.NDArray[np.bool_], gene_names: npt.NDArray[np.object_], n_components: int
) -> Floats:
    """Components (n_cells, n_components) of all cells; an empty cell has those of a cell without expression.

    `blocks` gives the counts of all cells, in order, each time it is called; it is read three times. Raises
    InputError where there are fewer genes, or not more training cells, than components.
    """
    require_enough(gene_names.size, int(np.count_nonzero(is_train)), n_components)
    mean, variance = _moments(blocks, is_train)
    genes = most_variable(variance, mean, gene_names)
    deviation = np.sqrt(np.where(variance[genes] > 0, variance[genes], 1.0))
    centre, scale = mean[genes], np.where(variance[genes] > 0, 1 / deviation, 0.0)
    vectors = _leading_vectors(_correlation(blocks, is_train, genes, centre, scale), n_components)
    parts = [
        ((part[:, genes].toarray() - centre) * scale) @ vectors for block in blocks() for part in _expression(block)
    ]
    return np.concatenate(parts)


def require_enough(n_genes: int, n_train: int, n_components: int) -> None:
    """Raise InputError where components cannot be fitted."""
    if n_genes < n_components or n_train <= n_components:
        raise InputError(
            f"{n_components} components of the partner cannot be fitted to {n_train:,} training cells and {n_genes:,}"
            " genes: lower n_reference_components."
        )


def most_variable(variance: Floats, mean: Floats, gene_names: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
    """Positions, ascending, of the genes with the largest variance of log-normalised counts; ties by name."""
    log_variance = np.log(variance, where=variance > 1e-11 * mean**2, out=np.full(variance.size, -np.inf))
    order = np.lexsort((gene_names.astype(str), -np.round(log_variance, _DECIMALS)))
    return np.sort(order[:N_GENES])


def _expression(block: csr_array) -> Iterable[csr_array]:
    """Log-normalised counts, 1,024 cells at a time."""
    for start in range(0, block.shape[0], _PART_ROWS):
        part = block[start : start + _PART_ROWS].astype(np.float64)
        library_sizes = np.maximum(np.asarray(part.sum(axis=1)).ravel(), 1.0)
        part.data = np.log1p(part.data * np.repeat(COUNTS_PER_CELL / library_sizes, np.diff(part.indptr)))
        yield part


def _train_expression(blocks: Blocks, is_train: npt.NDArray[np.bool_]) -> Iterable[csr_array]:
    start = 0
    for block in blocks():
        stop = start + block.shape[0]
        yield from _expression(block[np.flatnonzero(is_train[start:stop])])
        start = stop


def _moments(blocks: Blocks, is_train: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Mean and variance of each gene over the training cells, each (n_genes,)."""
    sums, squares = np.zeros(1), np.zeros(1)
    for part in _train_expression(blocks, is_train):
        sums = sums + np.asarray(part.sum(axis=0)).ravel()
        squares = squares + np.asarray(part.multiply(part).sum(axis=0)).ravel()
    mean = np.asarray(sums / np.count_nonzero(is_train))
    variance = np.maximum(squares / np.count_nonzero(is_train) - mean**2, 0.0)
    return mean, np.where(variance > 1e-11 * mean**2, variance, 0.0)


def _correlation(
    blocks: Blocks, is_train: npt.NDArray[np.bool_], genes: npt.NDArray[np.intp], centre: Floats, scale: Floats
) -> Floats:
    """Sum over training cells of the products of standardised expression, (n_chosen, n_chosen)."""
    products = np.zeros((genes.size, genes.size))
    for part in _train_expression(blocks, is_train):
        standardised = (part[:, genes].toarray() - centre) * scale
        products += standardised.T @ standardised
    return products


def _leading_vectors(matrix: Floats, n_components: int) -> Floats:
    """Eigenvectors (k, n_components) of the largest eigenvalues, the largest entry of each positive."""
    from scipy.linalg import eigh

    k = len(matrix)
    vectors = eigh(matrix, subset_by_index=[k - n_components, k - 1])[1][:, ::-1]
    largest = np.argmax(np.abs(vectors), axis=0)
    return np.asarray(vectors * np.sign(vectors[largest, np.arange(n_components)]))
