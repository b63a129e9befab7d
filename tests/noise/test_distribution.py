"""The draws follow the binomial law: chi-square against scipy's exact masses, mean and variance, independence."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.sparse import csr_array

from nsl_assets.noise import thin
from nsl_assets.noise.thinning import stream_key
from nsl_assets.randomness import identity_keys

from .test_random_words import MASK, philox

LEVELS = (0.001, 0.02, 0.1, 0.35, 0.5, 0.8, 0.97)
COUNTS = (*range(1, 21), 63, 64, 65, 66, 100, 300, 5_000, 70_000, 10_000_019, 2**32 - 1)
N_DRAWS = 20_000
# Fixed seed, about 200 chi-square tests: a right kernel fails one in a thousand choices of the seed.
SMALLEST_P = 1e-3 / (len(LEVELS) * len(COUNTS))
SMALLEST_EXPECTED = 10.0


def draws(counts: npt.ArrayLike, level: float, n_cells: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """n_cells cells with the same counts, thinned: (n_cells, n_genes)."""
    row = np.asarray(counts, dtype=np.uint32)
    cells = identity_keys(f"cell {i}" for i in range(n_cells))
    genes = identity_keys(f"gene {i}" for i in range(row.size))
    matrix = csr_array(np.tile(row, (n_cells, 1)))
    thinned = thin(matrix, level=level, seed=seed, cell_keys=cells, gene_keys=genes)
    return np.asarray(thinned.toarray(), dtype=np.int64)


def p_value(drawn: npt.NDArray[np.int64], n: int, level: float) -> float:
    """Chi-square with bins of neighbouring values that hold at least ten expected draws each."""
    law = stats.binom(n, level)
    n_bins = int(np.clip(drawn.size / (4 * SMALLEST_EXPECTED), 2, 200))
    edges = np.unique(law.ppf(np.arange(1, n_bins) / n_bins))
    mass = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]]))
    observed = np.bincount(np.searchsorted(edges, drawn), minlength=mass.size)
    while mass.size > 1 and mass.min() * drawn.size < SMALLEST_EXPECTED:
        i = int(np.argmin(mass))
        j = i - 1 if i == mass.size - 1 else i
        mass = np.add.reduceat(mass, np.delete(np.arange(mass.size), j + 1))
        observed = np.add.reduceat(observed, np.delete(np.arange(observed.size), j + 1))
    if mass.size == 1:  # all but certain
        return 1.0
    return float(stats.chisquare(observed, mass * drawn.size).pvalue)


@pytest.mark.parametrize("level", LEVELS)
def test_draws_follow_the_binomial_law(level: float) -> None:
    drawn = draws(COUNTS, level, N_DRAWS)
    p_values = {n: p_value(drawn[:, i], n, level) for i, n in enumerate(COUNTS)}
    assert {n: p for n, p in p_values.items() if p < SMALLEST_P} == {}


def test_the_chi_square_notices_a_slightly_wrong_level() -> None:
    drawn = draws([1, 5, 300, 70_000], 0.1, N_DRAWS)
    assert max(p_value(drawn[:, i], n, 0.11) for i, n in enumerate([1, 5, 300, 70_000])) < SMALLEST_P


@pytest.mark.parametrize("level", [0.003, 0.1, 0.6, 0.99])
def test_mean_and_variance(level: float) -> None:
    counts = np.array([1, 2, 7, 40, 64, 65, 1_000, 10**6, 2**32 - 1])
    drawn = draws(counts, level, N_DRAWS)
    law = stats.binom(counts, level)
    mean_error = (drawn.mean(axis=0) - law.mean()) / np.sqrt(law.var() / N_DRAWS)
    kurtosis = law.stats(moments="k")
    variance_error = (drawn.var(axis=0) / law.var() - 1) / np.sqrt((kurtosis + 2) / N_DRAWS)
    assert np.abs(mean_error).max() < 4.5
    assert np.abs(variance_error).max() < 4.5


@pytest.mark.parametrize("level", [0.000001, 0.05, 0.5, 0.999999])
def test_small_counts_invert_the_distribution_function(level: float) -> None:
    """The same draws from plain Python integers and scipy: what is kept is the quantile of the random word."""
    counts = np.array([1, 2, 3, 8, 9, 30, 64])
    drawn = draws(counts, level, 50, seed=3)
    key = int(stream_key(3, level))
    cells = identity_keys(f"cell {i}" for i in range(50)).tolist()
    genes = identity_keys(f"gene {i}" for i in range(counts.size)).tolist()
    for cell, row in zip(cells, drawn.tolist(), strict=True):
        for gene, n, kept in zip(genes, counts.tolist(), row, strict=True):
            counter = (cell & MASK, gene & MASK, cell >> 32, gene >> 32)
            high, low, *_ = philox(counter, (key & MASK, key >> 32))
            assert kept == stats.binom.ppf(((high << 32 | low) + 0.5) / 2**64, n, level)


def correlation(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Pearson's, in units of its standard error under independence."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1] * np.sqrt(a.size))


@pytest.mark.parametrize("count", [1, 6, 90, 100_000])
def test_cells_genes_seeds_and_levels_are_independent(count: int) -> None:
    first = draws(np.full(300, count), 0.3, 300)
    others = {
        "neighbouring cells": (first[1:], first[:-1]),
        "neighbouring genes": (first[:, 1:], first[:, :-1]),
        "cell and gene exchanged": (first, first.T),
        "seeds": (first, draws(np.full(300, count), 0.3, 300, seed=1)),
        "levels": (first, draws(np.full(300, count), 0.31, 300)),
        "complementary levels": (first, draws(np.full(300, count), 0.7, 300)),
    }
    assert {name: r for name, pair in others.items() if abs(r := correlation(*pair)) > 4.5} == {}


def test_cells_vary_as_independent_molecules_do() -> None:
    """Totals of cells and of genes: variance n q (1 - q), which shared words within a row would inflate."""
    drawn = draws(np.full(400, 3), 0.2, 400)
    expected = 400 * 3 * 0.2 * 0.8
    for axis in (0, 1):
        assert abs(drawn.sum(axis=axis).var() / expected - 1) < 4.5 * np.sqrt(2 / 400)
