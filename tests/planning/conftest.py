from collections.abc import Callable

import numpy as np
import pytest

from nsl_assets.laws import JointSettings, LawSettings, Surface, noise_law
from nsl_assets.planning import Evidence, evidence_of
from nsl_assets.randomness import generator


def _simulated_surface(
    *,
    imax_bits: float = 2.5,
    ubar: float = 400.0,
    sizes: tuple[int, ...] = (10_000,),
    loss_bits: float = 0.0,
    sd_bits: float = 0.02,
    n_seeds: int = 3,
    deepest: float = 8000.0,
    n_levels: int = 8,
    draw: int = 0,
) -> Surface:
    """Eq. 1 at every size; Imax falls short by ``loss_bits`` (1,000 / n)^½."""
    stream = generator("planning", draw)
    depth, n_cells, seed = (
        grid.ravel()
        for grid in np.meshgrid(np.geomspace(10, deepest, n_levels), sizes, np.arange(n_seeds), indexing="ij")
    )
    truth = noise_law(depth, imax_bits - loss_bits * np.sqrt(1000 / n_cells), ubar)
    return Surface(depth, n_cells.astype(float), truth + sd_bits * stream.standard_normal(len(depth)), seed)


@pytest.fixture
def simulated_surface() -> Callable[..., Surface]:
    return _simulated_surface


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    """Evidence on a simulated surface, by the options of ``simulated_surface``."""

    def made(settings: LawSettings | None = None, today: float | None = None, **options: float) -> Evidence:
        surface = _simulated_surface(**options)
        return evidence_of("PCA", surface, settings or LawSettings(), JointSettings(), today_umis_per_cell=today)

    return made
