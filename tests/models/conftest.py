"""Cells for the tests of models: small made ones, and real ones where the shared data are at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from nsl_assets.tasks import CountRows, write_counts

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

MakeCells = Callable[..., CountRows]


def _rows(counts: csr_array, path: Path, gene_names: Any, cell_names: Any, **options: int) -> CountRows:
    blocks = (counts[i : i + 1000] for i in range(0, counts.shape[0], 1000))
    store = write_counts(path, blocks, counts.shape[1], **options)
    return CountRows(store, np.arange(counts.shape[0]), np.asarray(cell_names), np.asarray(gene_names))


@pytest.fixture
def make_cells(tmp_path: Path) -> MakeCells:
    """(n_cells, n_genes) counts -> CountRows in a fresh store."""
    made = iter(range(1000))

    def make(counts: Any, gene_names: Any = None, **options: int) -> CountRows:
        rows = csr_array(np.asarray(counts, dtype=np.uint32))
        genes = [f"gene{i:04d}" for i in range(rows.shape[1])] if gene_names is None else gene_names
        cells = [f"cell{i}" for i in range(rows.shape[0])]
        return _rows(rows, tmp_path / f"counts{next(made)}.zarr", genes, cells, **options)

    return make


def simulated_counts(n_cells: int = 300, n_genes: int = 120, seed: int = 0) -> np.ndarray:
    """Counts with three latent factors; the first cell is empty, the last gene is never seen."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n_cells, 3)) @ rng.normal(size=(3, n_genes)) * 0.5
    counts = rng.poisson(np.exp(factors + rng.normal(0, 1, n_genes)))
    counts[0] = 0
    counts[:, -1] = 0
    return counts


@dataclass(frozen=True)
class RealCells:
    cells: CountRows
    counts: csr_array
    labels: np.ndarray


@pytest.fixture(scope="session")
def real_cells(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RealCells]:
    """Cells of one of the shared files with their cell types; skips where the file is absent."""
    read: dict[str, RealCells] = {}

    def get(name: str) -> RealCells:
        if not (DATA / f"{name}.h5ad").is_file():
            pytest.skip(f"{name}.h5ad is not in {DATA}")
        if name not in read:
            import anndata

            file = anndata.read_h5ad(DATA / f"{name}.h5ad")
            counts = csr_array(file.X.astype(np.uint32))
            path = tmp_path_factory.mktemp("real") / "counts.zarr"
            cells = _rows(counts, path, file.var_names.to_numpy(), file.obs_names.to_numpy())
            read[name] = RealCells(cells, counts, file.obs["cell_type"].astype(str).to_numpy())
        return read[name]

    return get


@pytest.fixture
def counts() -> np.ndarray:
    return simulated_counts()


@pytest.fixture
def cells(make_cells: MakeCells, counts: np.ndarray) -> CountRows:
    return make_cells(counts)
