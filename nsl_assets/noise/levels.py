"""Noise levels of thinning: the fraction q of molecules that is kept, and its partition key."""

import math
import re
from collections.abc import Sequence
from typing import Final

from nsl_assets.errors import InputError

DECIMALS: Final = 6
"""Decimals of a level in its partition key. Two levels of a study can therefore not be closer than 1e-6."""

SIGNIFICANT_DIGITS: Final = 3
_KEY: Final = re.compile(rf"q([01]\.\d{{{DECIMALS}}})")


def require_level(level: float) -> float:
    """The level as a float. InputError unless it lies in (0, 1]."""
    if not 0.0 < level <= 1.0:
        raise InputError(
            f"Noise level {level!r} was given. A level is the fraction of molecules that is kept: above 0, at "
            "most 1 (1 is the measured depth)."
        )
    return float(level)


def level_key(level: float) -> str:
    """Partition key of a level, such as "q0.025000": the keys sort as the levels do.

    Raises InputError for a level outside (0, 1] or one that the key cannot hold exactly.
    """
    key = f"q{require_level(level):.{DECIMALS}f}"
    if float(key[1:]) != level:
        raise InputError(
            f"Noise level {level!r} has more than {DECIMALS} decimals, which its partition key cannot hold. "
            f"Round it, for example to {max(round(level, DECIMALS), 10.0**-DECIMALS):.{DECIMALS}f}."
        )
    return key


def level_of(key: str) -> float:
    """The level of a partition key. InputError for anything that `level_key` does not give."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise InputError(f'"{key}" is not the key of a noise level. Such a key looks like "{level_key(0.025)}".')
    return require_level(float(match[1]))


def deepest_first(levels: Sequence[float]) -> tuple[float, ...]:
    """Levels in descending order. InputError for one that no partition key can hold, and for one named twice."""
    for level in levels:
        level_key(level)
    twice = sorted({level for level in levels if levels.count(level) > 1})
    if twice:
        raise InputError(f"Noise levels {twice} appear more than once in `levels`: name each level once.")
    return tuple(sorted(levels, reverse=True))


def geometric_levels(n: int, lowest: float) -> tuple[float, ...]:
    """n levels from 1 down to `lowest` with equal ratios, rounded to 3 significant digits.

    Raises InputError for fewer than 2 levels, for `lowest` outside (0, 1), and where n levels are so close
    together that rounding makes two of them equal.
    """
    if n < 2 or not 0.0 < lowest < 1.0:
        raise InputError(
            f"{n} levels down to {lowest!r} were asked for: at least 2 are needed, and the lowest lies between 0 and 1."
        )
    levels = tuple(_rounded(lowest ** (i / (n - 1))) for i in range(n))
    if len(set(levels)) < n or min(levels) == 0.0:
        raise InputError(
            f"{n} levels down to {lowest!r} cannot be told apart with {SIGNIFICANT_DIGITS} significant digits "
            f"and {DECIMALS} decimals. Ask for fewer levels or for a lower lowest level."
        )
    return levels


def _rounded(level: float) -> float:
    exponent = math.floor(math.log10(level))
    return round(level, min(SIGNIFICANT_DIGITS - 1 - exponent, DECIMALS))
