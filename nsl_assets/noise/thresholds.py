"""Exact binomial distribution functions of small counts, as 64-bit integers."""

from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import comb
from operator import mul
from typing import Final

import numpy as np
import numpy.typing as npt

LARGEST_TABLED_COUNT: Final = 64
"""Counts up to this one are drawn by table. 99.9 % of the nonzero counts of a droplet experiment are."""

NEVER: Final = 2**64 - 1
_BITS: Final = 128  # a level is a whole number of parts of 2^-128: exactly so if it is above 1e-22


@lru_cache(maxsize=32)
def binomial_thresholds(level: float) -> npt.NDArray[np.uint64]:
    """Thresholds t, shape (65, 64): of n molecules, `sum(word > t[n])` are kept, `word` being 64 random bits.

    t[n, k] = floor(2^64 P(X <= k)) - 1 for X ~ Binomial(n, level) and k < n, computed in exact integers: each
    probability is right to 2^-64. The other places hold 2^64 - 1, which no word exceeds.
    """
    kept, lost = _powers(level_parts := int(Fraction(level) * 2**_BITS)), _powers(2**_BITS - level_parts)
    table = np.full((LARGEST_TABLED_COUNT + 1, LARGEST_TABLED_COUNT), NEVER, dtype=np.uint64)
    for n in range(1, LARGEST_TABLED_COUNT + 1):
        below = accumulate(comb(n, k) * kept[k] * lost[n - k] for k in range(n))
        table[n, :n] = [max((mass << 64 >> _BITS * n) - 1, 0) for mass in below]
    table.setflags(write=False)
    return table


def _powers(base: int) -> list[int]:
    return list(accumulate([base] * LARGEST_TABLED_COUNT, mul, initial=1))
