"""How reads become UMIs: the library of a cell is finite, and every further read finds fewer new molecules."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Saturation:
    """Lander-Waterman: ``umis = C (1 - exp(-e reads / C))``, all of one cell.

    Raises InputError for a complexity that is not positive or a usable share outside (0, 1].
    """

    complexity_umis_per_cell: float
    """C: distinct molecules in the library of a cell; inf where every usable read finds a new one."""
    usable_share: float = 1.0
    """e: share of the reads with a valid barcode that map to a gene."""

    def __post_init__(self) -> None:
        if not self.complexity_umis_per_cell > 0:
            raise InputError(
                f"a library complexity of {self.complexity_umis_per_cell:g} UMIs per cell: give a positive number."
            )
        if not 0 < self.usable_share <= 1:
            raise InputError(f"a usable share of reads of {self.usable_share:g}: give a number above 0, up to 1.")

    @classmethod
    def from_umis(cls, reads_per_cell: float, umis_per_cell: float, usable_share: float = 1.0) -> "Saturation":
        """From one sequencing run: mean reads and mean UMIs per cell, of all genes.

        Raises InputError where UMIs exceed the usable reads, or either is not positive.
        """
        checked = cls(np.inf, usable_share)
        usable = reads_per_cell * checked.usable_share
        if not (reads_per_cell > 0 and umis_per_cell > 0 and np.isfinite([reads_per_cell, umis_per_cell]).all()):
            raise InputError(
                f"{reads_per_cell:g} reads and {umis_per_cell:g} UMIs per cell: give two positive numbers."
            )
        if umis_per_cell > usable:
            raise InputError(
                f"{umis_per_cell:,.0f} UMIs per cell from {usable:,.0f} usable reads per cell: a read shows one "
                "molecule at most. Give mean reads per cell (not of a gene or sample) and mean UMIs of all genes."
            )
        return cls(_complexity(usable, umis_per_cell), usable_share)

    @classmethod
    def from_sequencing_saturation(
        cls, reads_per_cell: float, saturation: float, usable_share: float = 1.0
    ) -> "Saturation":
        """From the share of usable reads that show a molecule again, as Cell Ranger reports it: 0 up to below 1.

        Raises InputError for other shares.
        """
        if not 0 <= saturation < 1:
            raise InputError(
                f"a sequencing saturation of {saturation:g}: give a share from 0 up to below 1 (62 % is 0.62)."
            )
        return cls.from_umis(reads_per_cell, reads_per_cell * usable_share * (1 - saturation), usable_share)

    def umis_per_cell(self, reads_per_cell: npt.ArrayLike) -> FloatArray:
        """UMIs of all genes from reads per cell, of any shape."""
        usable = self.usable_share * np.asarray(reads_per_cell, dtype=np.float64)
        if np.isinf(self.complexity_umis_per_cell):
            return usable
        return np.asarray(-self.complexity_umis_per_cell * np.expm1(-usable / self.complexity_umis_per_cell))

    def reads_per_cell(self, umis_per_cell: npt.ArrayLike) -> FloatArray:
        """Reads per cell for UMIs of all genes, of any shape; inf where no amount of sequencing gives them."""
        wanted = np.asarray(umis_per_cell, dtype=np.float64)
        if np.isinf(self.complexity_umis_per_cell):
            return np.asarray(wanted / self.usable_share)
        found = np.minimum(wanted / self.complexity_umis_per_cell, 1)
        with np.errstate(divide="ignore"):
            return np.asarray(-self.complexity_umis_per_cell * np.log1p(-found) / self.usable_share)


def _complexity(usable_reads: float, umis: float) -> float:
    """C with ``umis = C (1 - exp(-usable / C))``; inf where every read is a new molecule."""
    from scipy.optimize import brentq

    new_share = umis / usable_reads
    if 1 - new_share < 1e-9:
        return float("inf")
    reads_per_molecule = brentq(lambda ratio: -np.expm1(-ratio) / ratio - new_share, 1e-12, 1 / new_share)
    return float(usable_reads / reads_per_molecule)
