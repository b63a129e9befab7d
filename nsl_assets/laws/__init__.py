"""Room 5: scaling laws fitted to measured information: the noise law (Eq. 1), its inversion, intervals.

Curves in, fitted laws out: nothing here measures information, plans experiments or draws.
"""

from typing import Final

from nsl_assets.laws.band import noise_law_band
from nsl_assets.laws.bootstrap import (
    BlockedCurve,
    NoiseLawBootstrap,
    block_counts,
    block_interval,
    blocked,
    bootstrap_noise_laws,
)
from nsl_assets.laws.cell_number_fit import (
    CELL_NUMBER_FLAGS,
    CellNumberLawFit,
    curve_over_cells,
    fit_cell_number_law,
)
from nsl_assets.laws.cell_number_law import cell_number_law
from nsl_assets.laws.curve import Curve, Levels, levels_of
from nsl_assets.laws.equations import depth_for, noise_law
from nsl_assets.laws.flags import FLAGS
from nsl_assets.laws.noise_law_fit import NoiseLawFit, fit_noise_law
from nsl_assets.laws.settings import LawSettings

CODE_VERSION: Final = "1"

__all__ = [
    "CELL_NUMBER_FLAGS",
    "CODE_VERSION",
    "FLAGS",
    "BlockedCurve",
    "CellNumberLawFit",
    "Curve",
    "LawSettings",
    "Levels",
    "NoiseLawBootstrap",
    "NoiseLawFit",
    "block_counts",
    "block_interval",
    "blocked",
    "bootstrap_noise_laws",
    "cell_number_law",
    "curve_over_cells",
    "depth_for",
    "fit_cell_number_law",
    "fit_noise_law",
    "levels_of",
    "noise_law",
    "noise_law_band",
]
