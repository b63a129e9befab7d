"""Stores of counts give back the matrix that was written, however it was cut and whatever is asked."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, vstack

from nsl_assets.errors import InputError, StorageError
from nsl_assets.tasks import BLOCK_ROWS, CountRows, open_counts, write_counts


def poisson(n_cells: int, n_genes: int = 60, seed: int = 0) -> csr_array:
    return csr_array(np.random.default_rng(seed).poisson(0.5, (n_cells, n_genes)))


def blocks_of(matrix: csr_array, cuts: list[int]) -> list[csr_array]:
    edges = [0, *sorted(cuts), matrix.shape[0]]
    return [matrix[a:b] for a, b in itertools.pairwise(edges)]


def same(first: csr_array, second: csr_array) -> bool:
    return first.shape == second.shape and (first != second).nnz == 0


@given(
    cuts=st.lists(st.integers(0, 60), max_size=4),
    chunk_entries=st.sampled_from([50, 300, 4096]),
    rows=st.lists(st.integers(0, 59), max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_values_depend_neither_on_cuts_nor_on_chunks(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], chunk_entries: int, rows: list[int]
) -> None:
    matrix = poisson(60)
    path = tmp_path_factory.mktemp("store")
    write_counts(path, blocks_of(matrix, cuts), 60, chunk_entries=chunk_entries)
    store = open_counts(path)
    assert same(store.rows(0, 60), matrix)
    taken = store.take(np.array(rows, dtype=np.intp))
    assert same(taken, matrix[rows] if rows else csr_array((0, 60)))
    assert taken.data.dtype == np.uint32
    assert taken.has_sorted_indices


def test_rows_far_apart_are_taken_without_what_lies_between(tmp_path: Path) -> None:
    matrix = poisson(600)
    store = write_counts(tmp_path, [matrix], 60, chunk_entries=64)
    rows = np.array([599, 3, 300, 3, 301])
    assert same(store.take(rows), matrix[rows])


@pytest.mark.parametrize("largest", [65_535, 65_536, 2**32 - 1])
@pytest.mark.parametrize("row", [0, 150, 299])
def test_large_counts_stay_exact_wherever_they_first_occur(tmp_path: Path, largest: int, row: int) -> None:
    dense = np.random.default_rng(0).poisson(0.5, (300, 60))
    dense[row, 7] = largest
    matrix = csr_array(dense)
    store = write_counts(tmp_path, blocks_of(matrix, [100, 200]), 60, chunk_entries=50)
    np.testing.assert_array_equal(store.rows(0, 300).toarray(), dense)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "indices", "indptr", "zarr.json"]


def test_zeros_are_dropped_and_indices_sorted(tmp_path: Path) -> None:
    untidy = csr_array((np.array([1, 0, 2, 5]), np.array([4, 1, 0, 4]), np.array([0, 4])), shape=(1, 6))
    store = write_counts(tmp_path, [untidy], 6)
    row = store.rows(0, 1)
    assert (row.indices.tolist(), row.data.tolist(), store.n_nonzero) == ([0, 4], [2, 6], 2)
    assert untidy.nnz == 4, "the caller's matrix must stay as it is"


def test_empty_cells_and_empty_stores(tmp_path: Path) -> None:
    matrix = vstack([csr_array((3, 60), dtype=np.int64), poisson(2), csr_array((4, 60), dtype=np.int64)])
    store = write_counts(tmp_path / "some", [csr_array(matrix)], 60)
    np.testing.assert_array_equal(store.take(np.array([8, 3, 0])).toarray(), matrix.toarray()[[8, 3, 0]])
    assert write_counts(tmp_path / "none", [], 60).rows(0, 0).shape == (0, 60)
    assert write_counts(tmp_path / "zeros", [csr_array((5, 60), dtype=int)], 60).rows(0, 5).nnz == 0


def test_an_interrupted_write_is_not_opened(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield poisson(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_counts(tmp_path, interrupted(), 60)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="unfinished"):
        open_counts(tmp_path)


def test_a_missing_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not a store of counts"):
        open_counts(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (csr_array(np.array([[1, -2]])), "between -2 and 1"),
        (csr_array(np.array([[1, 2**32]])), "4294967296"),
        (csr_array(np.array([[1.0, 2.0]])), "integers are needed"),
        (csr_array(np.array([[1, 2, 3]])), "3 genes; 2 were expected"),
    ],
)
def test_what_is_not_a_count_is_refused(tmp_path: Path, block: csr_array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_counts(tmp_path, [block], 2)


def test_rows_outside_the_store_are_refused(tmp_path: Path) -> None:
    store = write_counts(tmp_path, [poisson(5)], 60)
    for rows in ([-1], [5]):
        with pytest.raises(IndexError, match="store with 5 rows"):
            store.take(np.array(rows))
    with pytest.raises(IndexError):
        store.rows(0, 6)


def test_blocks_are_of_fixed_size_and_join_to_the_whole(tmp_path: Path) -> None:
    matrix = poisson(2 * BLOCK_ROWS + 5, n_genes=3)
    store = write_counts(tmp_path, [matrix], 3, chunk_entries=1000)
    order = np.random.default_rng(1).permutation(matrix.shape[0])
    cells = CountRows(store, order, order.astype(str), np.array(["a", "b", "c"]))
    blocks = list(cells.blocks())
    assert [block.shape[0] for block in blocks] == [BLOCK_ROWS, BLOCK_ROWS, 5]
    assert same(csr_array(vstack(blocks)), matrix[order])
    assert same(cells.read(), matrix[order])
