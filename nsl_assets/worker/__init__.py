"""One seed of one cell of the grid in one isolated process: thinned counts → train → embed → probe.

Started by a dispatcher as `python -m nsl_assets.worker`; its order comes through Dagster Pipes. It imports its own
model's stack and never `dagster`. Everything finished is stored under its content hash the moment it is finished,
so that a killed worker loses at most the step that it was in.
"""

from nsl_assets.worker.order import WorkerOrder, WorkerRuntime
from nsl_assets.worker.work import CellWork, preload

__all__ = ["CellWork", "WorkerOrder", "WorkerRuntime", "preload"]
