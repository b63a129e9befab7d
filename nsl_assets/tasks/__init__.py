"""Tasks: a data set of counts, its split, and the auxiliary signal that models never see."""

from typing import Final

from nsl_assets.tasks.count_writing import write_counts
from nsl_assets.tasks.counts import BLOCK_ROWS, CountRows, CountStore, open_counts

CODE_VERSION: Final = "1"

__all__ = ["BLOCK_ROWS", "CODE_VERSION", "CountRows", "CountStore", "open_counts", "write_counts"]
