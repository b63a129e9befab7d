"""What a lab knows about its experiment, as settings of a study: prices, money, and how reads become UMIs."""

from pydantic import Field

from nsl_assets.errors import InputError
from nsl_assets.planning.advise import Circumstances
from nsl_assets.planning.costs import Prices, Sequencing
from nsl_assets.planning.saturation import Saturation
from nsl_assets.settings import Settings


class PlanningSettings(Settings):
    """Prices and sequencing; whatever stays open, there is advice on depth and on what more bits are to be had."""

    price_per_cell: float | None = Field(default=None, ge=0)
    """Money for one profiled cell without its reads: capture, reagents, its share of the sample."""
    price_per_read: float | None = Field(default=None, ge=0)
    """Money for one read."""
    fixed_price: float = Field(default=0.0, ge=0)
    """Money for the experiment whatever its size."""
    currency: str = ""
    """Written behind amounts of money: EUR."""
    budget: float | None = Field(default=None, gt=0)
    """Money for the whole experiment: the best cells and depth for it are looked for."""
    wanted_bits: float | None = Field(default=None, gt=0)
    """Information that the cheapest plan must reach, bits. Default: the target of the laws at today's cells."""
    reads_per_cell: float | None = Field(default=None, gt=0)
    """Mean reads per cell of a run like this one; with `total_umis_per_cell` or `sequencing_saturation`."""
    total_umis_per_cell: float | None = Field(default=None, gt=0)
    """Mean UMIs per cell of all genes that those reads gave."""
    sequencing_saturation: float | None = Field(default=None, ge=0, lt=1)
    """Share of the reads that show a molecule again, as Cell Ranger reports it; instead of `total_umis_per_cell`."""
    library_complexity: float | None = Field(default=None, gt=0)
    """Distinct molecules in the library of a cell, where it is known; instead of the two numbers."""
    panel_share: float | None = Field(default=None, gt=0, le=1)
    """Share of all UMIs that lie in the genes of the data: below 1 for a panel or for highly variable genes only."""
    n_cells: int | None = Field(default=None, gt=0)
    """Today's training cells: one of the measured sizes. Default: the largest."""
    umis_per_cell: float | None = Field(default=None, gt=0)
    """Today's depth in the genes of the data. Default: the deepest measured level."""

    def circumstances(self) -> Circumstances:
        """What planning needs. Raises InputError where settings contradict each other or half of a pair is missing."""
        return Circumstances(
            sequencing=Sequencing(self._saturation(), self.panel_share),
            prices=self._prices(),
            budget=self.budget,
            wanted_bits=self.wanted_bits,
            n_cells=self.n_cells,
            umis_per_cell=self.umis_per_cell,
        )

    def _prices(self) -> Prices | None:
        if self.price_per_cell is None and self.price_per_read is None:
            return None
        return Prices(self.price_per_cell or 0.0, self.price_per_read or 0.0, self.fixed_price, self.currency)

    def _saturation(self) -> Saturation | None:
        ways = [self.total_umis_per_cell, self.sequencing_saturation, self.library_complexity]
        given = [way for way in ways if way is not None]
        if len(given) > 1:
            raise InputError(
                "total UMIs per cell, sequencing saturation and library complexity say the same thing: give one."
            )
        if self.library_complexity is not None:
            return Saturation(self.library_complexity)
        if (self.reads_per_cell is None) != (not given):
            raise InputError(
                "how reads become UMIs needs two numbers of one run: the reads per cell, and the UMIs per cell of all "
                "genes or the sequencing saturation. One of them is missing."
            )
        if self.reads_per_cell is None:
            return None
        if self.sequencing_saturation is not None:
            return Saturation.from_sequencing_saturation(self.reads_per_cell, self.sequencing_saturation)
        assert self.total_umis_per_cell is not None
        return Saturation.from_umis(self.reads_per_cell, self.total_umis_per_cell)
