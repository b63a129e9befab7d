"""Where workers run: isolated processes, admitted by memory, watched to their end. Today a pool on this host.

Another place to run them (Ray, Slurm) is another `Dispatcher`.
"""

from nsl_resources.dispatch.jobs import (
    OUT_OF_MEMORY_EXIT_CODE,
    Dispatcher,
    WorkerJob,
    WorkerResult,
)
from nsl_resources.dispatch.local import LocalPool
from nsl_resources.dispatch.messages import Failure, Log, Message, Report

__all__ = [
    "OUT_OF_MEMORY_EXIT_CODE",
    "Dispatcher",
    "Failure",
    "LocalPool",
    "Log",
    "Message",
    "Report",
    "WorkerJob",
    "WorkerResult",
]
