"""Highly variable genes, computed from sums over the training cells at the noise level at hand.

Two criteria, see docs/decisions/highly-variable-genes.md: the variance of log-normalised counts, and the
normalised dispersion of Seurat v1 (Satija et al. 2015), the default of `scanpy.pp.highly_variable_genes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.models.preprocessing import (
    ColumnSums,
    FloatArray,
    IndexArray,
    Moments,
    log_normalised,
    normalised,
    sorted_parts,
)

if TYPE_CHECKING:
    from nsl_assets.tasks import CountRows

Criterion = Literal["log_variance", "seurat_dispersion"]

N_MEAN_BINS: Final = 20
_DECIMALS: Final = 9  # scores that agree to so many decimals are ties, not summation order
_BIN_MARGIN: Final = 0.001  # the lowest bin reaches this fraction of the range below the smallest mean


@dataclass(frozen=True)
class GeneStatistics:
    """What one pass over cells says about each gene; empty cells count as zeros."""

    expression: Moments
    """Of log-normalised counts, variance with the denominator n_cells."""
    scores: FloatArray
    """How variable each gene is by the criterion asked for, (n_genes,); -inf for constant genes."""
    n_cells: int
    n_nonempty_cells: int


def gene_statistics(cells: CountRows, criterion: Criterion) -> GeneStatistics:
    """One pass over the cells. Needs at least one cell."""
    logged, linear, n_nonempty = ColumnSums(cells.n_genes), ColumnSums(cells.n_genes), 0
    for part in sorted_parts(cells):
        logged.add(log_normalised(part))
        if criterion == "seurat_dispersion":
            linear.add(normalised(part))
        n_nonempty += int(np.count_nonzero(np.diff(part.indptr)))
    expression = logged.moments(ddof=0)
    by_dispersion = criterion == "seurat_dispersion"
    scores = normalised_dispersion(linear.moments(ddof=1)) if by_dispersion else log_variance(expression)
    return GeneStatistics(expression, scores, cells.n_cells, n_nonempty)


def highly_variable_genes(scores: FloatArray, gene_names: npt.NDArray[Any], n_chosen: int) -> IndexArray:
    """Positions, ascending, of the genes with the highest scores; all genes if there are no more than asked.

    Equal scores are ordered by gene name, so that the order of genes in the file decides nothing. Constant
    genes are taken only when no varying gene is left.
    """
    order = np.lexsort((gene_names.astype(str), -np.round(scores, _DECIMALS)))
    return np.sort(order[:n_chosen])


def log_variance(expression: Moments) -> FloatArray:
    """Log of the variance of log-normalised counts, (n_genes,); -inf for constant genes."""
    scores = np.full(expression.mean.size, -np.inf)
    varying = ~expression.is_constant
    scores[varying] = np.log(expression.variance[varying])
    return scores


def normalised_dispersion(moments: Moments) -> FloatArray:
    """Seurat's score from moments of counts per 10,000, (n_genes,); -inf for constant genes.

    Genes are put into 20 bins of log mean; the log of variance / mean is standardised within the bin.
    """
    scores = np.full(moments.mean.size, -np.inf)
    varying = ~moments.is_constant
    bins = _mean_bins(np.log1p(moments.mean))
    dispersion = np.log(moments.variance[varying] / moments.mean[varying])
    scores[varying] = _standardised_within(dispersion, bins[varying])
    return scores


def _mean_bins(log_mean: FloatArray) -> IndexArray:
    """Bin of each gene; 20 bins of equal width, closed on the right, as `pandas.cut` makes them."""
    low, high = float(log_mean.min()), float(log_mean.max())
    edges = np.linspace(low, high, N_MEAN_BINS + 1)
    edges[0] -= _BIN_MARGIN * (high - low)
    return np.clip(np.searchsorted(edges, log_mean, side="left") - 1, 0, N_MEAN_BINS - 1)


def _standardised_within(dispersion: FloatArray, bins: IndexArray) -> FloatArray:
    """(dispersion - mean of its bin) / standard deviation of its bin (n - 1).

    A gene alone in its bin scores 1, as in Seurat; where a bin's dispersions are all equal, they score 0.
    """
    n = np.bincount(bins, minlength=N_MEAN_BINS)
    mean = np.bincount(bins, dispersion, N_MEAN_BINS) / np.maximum(n, 1)
    residual = dispersion - mean[bins]
    variance = np.bincount(bins, residual**2, N_MEAN_BINS) / np.maximum(n - 1, 1)
    is_flat = variance <= (1e-12 * (1 + np.abs(mean))) ** 2
    scores = np.where(is_flat[bins], 0.0, residual / np.sqrt(np.where(is_flat, 1.0, variance))[bins])
    return np.where(n[bins] == 1, 1.0, scores)
