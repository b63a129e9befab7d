"""What workers were recorded to use, by the kind of worker and its training size: the ground of predictions.

One small JSON file a kind and size, in the storage folder, so that all nodes and studies learn from each other. The
last few workers are kept. Of two nodes that note one at the same moment the later wins: a record may be lost, no more.
"""

import hashlib
import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from nsl_resources.admission.needs import GPU, HOST
from nsl_resources.admission.prediction import Peak, predicted_mib

_FOLDER: Final = "peaks"
_N_KEPT: Final = 20


@dataclass(frozen=True)
class WorkerKind:
    """What decides the memory of a worker beside its training size.

    Attributes:
        model: the kind of model, for people.
        settings: all its settings, as text.
        n_genes: columns of the counts.
        batch_size: cells computed at once; None where the model has no batches.
        device: "cpu" or "gpu".
    """

    model: str
    settings: str
    n_genes: int
    batch_size: int | None
    device: str

    @property
    def digest(self) -> str:
        """Names it in file names."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class PeakRecord:
    """The last workers of one kind and training size: what the formula says of them, and their peaks, oldest first."""

    kind: WorkerKind
    n_cells: int
    host: tuple[Peak, ...]
    gpu: tuple[Peak, ...]

    @property
    def host_mib(self) -> int:
        """What the next worker of this size will reserve of the host."""
        return predicted_mib(self.host[-1].formula_mib, self.host, HOST)

    @property
    def gpu_mib(self) -> int | None:
        """What it will reserve of a GPU; None where none was used."""
        return predicted_mib(self.gpu[-1].formula_mib, self.gpu, GPU) if self.gpu else None


class PeakRecords:
    """The records in a storage folder. What was read of a kind is kept: make another to see what others note."""

    def __init__(self, storage: Path) -> None:
        self._folder = storage / _FOLDER
        self._read_of: dict[WorkerKind, list[PeakRecord]] = {}

    def of(self, kind: WorkerKind) -> list[PeakRecord]:
        """The records of a kind, over its training sizes."""
        if kind not in self._read_of:
            self._read_of[kind] = list(self._read(self._folder / kind.digest))
        return self._read_of[kind]

    def all(self) -> list[PeakRecord]:
        """Every record, by model, genes, device and training size."""
        found = [record for folder in sorted(self._folder.glob("*")) for record in self._read(folder)]
        return sorted(found, key=lambda one: (one.kind.model, one.kind.n_genes, one.kind.device, one.n_cells))

    def predict(self, kind: WorkerKind, host_mib: float, gpu_mib: float) -> tuple[int, int]:
        """MiB to reserve of the host and of a GPU for a worker of which the formula says this; see `predicted_mib`."""
        known = self.of(kind)
        host = predicted_mib(host_mib, (peak for record in known for peak in record.host), HOST)
        return host, predicted_mib(gpu_mib, (peak for record in known for peak in record.gpu), GPU)

    def note(self, kind: WorkerKind, n_cells: int, host: Peak, gpu: Peak | None = None) -> None:
        """Records a worker that has ended well."""
        path = self._folder / kind.digest / f"{n_cells}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = _read(path) or PeakRecord(kind, n_cells, (), ())
        on_gpu = before.gpu if gpu is None else _kept(before.gpu, gpu)
        temporary = path.with_suffix(f".{uuid.uuid4().hex}")
        temporary.write_text(json.dumps(asdict(replace(before, host=_kept(before.host, host), gpu=on_gpu))))
        temporary.replace(path)
        self._read_of.pop(kind, None)

    @staticmethod
    def _read(folder: Path) -> Iterator[PeakRecord]:
        return (record for path in sorted(folder.glob("*.json")) if (record := _read(path)) is not None)


def _kept(before: tuple[Peak, ...], now: Peak) -> tuple[Peak, ...]:
    """The last few peaks; those of another formula, of an earlier version, say nothing any more."""
    same = [peak for peak in before if math.isclose(peak.formula_mib, now.formula_mib, rel_tol=1e-3)]
    return (*same[1 - _N_KEPT :], now)


def _read(path: Path) -> PeakRecord | None:
    """A stored record; None where there is none, or what is there is of another version and will be written anew."""
    try:
        stored = json.loads(path.read_text())
        host, gpu = (tuple(Peak(**peak) for peak in stored[name]) for name in ("host", "gpu"))
        return PeakRecord(WorkerKind(**stored["kind"]), stored["n_cells"], host, gpu)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
