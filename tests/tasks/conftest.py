"""Small files of clones and of tissue whose answer is known."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from nsl_assets.tasks import Task, TaskSettings, open_task, write_auxiliary, write_data

N_GENES = 80


def counts_of(latent: np.ndarray, rng: np.random.Generator, umis_per_cell: float = 4000) -> csr_matrix:
    """Poisson counts of cells whose expression follows one latent number each, (n_cells, N_GENES)."""
    loadings = np.linspace(-0.7, 0.7, N_GENES)
    rates = np.exp(latent[:, None] * loadings)
    return csr_matrix(rng.poisson(umis_per_cell * rates / rates.sum(axis=1, keepdims=True)).astype(np.int32))


def write(path: Path, latent: np.ndarray, obs: dict[str, object], rng: np.random.Generator, **obsm: np.ndarray) -> Path:
    names = [f"cell{i}" for i in range(latent.size)]
    genes = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    adata = anndata.AnnData(counts_of(latent, rng), obs=pd.DataFrame(obs, index=names), var=genes, obsm=dict(obsm))
    adata.write_h5ad(path)
    return path


@pytest.fixture
def clonal_h5ad(tmp_path: Path) -> Callable[..., Path]:
    """Writes clones: two cells at day 2 and two at day 6, whose states have the given correlation; others beside."""

    def make(n_clones: int = 150, correlation: float = 0.9, n_others: int = 120) -> Path:
        rng = np.random.default_rng(0)
        shared = rng.standard_normal(n_clones)
        early = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_normal((2, n_clones))
        late = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_normal((2, n_clones))
        clones = [f"clone{i}" for i in range(n_clones)] * 4
        days = [2] * (2 * n_clones) + [6] * (2 * n_clones)
        # Clones of one time point, and cells without a clone.
        clones += [f"alone{i // 2}" if i % 3 else None for i in range(n_others)]
        days += [2 if i < n_others // 2 else 6 for i in range(n_others)]
        latent = np.concatenate([early.ravel(), late.ravel(), rng.standard_normal(n_others)])
        return write(tmp_path / "clones.h5ad", latent, {"clone": clones, "day": days}, rng)

    return make


@pytest.fixture
def spatial_h5ad(tmp_path: Path) -> Callable[..., Path]:
    """Writes cells of a tissue whose state changes smoothly from place to place; two sections of the same places."""

    def make(n_cells: int = 1200, n_sections: int = 1) -> Path:
        rng = np.random.default_rng(1)
        places = rng.uniform(0, 100, (n_cells, 2))
        latent = np.sin(places[:, 0] / 8) + np.cos(places[:, 1] / 8)
        section = [f"slice{i % n_sections}" for i in range(n_cells)]
        return write(tmp_path / "tissue.h5ad", latent, {"section": section}, rng, spatial=places)

    return make


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[TaskSettings], Task]:
    """Writes and opens a task, each in folders of its own."""
    n_opened = 0

    def opened(settings: TaskSettings) -> Task:
        nonlocal n_opened
        n_opened += 1
        data, auxiliary = (tmp_path / f"task{n_opened}" / part for part in ("data", "auxiliary"))
        data.mkdir(parents=True)
        auxiliary.mkdir()
        write_data(settings, data)
        write_auxiliary(settings, auxiliary)
        return open_task(data, auxiliary)

    return opened


@pytest.fixture
def shuffled() -> Callable[[Path], Path]:
    """Writes the same cells in another order, into a file beside it."""

    def shuffle(path: Path) -> Path:
        adata = anndata.read_h5ad(path)
        other = path.with_name(f"shuffled_{path.name}")
        adata[np.random.default_rng(5).permutation(adata.n_obs)].copy().write_h5ad(other)
        return other

    return shuffle
