"""Memory-aware admission of workers: a policy and a node-local ledger of leases, in plain Python.

Dagster counts slots, not memory. Here a worker asks for MiB and cores of a device and starts when they are free,
whichever process of this host asks. Today the only device is the host itself.

    ledger = Ledger(HostProbe(HostBudget(memory_mib=16_000, cores=8)))
    with ledger.acquire(Need(memory_mib=4_000, cores=2), "pca, 500 cells"):
        ...

A device of another kind is added by a `Probe` that lists it and measures its use.
"""

from nsl_resources.admission.host import HostBudget, HostProbe, host_budget
from nsl_resources.admission.ledger import Ledger
from nsl_resources.admission.line import HeldLease, Wait, WaitingLine
from nsl_resources.admission.needs import (
    AdmissionError,
    AdmissionTimeoutError,
    Device,
    Lease,
    Need,
    Probe,
    Reading,
    Request,
)
from nsl_resources.admission.policy import Ageing, Decision, decide
from nsl_resources.admission.rooms import Room
from nsl_resources.admission.storage import default_ledger_path

__all__ = [
    "AdmissionError",
    "AdmissionTimeoutError",
    "Ageing",
    "Decision",
    "Device",
    "HeldLease",
    "HostBudget",
    "HostProbe",
    "Lease",
    "Ledger",
    "Need",
    "Probe",
    "Reading",
    "Request",
    "Room",
    "Wait",
    "WaitingLine",
    "decide",
    "default_ledger_path",
    "host_budget",
]
