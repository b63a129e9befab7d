"""Exact binomial distribution functions of small counts, as 64-bit integers."""

from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from math import comb
from typing import Final

import numpy as np
import numpy.typing as npt

LARGEST_TABLED_COUNT: Final = 64
"""Counts up to this one are drawn by table. 99.9 % of the nonzero counts of a droplet experiment are."""

NEVER: Final = 2**64 - 1


@lru_cache(maxsize=32)
def binomial_thresholds(level: float) -> npt.NDArray[np.uint64]:
    """Thresholds t, shape (65, 64): of n molecules, `sum(word > t[n])` are kept, `word` being 64 random bits.

    t[n, k] = floor(2^64 P(X <= k)) - 1 for X ~ Binomial(n, level) and k < n, computed in exact integers: each
    probability is right to 2^-64. The other places hold 2^64 - 1, which no word exceeds.
    """
    table = np.full((LARGEST_TABLED_COUNT + 1, LARGEST_TABLED_COUNT), NEVER, dtype=np.uint64)
    for n in range(1, LARGEST_TABLED_COUNT + 1):
        table[n, :n] = _thresholds(n, Fraction(level))
    table.setflags(write=False)
    return table


def _thresholds(n: int, level: Fraction) -> list[int]:
    kept, parts = level.numerator, level.denominator
    mass = (comb(n, k) * kept**k * (parts - kept) ** (n - k) for k in range(n))
    return [max((below << 64) // parts**n - 1, 0) for below in accumulate(mass)]
