"""Noise: the same cells, as if they had been sequenced less deeply. Importing this package is quick."""

from typing import Final

from nsl_assets.noise.levels import deepest_first, geometric_levels, level_key, level_of
from nsl_assets.noise.settings import BinomialThinning, NoiseSettings
from nsl_assets.noise.stores import Depth, realised_depth, write_noised
from nsl_assets.noise.thinning import thin

CODE_VERSION: Final = "1"

__all__ = [
    "CODE_VERSION",
    "BinomialThinning",
    "Depth",
    "NoiseSettings",
    "deepest_first",
    "geometric_levels",
    "level_key",
    "level_of",
    "realised_depth",
    "thin",
    "write_noised",
]
