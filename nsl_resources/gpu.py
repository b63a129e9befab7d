"""Memory-aware admission of workers: a policy and a node-local ledger of leases, in plain Python.

Dagster counts slots, not memory. Here a worker asks for MiB and cores of the host and for MiB of some GPUs, and starts
when all of it is free, whichever process of this host asks.

    ledger = Ledger(node_probe())
    with ledger.acquire(Need(memory_mib=4_000, cores=2), "pca, 500 cells"):
        ...
    with ledger.acquire(Need(memory_mib=4_000, n_gpus=1, gpu_memory_mib=9_000), "scvi, 500 cells") as held:
        subprocess.run(command, env={**os.environ, **held.environment})

A `Probe` lists the devices and measures their use.
"""

from nsl_resources.admission.host import HostBudget, HostProbe, host_budget
from nsl_resources.admission.ledger import Ledger
from nsl_resources.admission.line import HeldLease, Wait, WaitingLine
from nsl_resources.admission.needs import (
    GPU,
    HOST,
    AdmissionError,
    AdmissionTimeoutError,
    Device,
    Lease,
    Need,
    Probe,
    Reading,
    Request,
)
from nsl_resources.admission.node import NodeProbe, node_probe
from nsl_resources.admission.nvml import NvmlProbe, gpu_devices
from nsl_resources.admission.peaks import PeakRecord, PeakRecords, WorkerKind
from nsl_resources.admission.pilots import Candidate, pilots
from nsl_resources.admission.policy import Ageing, Decision, decide
from nsl_resources.admission.prediction import Peak, after_out_of_memory
from nsl_resources.admission.rooms import Room
from nsl_resources.admission.snapshot import Snapshot, Waiting
from nsl_resources.admission.storage import default_ledger_path

__all__ = [
    "GPU",
    "HOST",
    "AdmissionError",
    "AdmissionTimeoutError",
    "Ageing",
    "Candidate",
    "Decision",
    "Device",
    "HeldLease",
    "HostBudget",
    "HostProbe",
    "Lease",
    "Ledger",
    "Need",
    "NodeProbe",
    "NvmlProbe",
    "Peak",
    "PeakRecord",
    "PeakRecords",
    "Probe",
    "Reading",
    "Request",
    "Room",
    "Snapshot",
    "Wait",
    "Waiting",
    "WaitingLine",
    "WorkerKind",
    "after_out_of_memory",
    "decide",
    "default_ledger_path",
    "gpu_devices",
    "host_budget",
    "node_probe",
    "pilots",
]
