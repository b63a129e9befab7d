"""UMIs per cell of a data set in one line of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_BARS: Final = "▁▂▃▄▅▆▇█"
_N_BARS: Final = 24


@dataclass(frozen=True)
class DepthSummary:
    """UMIs per cell: median, 5th and 95th percentile, share of cells without any, and a small histogram."""

    median: float
    low: float
    high: float
    empty_fraction: float
    bars: str

    def __str__(self) -> str:
        return f"{self.median:,.0f} UMIs per cell (5-95 %: {self.low:,.0f}-{self.high:,.0f})  {self.bars}"


def summarise_depth(umis: npt.NDArray[Any]) -> DepthSummary:
    """Summary of the UMIs (n_cells,) of cells; empty cells count in the percentiles, not in the bars."""
    low, median, high = np.percentile(umis, [5, 50, 95])
    return DepthSummary(float(median), float(low), float(high), float(np.mean(umis == 0)), _bars(umis[umis > 0]))


def _bars(umis: npt.NDArray[Any]) -> str:
    """Histogram over the logarithm of the UMIs, from the least to the most."""
    if umis.size == 0:
        return ""
    heights = np.histogram(np.log(umis), bins=_N_BARS)[0]
    places = np.ceil(heights / heights.max() * (len(_BARS) - 1)).astype(int)
    shape = "".join(_BARS[place] for place in places)
    return f"{umis.min():,.0f} {shape} {umis.max():,.0f}"
