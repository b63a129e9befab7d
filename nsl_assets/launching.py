"""What is refused before any work: more memory or cores than the machine has, hopeless times, too little free disk."""

from nsl_assets.errors import InputError
from nsl_assets.estimate import StudyCost
from nsl_assets.progress import duration
from nsl_assets.study import Machine
from nsl_resources.artifacts import Artifacts
from nsl_resources.gpu import host_budget

DISK_RESERVE_MIB = 200
"""Left free beside what is needed."""


def require_launchable(cost: StudyCost, machine: Machine, artifacts: Artifacts) -> None:
    """All of the below."""
    require_room(cost, machine)
    require_time(cost, machine)
    require_disk(cost, artifacts)


def require_room(cost: StudyCost, machine: Machine) -> None:
    """InputError where one worker needs more memory or cores than all workers of this machine may use together.

    On a cluster it is the nodes that decide: they refuse what they can never admit.
    """
    if machine.dispatcher != "local":
        return
    budget = host_budget(machine.memory_mib, machine.cores)
    for model in cost.models:
        if model.n_left and model.memory_mib > budget.memory_mib:
            raise InputError(
                f"a worker of model '{model.model}' (task '{model.task}') is expected to need"
                f" {model.memory_mib:,.0f} MiB; workers may use {budget.memory_mib:,} MiB here."
                " Lower the training sizes, or raise memory_mib of [machine]."
            )
        if model.n_left and model.cores > budget.cores:
            raise InputError(
                f"a worker of model '{model.model}' (task '{model.task}') takes {model.cores} cores; workers may use"
                f" {budget.cores} here. Lower worker_threads of [machine] or n_devices of the model."
            )


def require_time(cost: StudyCost, machine: Machine) -> None:
    """InputError where one cell of the grid would be stopped as overdue."""
    for model in cost.models:
        if model.n_left and model.device == "cpu" and model.seconds_a_cell > machine.worker_timeout_s:
            raise InputError(
                f"one cell of the grid of model '{model.model}' (task '{model.task}') is expected to take"
                f" {duration(model.seconds_a_cell)} on this CPU; a worker is stopped after"
                f" {duration(machine.worker_timeout_s)}. Take the budget `quick` (--budget quick, or in the"
                " study), a machine with a GPU, or raise worker_timeout_s of [machine]."
            )


def require_disk(cost: StudyCost, artifacts: Artifacts) -> None:
    """StorageError where the storage is not writable or has less free disk than is needed."""
    artifacts.require_writable(needed_bytes=int((cost.disk_mib + DISK_RESERVE_MIB) * 2**20))
