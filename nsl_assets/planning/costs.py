"""What an experiment costs: cells, reads, and the depth that they buy."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.planning.saturation import FloatArray, Saturation


@dataclass(frozen=True)
class Prices:
    """Prices in one currency. Raises InputError for negative or infinite ones, or where nothing costs anything."""

    per_cell: float
    """Of a profiled cell without its reads: capture, reagents, the sample's share."""
    per_read: float
    fixed: float = 0.0
    """Of the whole experiment, whatever its size."""
    currency: str = ""
    """Written behind amounts: "EUR"."""

    def __post_init__(self) -> None:
        for name in ("per_cell", "per_read", "fixed"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(f"the price '{name}' is {value}: give a finite number, 0 or more.")
        if self.per_cell + self.per_read == 0:
            raise InputError("neither cells nor reads cost anything: give the price per cell, per read, or both.")


@dataclass(frozen=True)
class Sequencing:
    """How depth in the law's units (UMIs per cell in the genes of the file) follows from reads.

    Raises InputError for a panel share outside (0, 1].
    """

    saturation: Saturation | None = None
    """None: every read is taken for a new UMI."""
    panel_share: float | None = None
    """Share of all UMIs that lie in the genes of the file; None: all are taken to."""

    def __post_init__(self) -> None:
        if self.panel_share is not None and not 0 < self.panel_share <= 1:
            raise InputError(
                f"a panel share of {self.panel_share:g}: give the share of all UMIs that lie in the file's genes, "
                "above 0, up to 1."
            )

    @property
    def flags(self) -> tuple[str, ...]:
        """What is assumed when depth is turned into reads: keys of ``ADVICE_FLAGS``."""
        missing = {"saturation_assumed": self.saturation, "panel_assumed_complete": self.panel_share}
        return tuple(flag for flag, given in missing.items() if given is None)

    @property
    def largest_depth(self) -> float:
        """Depth that no amount of sequencing exceeds, in the law's UMIs per cell."""
        return self._saturation.complexity_umis_per_cell * self._share

    def check_today(self, umis_per_cell: float) -> None:
        """Raises InputError for a depth of today that is not positive, or that the library cannot hold."""
        if not 0 < umis_per_cell < np.inf:
            raise InputError(f"today's depth is {umis_per_cell:g} UMIs per cell: give a positive number.")
        if umis_per_cell >= self.largest_depth:
            raise InputError(
                f"today's depth is {umis_per_cell:,.0f} UMIs per cell, but by the saturation and panel share given no "
                f"amount of sequencing reaches {self.largest_depth:,.0f}. Correct the reads and UMIs per cell, the "
                "library complexity or the panel share."
            )

    def reads_per_cell(self, umis_per_cell: npt.ArrayLike) -> FloatArray:
        """Reads per cell for a depth, of any shape; inf at or beyond ``largest_depth``."""
        return self._saturation.reads_per_cell(np.asarray(umis_per_cell, dtype=np.float64) / self._share)

    def umis_per_cell(self, reads_per_cell: npt.ArrayLike) -> FloatArray:
        """Depth from reads per cell, of any shape."""
        return np.asarray(self._saturation.umis_per_cell(reads_per_cell) * self._share)

    @cached_property
    def _saturation(self) -> Saturation:
        return self.saturation or Saturation(np.inf)

    @property
    def _share(self) -> float:
        return 1.0 if self.panel_share is None else self.panel_share


@dataclass(frozen=True)
class Costs:
    """Prices and sequencing together: what a number of cells at a depth costs."""

    prices: Prices
    sequencing: Sequencing

    def of(self, n_cells: npt.ArrayLike, umis_per_cell: npt.ArrayLike) -> FloatArray:
        """Money for cells and depths, broadcast; inf where no amount of sequencing gives the depth."""
        return np.asarray(self.prices.fixed + np.asarray(n_cells, dtype=np.float64) * self.of_one_cell(umis_per_cell))

    def of_one_cell(self, umis_per_cell: npt.ArrayLike) -> FloatArray:
        """Money for one cell at depths of any shape, without the fixed price."""
        reads = self.sequencing.reads_per_cell(umis_per_cell)
        if self.prices.per_read == 0:
            return np.where(np.isfinite(reads), self.prices.per_cell, np.inf)
        return np.asarray(self.prices.per_cell + self.prices.per_read * reads)

    def cells_for(self, budget: float, umis_per_cell: npt.ArrayLike) -> FloatArray:
        """Cells that a budget buys at depths of any shape; not rounded, 0 where it buys none."""
        return np.asarray(max(budget - self.prices.fixed, 0.0) / self.of_one_cell(umis_per_cell))

    def depth_for(self, budget: float, n_cells: float) -> float:
        """Depth that a budget buys for a number of cells, in UMIs per cell; 0 where it does not buy the cells."""
        for_reads = (budget - self.prices.fixed) / n_cells - self.prices.per_cell
        if for_reads <= 0:
            return 0.0
        if self.prices.per_read == 0:
            return self.sequencing.largest_depth
        return float(self.sequencing.umis_per_cell(for_reads / self.prices.per_read))

    def check_budget(self, budget: float) -> None:
        """Raises InputError for a budget that does not buy one cell."""
        least = self.prices.fixed + self.prices.per_cell
        if not np.isfinite(budget) or budget <= least:
            raise InputError(
                f"a budget of {budget:g} does not buy one sequenced cell: the fixed price and one cell cost {least:g}. "
                "Give a larger budget, or correct the prices."
            )
