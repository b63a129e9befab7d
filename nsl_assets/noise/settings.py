"""Settings of noise: which noise, at which levels."""

from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from nsl_assets.errors import InputError
from nsl_assets.noise.levels import level_key
from nsl_assets.settings import Settings


class BinomialThinning(Settings):
    """Counts as if sequenced less deeply: each molecule is kept with probability q, independently."""

    kind: Literal["binomial_thinning"] = "binomial_thinning"

    levels: tuple[float, ...] = Field(min_length=1)
    """Fractions of molecules kept, each above 0 and at most 1 (the measured depth), no two equal, with at most
    6 decimals. Kept in descending order."""

    @field_validator("levels")
    @classmethod
    def _deepest_first(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        for level in levels:
            level_key(level)
        twice = sorted({level for level in levels if levels.count(level) > 1})
        if twice:
            raise InputError(f"Noise levels {twice} appear more than once in `levels`: name each level once.")
        return tuple(sorted(levels, reverse=True))


NoiseSettings: TypeAlias = BinomialThinning
"""Every kind of noise that a study can ask for."""
