"""Shared by all tests: the real data beside the project, a storage of its own, a small real-looking .h5ad."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the small real data sets; skips where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not here")
    return folder


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty storage folder and Dagster instance of its own, named by the environment."""
    folder = tmp_path / "storage"
    folder.mkdir()
    monkeypatch.setenv("NSL_STORAGE", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    monkeypatch.setenv("NSL_LEDGER", str(tmp_path / "ledger"))
    return folder


def make_h5ad(path: Path, *, n_cells: int = 400, n_genes: int = 60, seed: int = 0) -> Path:
    """Counts of three cell types that differ in a third of the genes each, with proteins and donors."""
    rng = np.random.default_rng(seed)
    cell_type = rng.integers(0, 3, n_cells)
    rates = np.full((3, n_genes), 1.0)
    for kind in range(3):
        rates[kind, kind::3] = 5.0
    counts = rng.poisson(rates[cell_type] * rng.lognormal(0, 0.3, (n_cells, 1)))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(cell_type, ["B", "T", "monocyte"]),
            "age": cell_type + rng.normal(0, 0.1, n_cells),
            "donor": pd.Categorical([f"donor{i % 8}" for i in range(n_cells)]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(counts.astype(np.int32)),
        obs=obs,
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
        obsm={"protein": rng.poisson(10 + 20 * np.eye(3)[cell_type])},
    )
    adata.layers["normalised"] = scipy.sparse.csr_matrix(np.log1p(counts / counts.sum(1, keepdims=True) * 1e4))
    adata.write_h5ad(path)
    return path


@pytest.fixture
def small_h5ad(tmp_path: Path) -> Path:
    """A small .h5ad file with raw counts, cell types, proteins and donors."""
    return make_h5ad(tmp_path / "cells.h5ad")
