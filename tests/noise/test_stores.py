"""Thinning from store to store, and realised depth, on made-up and on real cells."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from nsl_assets.errors import InputError
from nsl_assets.noise import realised_depth, thin, write_noised
from nsl_assets.randomness import identity_keys
from nsl_assets.tasks import (
    CountStore,
    H5adTask,
    open_counts,
    open_task,
    write_auxiliary,
    write_counts,
    write_data,
)

CELLS, GENES = [f"cell{i}" for i in range(90)], [f"gene{i}" for i in range(40)]


@pytest.fixture
def source(tmp_path: Path) -> CountStore:
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.lognormal(0, 1.5, 40), (90, 40)).astype(np.uint32)
    dense[5] = 0
    dense[8, 3] = 3_000_000_000
    return write_counts(tmp_path / "source.zarr", [csr_array(dense)], 40)


def noised(source: CountStore, path: Path, **options: int) -> csr_array:
    write_noised(source, path, level=0.2, seed=1, cell_names=CELLS, gene_names=GENES, **options)
    return open_counts(path).rows(0, 90)


@pytest.mark.parametrize(
    "options", [{}, {"rows_per_block": 1}, {"rows_per_block": 7, "n_threads": 3}, {"chunk_entries": 64}]
)
def test_blocks_threads_and_chunks_change_nothing(source: CountStore, tmp_path: Path, options: dict[str, int]) -> None:
    expected = thin(
        source.rows(0, 90), level=0.2, seed=1, cell_keys=identity_keys(CELLS), gene_keys=identity_keys(GENES)
    )
    np.testing.assert_array_equal(noised(source, tmp_path / "noised.zarr", **options).toarray(), expected.toarray())


def test_names_must_be_one_each_and_unique(source: CountStore, tmp_path: Path) -> None:
    path = tmp_path / "noised.zarr"
    with pytest.raises(InputError, match="89 cell names were given; the store has 90 cells"):
        write_noised(source, path, level=0.5, seed=0, cell_names=CELLS[:-1], gene_names=GENES)
    with pytest.raises(InputError, match="gene names appear more than once"):
        write_noised(source, path, level=0.5, seed=0, cell_names=CELLS, gene_names=["MALAT1"] * 40)
    assert not path.exists()


def test_a_bad_level_is_refused_before_anything_is_written(source: CountStore, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="above 0, at most 1"):
        write_noised(source, tmp_path / "noised.zarr", level=2.0, seed=0, cell_names=CELLS, gene_names=GENES)
    assert not (tmp_path / "noised.zarr").exists()


def test_depth_counts_empty_cells(tmp_path: Path) -> None:
    store = write_counts(tmp_path / "counts.zarr", [csr_array(np.array([[1, 2], [0, 0], [4, 2**32 - 1]]))], 2)
    depth = realised_depth(store, np.array([2, 0, 1]))
    assert (depth.umis_per_cell, depth.n_cells, depth.n_nonempty_cells) == ((3 + 4 + 2**32 - 1) / 3, 3, 2)
    assert depth.to_json() == {"umis_per_cell": depth.umis_per_cell, "n_cells": 3, "n_nonempty_cells": 2}
    assert realised_depth(store, np.array([1])).umis_per_cell == 0.0
    with pytest.raises(InputError, match="at least one row"):
        realised_depth(store, np.array([], dtype=np.intp))


def test_real_cells_keep_the_expected_share_of_their_molecules(shared_data: Path, tmp_path: Path) -> None:
    settings = H5adTask(path=shared_data / "citeseq_pbmc10k.h5ad", auxiliary="obsm:protein")
    for part in ("data", "auxiliary"):
        (tmp_path / part).mkdir()
    write_data(settings, tmp_path / "data")
    write_auxiliary(settings, tmp_path / "auxiliary")
    task = open_task(tmp_path / "data", tmp_path / "auxiliary")
    measured = realised_depth(task.counts, task.probe_rows())
    for level in (0.5, 0.02):
        store = write_noised(
            task.counts,
            tmp_path / f"{level}.zarr",
            level=level,
            seed=0,
            cell_names=task.cell_names,
            gene_names=task.gene_names,
        )
        depth = realised_depth(store, task.probe_rows())
        molecules = measured.umis_per_cell * measured.n_cells
        error = np.sqrt(molecules * level * (1 - level)) / measured.n_cells
        assert abs(depth.umis_per_cell - level * measured.umis_per_cell) < 4.5 * error
        assert depth.n_cells == measured.n_cells
        before, after = task.counts.rows(0, 500).toarray(), store.rows(0, 500).toarray()
        assert (after <= before).all()
