"""Simulated cells: a latent Gaussian state decides both the auxiliary signal and the counts.

s ~ N(0, I_d); Y = c s + sqrt(1 - c^2) e; library size L log-normal; counts_g ~ Poisson(L p_g(s)) with
p_g(s) = exp(b_g + w_g s) / Z(s). Given their total, the counts of a cell are multinomial, and the total
depends on neither s nor Y.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.randomness import generator
from nsl_assets.tasks.auxiliary import Auxiliary
from nsl_assets.tasks.settings import SimulatedCells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK_CELLS: Final = 4096
_BLOCK_ENTRIES: Final = 2 * 1024 * 1024

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellModel:
    """Parameters of the simulated cells.

    Attributes
    ----------
    log_expression
        b, (n_genes,).
    loadings
        w, (n_genes, latent_dimensions).
    correlation
        c, of each auxiliary column with its latent dimension.
    umis_per_cell, library_size_cv
        Mean of the library size, and its standard deviation over the mean.
    seed
        Key of everything that is drawn.
    """

    log_expression: Floats
    loadings: Floats
    correlation: float
    umis_per_cell: float
    library_size_cv: float
    seed: int

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return int(self.loadings.shape[0])

    @property
    def latent_dimensions(self) -> int:
        """Dimensions of the latent state."""
        return int(self.loadings.shape[1])

    def profiles(self, latent: Floats) -> Floats:
        """p(s), the expression profile of each cell, summing to 1: (n_cells, n_genes)."""
        log_p = self.log_expression + latent @ self.loadings.T
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    def draw_latent(self, rng: np.random.Generator, n_cells: int) -> tuple[Floats, Floats]:
        """Latent states and auxiliary values of new cells, both (n_cells, latent_dimensions)."""
        latent = rng.standard_normal((n_cells, self.latent_dimensions))
        noise = rng.standard_normal(latent.shape)
        return latent, self.correlation * latent + np.sqrt(1 - self.correlation**2) * noise

    def draw_library_sizes(self, rng: np.random.Generator, n_cells: int) -> Floats:
        """Expected UMIs of new cells at level 1, (n_cells,)."""
        log_variance = np.log1p(self.library_size_cv**2)
        log_mean = np.log(self.umis_per_cell) - log_variance / 2
        return np.asarray(np.exp(log_mean + np.sqrt(log_variance) * rng.standard_normal(n_cells)))

    def draw_counts(self, rng: np.random.Generator, latent: Floats, library_sizes: Floats) -> npt.NDArray[np.int64]:
        """Counts of cells in these states, (n_cells, n_genes)."""
        return rng.poisson(library_sizes[:, None] * self.profiles(latent))

    def save(self, path: Path) -> None:
        """Write as JSON; floats keep all their digits."""
        values = {key: getattr(self, key) for key in self.__dataclass_fields__}
        path.write_text(json.dumps({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}))


def load_cell_model(path: Path) -> CellModel:
    """What `CellModel.save` wrote."""
    values: dict[str, Any] = json.loads(path.read_text())
    for key in ("log_expression", "loadings"):
        values[key] = np.asarray(values[key], dtype=np.float64)
    return CellModel(**values)


def cell_model(settings: SimulatedCells) -> CellModel:
    """Draw the genes of a simulated task."""
    rng = generator("simulated genes", settings.seed)
    return CellModel(
        log_expression=settings.expression_sd * rng.standard_normal(settings.n_genes),
        loadings=settings.loading_sd * rng.standard_normal((settings.n_genes, settings.latent_dimensions)),
        correlation=settings.correlation,
        umis_per_cell=settings.umis_per_cell,
        library_size_cv=settings.library_size_cv,
        seed=settings.seed,
    )


def simulated_names(settings: SimulatedCells) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Names of the cells (n_cells,) and genes (n_genes,)."""
    cells = np.array([f"cell{i:07d}" for i in range(settings.n_cells)], dtype=object)
    return cells, np.array([f"gene{i:05d}" for i in range(settings.n_genes)], dtype=object)


def simulated_auxiliary(settings: SimulatedCells) -> Auxiliary:
    """The auxiliary signal of all cells: continuous, one column per latent dimension."""
    model = cell_model(settings)
    values = np.concatenate([auxiliary for _, _, auxiliary in _states(settings, model)])
    return Auxiliary("continuous", values, tuple(f"signal {i + 1}" for i in range(values.shape[1])))


def simulated_counts(settings: SimulatedCells) -> Iterator[csr_array]:
    """Blocks of counts. The first cells are the same however many are asked for."""
    from scipy.sparse import csr_array

    model = cell_model(settings)
    n_together = max(1, _BLOCK_ENTRIES // settings.n_genes)
    for block, latent, _ in _states(settings, model):
        rng = generator("simulated counts", settings.seed, block)
        library_sizes = model.draw_library_sizes(rng, _BLOCK_CELLS)
        for start in range(0, latent.shape[0], n_together):
            some = slice(start, min(start + n_together, latent.shape[0]))
            yield csr_array(model.draw_counts(rng, latent[some], library_sizes[some]))


def _states(settings: SimulatedCells, model: CellModel) -> Iterator[tuple[int, Floats, Floats]]:
    """Block number, latent states and auxiliary values of all cells, block by block."""
    for block, start in enumerate(range(0, settings.n_cells, _BLOCK_CELLS)):
        n_cells = min(_BLOCK_CELLS, settings.n_cells - start)
        latent, auxiliary = model.draw_latent(generator("simulated cells", settings.seed, block), _BLOCK_CELLS)
        yield block, latent[:n_cells], auxiliary[:n_cells]
