"""The grid of the paper: ten training sizes and ten noise levels for each data set, evenly spaced on a log scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

N_POINTS: Final = 10
SMALLEST_SIZE: Final = 100
FEWEST_UMIS_PER_CELL: Final = 10
_LARGEST: Final = {
    "embryo": (10_000_000, 2_500),
    "pbmc_citeseq": (100_000, 8_100),
    "larry": (100_000, 2_580),
    "merfish": (60_000, 367),
}
"""Most training cells, and UMIs per cell at the measured depth, of the published measurements."""


@dataclass(frozen=True)
class PaperGrid:
    """Training sizes and levels, (10,) each: levels are fractions of the molecules that are kept, deepest first.

    The published levels have 7 decimals; a study keeps 6, and its x axis is the depth that results.
    """

    sizes: tuple[int, ...]
    levels: tuple[float, ...]


def paper_grid(name: str) -> PaperGrid:
    """The published grid of a data set. Raises KeyError for a name without one."""
    n_cells, umis_per_cell = _LARGEST[name]
    sizes = np.geomspace(SMALLEST_SIZE, n_cells, N_POINTS)
    levels = np.geomspace(1, FEWEST_UMIS_PER_CELL / umis_per_cell, N_POINTS)
    return PaperGrid(
        tuple(int(np.floor(size + 1e-6)) for size in sizes),
        tuple(round(float(level), 6) for level in levels),
    )
