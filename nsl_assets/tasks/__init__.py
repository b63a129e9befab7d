"""Room 1. Tasks: a data set of counts, its split, and the auxiliary signal that models never see."""

from nsl_assets.tasks.auxiliary import Auxiliary
from nsl_assets.tasks.base_settings import FileTask, SplitSettings
from nsl_assets.tasks.certificate import Leakage, leakage
from nsl_assets.tasks.count_writing import write_counts
from nsl_assets.tasks.counts import BLOCK_ROWS, CountRows, CountStore, open_counts
from nsl_assets.tasks.findings import Finding
from nsl_assets.tasks.inspection import inspect
from nsl_assets.tasks.pair_settings import ClonalPairs, PairedTask, SpatialPairs
from nsl_assets.tasks.pairing import Pairs
from nsl_assets.tasks.settings import H5adTask, SimulatedCells, TaskSettings
from nsl_assets.tasks.split import PROBE, TRAIN, VALIDATION
from nsl_assets.tasks.task import Task, open_task
from nsl_assets.tasks.task_outline import Outline, outline
from nsl_assets.tasks.total_umis import lacks_total_umis, total_umi_factor
from nsl_assets.tasks.truth import SimulationTruth, TrueInformation
from nsl_assets.tasks.writing import (
    CODE_VERSION,
    auxiliary_identity,
    data_identity,
    write_auxiliary,
    write_data,
)

__all__ = [
    "BLOCK_ROWS",
    "CODE_VERSION",
    "PROBE",
    "TRAIN",
    "VALIDATION",
    "Auxiliary",
    "ClonalPairs",
    "CountRows",
    "CountStore",
    "FileTask",
    "Finding",
    "H5adTask",
    "Leakage",
    "Outline",
    "PairedTask",
    "Pairs",
    "SimulatedCells",
    "SimulationTruth",
    "SpatialPairs",
    "SplitSettings",
    "Task",
    "TaskSettings",
    "TrueInformation",
    "auxiliary_identity",
    "data_identity",
    "inspect",
    "lacks_total_umis",
    "leakage",
    "open_counts",
    "open_task",
    "outline",
    "total_umi_factor",
    "write_auxiliary",
    "write_counts",
    "write_data",
]
