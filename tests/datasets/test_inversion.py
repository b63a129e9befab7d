"""Normalised counts become the very counts that they were made from, or the cell is named."""

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_array

from nsl_assets.datasets.inversion import rounded, truncated
from nsl_assets.randomness import generator


def counts_of(n_cells: int, n_genes: int, mean: float, seed: int = 0) -> np.ndarray:
    rng = generator("inversion", seed)
    rates = rng.lognormal(0, 1.5, n_genes)
    return rng.poisson(rates * mean / rates.mean(), (n_cells, n_genes))


def normalised(counts: np.ndarray, digits: int) -> csr_array:
    """Each cell scaled to the mean library size, and printed with so many significant digits."""
    totals = counts.sum(axis=1, keepdims=True)
    scaled = counts / np.maximum(totals, 1) * totals.mean()
    return csr_array(np.array([[float(f"{value:.{digits}g}") for value in row] for row in scaled]))


@pytest.mark.parametrize("digits", [5, 7, 16])
@pytest.mark.parametrize("mean", [0.3, 4.0, 300.0])
def test_counts_come_back_exactly_from_few_digits(digits, mean):
    counts = counts_of(200, 60, mean)
    inverted = rounded(normalised(counts, digits), tolerance=0.1)
    np.testing.assert_array_equal(inverted.counts.toarray(), counts)
    assert inverted.residual.max() < 0.1


def test_a_cell_whose_smallest_count_is_above_one_is_recognised():
    counts = counts_of(50, 40, 6.0)
    counts[3] = [0, 2, 3, 5] * 10
    counts[9] = [3, 4, 0, 0] * 10
    inverted = rounded(normalised(counts, 9), tolerance=0.05)
    np.testing.assert_array_equal(inverted.counts.toarray(), counts)
    assert inverted.smallest[[3, 9]].tolist() == [2, 3]


def test_values_that_are_no_counts_leave_a_residual_in_their_cell_alone():
    values = normalised(counts_of(30, 40, 3.0), 9).toarray()
    values[7] *= generator("noise").uniform(0.8, 1.2, 40)
    residual = rounded(csr_array(values), tolerance=0.05).residual
    assert residual[7] > 0.05
    assert np.delete(residual, 7).max() < 0.05


def test_empty_cells_and_blocks_stay_empty():
    counts = counts_of(10, 8, 2.0)
    counts[:, 2] = 1
    counts[[0, 4, 9]] = 0
    inverted = rounded(normalised(counts, 7), tolerance=0.1)
    np.testing.assert_array_equal(inverted.counts.toarray(), counts)
    assert inverted.residual[[0, 4, 9]].tolist() == [0, 0, 0]
    assert rounded(csr_array((3, 5)), tolerance=0.1).counts.nnz == 0


def test_the_published_truncation_loses_counts_and_never_adds_any():
    counts = counts_of(300, 60, 4.0)
    cut = truncated(normalised(counts, 7)).toarray()
    assert np.all(cut <= counts)
    assert np.count_nonzero(cut < counts) > 0
    assert np.all(counts - cut <= 1)


def test_real_counts_of_this_data_set_come_back_exactly(shared_data: Path):
    counts = anndata.read_h5ad(shared_data / "clonal_larry781.h5ad").X[:200].toarray()
    inverted = rounded(normalised(counts, 6), tolerance=0.1)
    np.testing.assert_array_equal(inverted.counts.toarray(), counts)
