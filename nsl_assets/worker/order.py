"""What a worker is asked to do, as JSON."""

from pathlib import Path
from typing import Literal

from nsl_assets.identity import CellHashes
from nsl_assets.settings import Settings
from nsl_assets.study import GridCell, Study


class WorkerRuntime(Settings):
    """What the worker may use; see `nsl_assets.models.Runtime`."""

    device: Literal["cpu", "cuda"] = "cpu"
    n_devices: int = 1
    n_threads: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"


class WorkerOrder(Settings):
    """One cell of the grid, and where its inputs and results are."""

    study: Study
    cell: GridCell
    hashes: CellHashes
    storage: Path
    runtime: WorkerRuntime = WorkerRuntime()
