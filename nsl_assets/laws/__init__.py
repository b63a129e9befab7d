"""Room 5: scaling laws fitted to measured information: noise law (Eq. 1), cell-number law (B3), joint law, rivals.

Curves and surfaces in, fitted laws, predictions, targets and comparisons out: nothing here measures information,
plans experiments or draws.
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
from nsl_assets.laws.collection import (
    ComparedLaws,
    ComparedModels,
    FittedCells,
    FittedCurve,
    FittedSurface,
    compare_laws_of_each,
    compare_models_of_each,
    fit_cells,
    fit_curves,
    fit_surfaces,
)
from nsl_assets.laws.curve import Curve, Levels, levels_of
from nsl_assets.laws.equations import depth_for, noise_law
from nsl_assets.laws.flags import FLAGS
from nsl_assets.laws.gain import depth_gain
from nsl_assets.laws.joint_comparison import SPLITS, HeldOutError, held_out_errors
from nsl_assets.laws.joint_difference import JointGain, joint_gain
from nsl_assets.laws.joint_fit import JOINT_FLAGS, JointLawFit, JointParameter, fit_joint_law, fit_joint_laws
from nsl_assets.laws.joint_prediction import (
    JointPrediction,
    JointTarget,
    cells_for_joint,
    depth_for_joint,
    predict_joint,
)
from nsl_assets.laws.joint_settings import JointSettings
from nsl_assets.laws.law_comparison import LawComparison, LawScore, compare_laws, compare_laws_of
from nsl_assets.laws.measured import (
    MeasuredCells,
    MeasuredCurve,
    MeasuredSurface,
    Truth,
    all_surfaces,
    curves_over_cells,
    largest_curves,
    surfaces,
)
from nsl_assets.laws.measurement_table import (
    LEVEL_COLUMNS,
    TABLE_FLAGS,
    TableColumns,
    TableCurve,
    curves_of_frame,
    read_measurements,
)
from nsl_assets.laws.model_comparison import (
    MODEL_COMPARISON_FLAGS,
    Difference,
    InformationComparison,
    ModelComparison,
    compare_blocked_curves,
    compare_information,
    compare_models,
)
from nsl_assets.laws.noise_law_fit import NoiseLawFit, fit_noise_law
from nsl_assets.laws.plateau import LevelsNeeded, levels_needed
from nsl_assets.laws.settings import LawSettings
from nsl_assets.laws.surface import GridCells, Surface, grid_cells_of
from nsl_assets.laws.toy_model import ToyModel

CODE_VERSION: Final = "2"

__all__ = [
    "CELL_NUMBER_FLAGS",
    "CODE_VERSION",
    "FLAGS",
    "JOINT_FLAGS",
    "LEVEL_COLUMNS",
    "MODEL_COMPARISON_FLAGS",
    "SPLITS",
    "TABLE_FLAGS",
    "BlockedCurve",
    "CellNumberLawFit",
    "ComparedLaws",
    "ComparedModels",
    "Curve",
    "Difference",
    "FittedCells",
    "FittedCurve",
    "FittedSurface",
    "GridCells",
    "HeldOutError",
    "InformationComparison",
    "JointGain",
    "JointLawFit",
    "JointParameter",
    "JointPrediction",
    "JointSettings",
    "JointTarget",
    "LawComparison",
    "LawScore",
    "LawSettings",
    "Levels",
    "LevelsNeeded",
    "MeasuredCells",
    "MeasuredCurve",
    "MeasuredSurface",
    "ModelComparison",
    "NoiseLawBootstrap",
    "NoiseLawFit",
    "Surface",
    "TableColumns",
    "TableCurve",
    "ToyModel",
    "Truth",
    "all_surfaces",
    "block_counts",
    "block_interval",
    "blocked",
    "bootstrap_noise_laws",
    "cell_number_law",
    "cells_for_joint",
    "compare_blocked_curves",
    "compare_information",
    "compare_laws",
    "compare_laws_of",
    "compare_laws_of_each",
    "compare_models",
    "compare_models_of_each",
    "curve_over_cells",
    "curves_of_frame",
    "curves_over_cells",
    "depth_for",
    "depth_for_joint",
    "depth_gain",
    "fit_cell_number_law",
    "fit_cells",
    "fit_curves",
    "fit_joint_law",
    "fit_joint_laws",
    "fit_noise_law",
    "fit_surfaces",
    "grid_cells_of",
    "held_out_errors",
    "joint_gain",
    "largest_curves",
    "levels_needed",
    "levels_of",
    "noise_law",
    "noise_law_band",
    "predict_joint",
    "read_measurements",
    "surfaces",
]
