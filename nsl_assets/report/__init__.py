"""Room 7: figures, tables and the page of fitted laws. Curves, fits and records in, files as bytes and text out."""

from typing import Final

from nsl_assets.report.calibration_text import calibration_lines, calibration_warning
from nsl_assets.report.content import (
    Advice,
    CalibratedCurve,
    Calibration,
    Leakage,
    Provenance,
    ReportContent,
    Training,
)
from nsl_assets.report.loss_figure import loss_picture as loss_figure
from nsl_assets.report.noise_law_figure import noise_law_figure
from nsl_assets.report.noise_matrix import NoiseMatrix
from nsl_assets.report.page import PAGE_NAME, report_files
from nsl_assets.report.tables import LawRow, law_table

CODE_VERSION: Final = "3"

__all__ = [
    "CODE_VERSION",
    "PAGE_NAME",
    "Advice",
    "CalibratedCurve",
    "Calibration",
    "LawRow",
    "Leakage",
    "NoiseMatrix",
    "Provenance",
    "ReportContent",
    "Training",
    "calibration_lines",
    "calibration_warning",
    "law_table",
    "loss_figure",
    "noise_law_figure",
    "report_files",
]
