"""Thinning of matrices: what decides the result, what must not, and what is refused."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array, csr_matrix

from nsl_assets.errors import InputError
from nsl_assets.noise import thin
from nsl_assets.randomness import identity_keys


def keys(n: int, kind: str) -> npt.NDArray[np.uint64]:
    return identity_keys(f"{kind}{i}" for i in range(n))


def thinned(counts: csr_array, level: float = 0.4, seed: int = 7, n_threads: int = 1) -> csr_array:
    n_cells, n_genes = counts.shape
    return thin(
        counts,
        level=level,
        seed=seed,
        cell_keys=keys(n_cells, "cell"),
        gene_keys=keys(n_genes, "gene"),
        n_threads=n_threads,
    )


@pytest.fixture(scope="module")
def counts() -> csr_array:
    """Sparse counts with empty cells, a cell of more genes than one pass of the kernel holds, and large counts."""
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.lognormal(-1.5, 1.5, 3_000), (200, 3_000)).astype(np.uint32)
    dense[[3, 50, 199]] = 0
    dense[7] = rng.poisson(3, 3_000)
    dense[9, ::100] = rng.integers(65, 2**32, 30)
    return csr_array(dense)


def assert_same(a: csr_array, b: csr_array) -> None:
    assert a.shape == b.shape
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_the_result_is_clean_and_empty_cells_stay(counts: csr_array) -> None:
    left = thinned(counts, level=0.01)
    assert left.dtype == np.uint32
    assert left.shape == counts.shape
    assert left.data.min() > 0
    assert left.has_sorted_indices
    assert np.diff(left.indptr)[[3, 50, 199]].tolist() == [0, 0, 0]
    assert (np.diff(left.indptr) == 0).sum() >= 3


def test_order_of_cells_and_genes_changes_nothing(counts: csr_array) -> None:
    rng = np.random.default_rng(1)
    cells, genes = rng.permutation(counts.shape[0]), rng.permutation(counts.shape[1])
    shuffled = thin(
        counts[cells][:, genes],
        level=0.4,
        seed=7,
        cell_keys=keys(counts.shape[0], "cell")[cells],
        gene_keys=keys(counts.shape[1], "gene")[genes],
    )
    np.testing.assert_array_equal(shuffled.toarray(), thinned(counts).toarray()[cells][:, genes])


@settings(deadline=None)
@given(rows=st.sets(st.integers(0, 199), min_size=1, max_size=8), n_genes=st.integers(1, 3_000))
def test_other_cells_and_genes_change_nothing(counts: csr_array, rows: set[int], n_genes: int) -> None:
    chosen = sorted(rows)
    part = thin(
        counts[chosen][:, :n_genes],
        level=0.4,
        seed=7,
        cell_keys=keys(200, "cell")[chosen],
        gene_keys=keys(n_genes, "gene"),
    )
    np.testing.assert_array_equal(part.toarray(), thinned(counts)[chosen][:, :n_genes].toarray())


@pytest.mark.parametrize("n_threads", [2, 3, 16])
def test_threads_change_nothing(counts: csr_array, n_threads: int) -> None:
    assert_same(thinned(counts, n_threads=n_threads), thinned(counts))


def test_seeds_and_levels_change_the_draw(counts: csr_array) -> None:
    first = thinned(counts)
    assert (first != thinned(counts, seed=8)).nnz > 0
    assert (first != thinned(counts, level=0.400001)).nnz > first.nnz / 10
    assert_same(first, thinned(counts, level=np.float64(0.4), seed=np.int64(7)))  # type: ignore[arg-type]


def test_level_one_keeps_all_molecules(counts: csr_array) -> None:
    kept = thinned(counts, level=1.0)
    assert_same(kept, counts)
    kept.data[:] = 0
    assert counts.data.min() > 0, "the caller's counts were handed out"


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_form_of_the_matrix_changes_nothing(counts: csr_array, level: float) -> None:
    expected = thinned(counts, level=level)
    with_zeros = counts.copy()
    with_zeros = csr_array(
        (
            np.append(counts.data, 0).astype(np.uint32),
            np.append(counts.indices, 2),
            np.append(counts.indptr[:-1], counts.nnz + 1),
        ),
        shape=counts.shape,
    )
    reversed_genes = csr_array(counts[:, ::-1].toarray())[:, ::-1]
    read_only = counts.copy()
    for array in (read_only.data, read_only.indices, read_only.indptr):
        array.setflags(write=False)
    forms = {
        "explicit zero": with_zeros,
        "unsorted": reversed_genes,
        "int64": counts.astype(np.int64),
        "float64": counts.astype(np.float64),
        "spmatrix": csr_matrix(counts),
        "read-only": read_only,
    }
    for form in forms.values():
        assert_same(thinned(form, level=level), expected)


def test_duplicate_entries_are_molecules_of_one_count() -> None:
    twice = csr_array((np.array([2, 3, 1]), np.array([1, 1, 0]), np.array([0, 3])), shape=(1, 2))
    assert_same(thinned(twice), thinned(csr_array(np.array([[1, 5]]))))
    assert twice.nnz == 3, "the caller's matrix was changed"


@settings(deadline=None)  # a new level needs a new table
@given(
    values=hnp.arrays(
        np.uint32,
        (4, 5),
        elements=st.one_of(st.integers(0, 3), st.integers(60, 70), st.integers(0, 2**32 - 1), st.just(2**32 - 1)),
    ),
    level=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_molecule_is_invented(values: npt.NDArray[np.uint32], level: float, seed: int) -> None:
    left = thinned(csr_array(values), level=level, seed=seed)
    assert (left.toarray() <= values).all()
    assert (left.data > 0).all()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 4)])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_nothing_to_thin(shape: tuple[int, int], n_threads: int) -> None:
    left = thinned(csr_array(shape, dtype=np.uint32), n_threads=n_threads)
    assert left.shape == shape
    assert left.nnz == 0


@pytest.mark.parametrize("level", [0.0, -0.1, 1.000001, float("nan"), float("inf")])
def test_levels_outside_zero_to_one_are_refused(counts: csr_array, level: float) -> None:
    with pytest.raises(InputError, match="above 0, at most 1"):
        thinned(counts, level=level)


@pytest.mark.parametrize("value", [0.37, -1, np.nan, np.inf, 2.0**32])
def test_values_that_are_no_counts_are_refused(value: float) -> None:
    for level in (0.5, 1.0):
        with pytest.raises(InputError, match="raw counts are needed"):
            thinned(csr_array(np.array([[1.0, value]])), level=level)
    with pytest.raises(InputError, match=r"hold -3\b"):
        thinned(csr_array(np.array([[1, -3]])))


def test_keys_must_be_one_each(counts: csr_array) -> None:
    with pytest.raises(InputError, match="199 cell keys and 3000 gene keys"):
        thin(counts, level=0.5, seed=0, cell_keys=keys(199, "cell"), gene_keys=keys(3_000, "gene"))


def test_importing_the_room_is_quick() -> None:
    heavy = "{'numba', 'scipy', 'zarr', 'anndata', 'pandas', 'torch', 'sklearn', 'matplotlib', 'dagster'}"
    code = f"import sys, nsl_assets.noise; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"
