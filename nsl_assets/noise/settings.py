"""Settings of noise: which noise, at which levels."""

from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from nsl_assets.noise.levels import deepest_first
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
        return deepest_first(levels)


NoiseSettings: TypeAlias = BinomialThinning
"""Every kind of noise that a study can ask for."""
