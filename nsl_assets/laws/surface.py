"""A measured surface: information at several depths, training sizes and seeds, grouped into grid cells."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws.curve import Curve
from nsl_assets.laws.equations import FloatArray

MINIMUM_GRID_CELLS: Final = 6
LARGEST_LOG: Final = 300.0
"""ln of a depth or number of cells that counts as infinite."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Raw points of one task and model, one entry a measurement; arrays (n_points,).

    Points of one size and one level are replicates. Raises InputError as ``Curve`` does, and for numbers of
    cells that are not positive.
    """

    depth: FloatArray
    """UMIs per cell (or another power SNR), positive; inf is the noiseless level."""
    n_cells: FloatArray
    """Training cells, positive."""
    mi_bits: FloatArray
    """Measured mutual information in bits; may be slightly negative."""
    seed: npt.NDArray[np.int64]
    level: FloatArray | None = None
    """Optional nominal noise level; without it, equal depths of a size are replicates."""
    low_bits: FloatArray | None = None
    """Optional ends of the interval of each measurement by itself, as ``Curve`` has them."""
    high_bits: FloatArray | None = None

    def __post_init__(self) -> None:
        checked = Curve(self.depth, self.mi_bits, self.seed, self.level, self.low_bits, self.high_bits)
        for name in ("depth", "mi_bits", "seed", "level", "low_bits", "high_bits"):
            object.__setattr__(self, name, getattr(checked, name))
        cells = np.array(self.n_cells, dtype=np.float64)
        if cells.shape != self.depth.shape:
            raise InputError(
                f"a surface has {cells.size} numbers of cells for {self.depth.size} depths: give one each."
            )
        if not (cells > 0).all():
            raise InputError(f"a surface has {cells[~(cells > 0)][0]:g} training cells: positive numbers are expected.")
        cells.setflags(write=False)
        object.__setattr__(self, "n_cells", cells)

    def curve_at(self, n_cells: float) -> Curve:
        """The curve over depth at one training size."""
        rows = self.n_cells == n_cells
        level, low, high = (
            None if values is None else values[rows] for values in (self.level, self.low_bits, self.high_bits)
        )
        return Curve(self.depth[rows], self.mi_bits[rows], self.seed[rows], level, low, high)


@dataclass(frozen=True, eq=False)
class GridCells:
    """A surface by grid cell (one depth, one size): what the joint law is fitted to."""

    depth: FloatArray
    """Geometric mean of the realised depths, (n,)."""
    n_cells: FloatArray
    """Training cells, (n,)."""
    by_seed_bits: FloatArray
    """Information, (n, n_seeds); NaN where not measured."""

    @property
    def mean_bits(self) -> FloatArray:
        """Seed means, (n,)."""
        return np.asarray(np.nanmean(self.by_seed_bits, axis=1))

    @property
    def log_depth(self) -> FloatArray:
        """ln depth, (n,); a large number for the noiseless level."""
        return bounded_log(self.depth)

    @property
    def log_cells(self) -> FloatArray:
        """ln training cells, (n,)."""
        return bounded_log(self.n_cells)

    @property
    def n_seeds(self) -> int:
        """Number of seeds."""
        return int(self.by_seed_bits.shape[1])

    def chosen(self, rows: npt.NDArray[np.bool_]) -> "GridCells":
        """Some of the grid cells, by a mask (n,)."""
        return GridCells(self.depth[rows], self.n_cells[rows], self.by_seed_bits[rows])


def bounded_log(values: npt.ArrayLike) -> FloatArray:
    """ln of positive values; those beyond any data become a large number, so that limits stay finite."""
    return np.asarray(np.minimum(np.log(np.asarray(values, dtype=np.float64)), LARGEST_LOG))


def grid_cells_of(surface: Surface) -> GridCells:
    """Groups a surface by size and level, sizes first.

    Raises MeasurementError with fewer than 6 grid cells, or with one size or one depth only.
    """
    level = surface.depth if surface.level is None else surface.level
    keys, place = np.unique(np.column_stack([surface.n_cells, level]), axis=0, return_inverse=True)
    _check_grid(keys)
    seeds, column = np.unique(surface.seed, return_inverse=True)
    shape = (len(keys), len(seeds))
    counts, sums = np.zeros(shape), np.zeros(shape)
    np.add.at(counts, (place, column), 1)
    np.add.at(sums, (place, column), surface.mi_bits)
    by_seed = np.where(counts > 0, sums, np.nan) / np.where(counts > 0, counts, 1)
    log_depth = np.bincount(place, np.log(surface.depth)) / np.bincount(place)
    return GridCells(np.exp(log_depth), keys[:, 0], by_seed)


def _check_grid(keys: FloatArray) -> None:
    n_sizes, n_levels = (len(np.unique(column)) for column in keys.T)
    if len(keys) < MINIMUM_GRID_CELLS or n_sizes < 2 or n_levels < 2:
        raise MeasurementError(
            f"a surface has {n_sizes} training sizes and {n_levels} noise levels in {len(keys)} grid cells: at least "
            f"2 of each and {MINIMUM_GRID_CELLS} grid cells are needed. Measure more sizes or levels."
        )
