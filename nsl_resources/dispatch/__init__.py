"""Where workers run: isolated processes, admitted by memory, watched to their end.

`LocalPool` runs them on this host, `Ray` on a Ray cluster, `Slurm` on a Slurm cluster. Each is a `Dispatcher`.
"""

from nsl_resources.dispatch.choice import DISPATCHERS, DispatcherChoice, DispatcherName
from nsl_resources.dispatch.jobs import (
    OUT_OF_MEMORY_EXIT_CODE,
    Dispatcher,
    WorkerJob,
    WorkerResult,
)
from nsl_resources.dispatch.local import LocalPool
from nsl_resources.dispatch.messages import Failure, Log, Message, Report
from nsl_resources.dispatch.node import NodeBudget
from nsl_resources.dispatch.ray_cluster import Ray
from nsl_resources.dispatch.slurm import Slurm
from nsl_resources.dispatch.slurm_engine import Pace

__all__ = [
    "DISPATCHERS",
    "OUT_OF_MEMORY_EXIT_CODE",
    "Dispatcher",
    "DispatcherChoice",
    "DispatcherName",
    "Failure",
    "LocalPool",
    "Log",
    "Message",
    "NodeBudget",
    "Pace",
    "Ray",
    "Report",
    "Slurm",
    "WorkerJob",
    "WorkerResult",
]
