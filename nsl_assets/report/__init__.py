"""Room 7: figures and tables of fitted laws. Arrays and fits in, PNG bytes and text out."""

from typing import Final

from nsl_assets.report.calibration_figure import calibration_figure
from nsl_assets.report.calibration_text import calibration_lines, calibration_warning
from nsl_assets.report.estimators_figure import estimators_figure
from nsl_assets.report.loss_figure import loss_figure
from nsl_assets.report.noise_law_figure import noise_law_figure
from nsl_assets.report.study_figure import study_figure
from nsl_assets.report.tables import LawRow, law_table

CODE_VERSION: Final = "2"

__all__ = [
    "CODE_VERSION",
    "LawRow",
    "calibration_figure",
    "calibration_lines",
    "calibration_warning",
    "estimators_figure",
    "law_table",
    "loss_figure",
    "noise_law_figure",
    "study_figure",
]
