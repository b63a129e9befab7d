"""The grid of a study: what is stored already, what is left, and how the rest is computed.

Plain Python: Dagster assets, the `nsl` command and notebooks call the same functions. Everything here is
idempotent; what is finished under its content hash is not computed again.
"""

import json
import logging
import socket
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets import noise
from nsl_assets.chain import Damage, links
from nsl_assets.errors import InputError
from nsl_assets.identity import (
    CellHashes,
    CrossedHashes,
    ModelHashes,
    auxiliary_hash,
    cell_hashes,
    data_hash,
    noised_hash,
)
from nsl_assets.jobs import CellJob, JobMaker, failed_device_mib, failure_text, node_devices, run_repeating
from nsl_assets.probing import EstimatorName
from nsl_assets.recording import Recorder
from nsl_assets.study import GridCell, Machine, Study, definition_text
from nsl_assets.tasks import Task, TaskSettings, open_task, total_umi_factor, write_auxiliary, write_data
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import Dispatcher, Message, Report, WorkerJob, WorkerResult
from nsl_resources.results import CrossNoiseMeasurementRow, MeasurementRow, Results, RunRow, StudyRow

_LOG = logging.getLogger(__name__)
PUBLISH_EVERY_S = 20.0


@dataclass(frozen=True)
class Platform:
    """Where work runs and results live."""

    artifacts: Artifacts
    results: Results
    dispatcher: Dispatcher
    machine: Machine

    @property
    def storage(self) -> Path:
        """The storage folder."""
        return self.artifacts.root


@dataclass(frozen=True)
class Noised:
    """One thinned data set: its artifact and its realised depth."""

    hash: str
    level: float
    seed: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one cell of the grid."""

    cell: GridCell
    hashes: CellHashes
    status: Literal["succeeded", "reused", "failed"]
    reason: str
    rows: tuple[MeasurementRow, ...] = ()
    crossed: tuple[CrossNoiseMeasurementRow, ...] = ()
    """The trained model, probed at other noise levels."""
    fit: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What training reported, see `nsl_assets.models.FitReport`; of a failed worker what is known."""
    worker: WorkerResult | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Failed:
    """What a worker said about its failure: why, and the most of a GPU that it held."""

    text: str
    peak_device_memory_mib: float | None = None


def prepare_data(study: Study, task: str, platform: Platform) -> Task:
    """Store counts, split and auxiliary signal of a task, unless they are stored already; open them."""
    settings = study.tasks[task]
    platform.artifacts.sweep_temporary()
    artifacts, data, auxiliary = platform.artifacts, data_hash(settings), auxiliary_hash(settings)
    if not artifacts.is_complete("data", data):
        with artifacts.create("data", data, {"task": settings.identity()}) as folder:
            write_data(settings, folder, chunk_entries=platform.machine.chunk_entries)
    if not artifacts.is_complete("auxiliary", auxiliary):
        with artifacts.create("auxiliary", auxiliary, {"data": data}) as folder:
            write_auxiliary(settings, folder)
    opened = stored_task(settings, artifacts)
    require_enough_cells(study, task, opened.n_train_pool)
    _total_umi_factor(settings, platform.storage)  # an unusable column of totals is an error before anything trains
    return opened


def require_enough_cells(study: Study, task: str, n_train_pool: int) -> None:
    """InputError where a study asks for more training cells than the train pool of a task has."""
    largest = study.task_sizes(task)[-1]
    if largest > n_train_pool:
        raise InputError(
            f"the study asks for {largest} training cells, but the train pool of task '{task}' has"
            f" {n_train_pool}. Lower `sizes`, or lower the task's probe_fraction and validation_fraction."
        )


def stored_task(settings: TaskSettings, artifacts: Artifacts) -> Task:
    """Open a task that was prepared. InputError if it was not."""
    data, auxiliary = data_hash(settings), auxiliary_hash(settings)
    if not (artifacts.is_complete("data", data) and artifacts.is_complete("auxiliary", auxiliary)):
        raise InputError(
            "the data of this task are not stored, or its settings changed: materialize its `source` first."
        )
    return open_task(artifacts.path("data", data), artifacts.path("auxiliary", auxiliary))


def prepare_noised(study: Study, task: str, level: float, seed: int, platform: Platform) -> Noised:
    """Thin the counts of a task to one level with one seed, unless that is stored already."""
    digest = noised_hash(study, task, level, seed)
    if not platform.artifacts.is_complete("noised", digest):
        opened = stored_task(study.tasks[task], platform.artifacts)
        with platform.artifacts.create("noised", digest, {"level": level, "seed": seed}) as folder:
            # Level 1 is the measured data itself: its depth is recorded, its counts are not copied.
            counts = opened.counts
            if level < 1.0:
                counts = noise.write_noised(
                    opened.counts,
                    folder / "counts.zarr",
                    level=level,
                    seed=seed,
                    cell_names=opened.cell_names,
                    gene_names=opened.gene_names,
                    n_threads=platform.machine.worker_threads,
                    chunk_entries=platform.machine.chunk_entries,
                )
            depth = noise.realised_depth(counts, opened.probe_rows())
            facts = {**depth.to_json(), "truth_bits": _truth_bits(study.tasks[task], level, platform.storage)}
            (folder / "depth.json").write_text(json.dumps(facts))
    return _opened_noised(digest, level, seed, platform.artifacts)


def stored_noised(study: Study, task: str, artifacts: Artifacts) -> list[Noised]:
    """The thinned data sets of a task that are stored, over levels and seeds."""
    points = ((level, seed) for level in study.levels_of(task) for seed in study.seeds)
    wanted = ((level, seed, noised_hash(study, task, level, seed)) for level, seed in points)
    return [
        _opened_noised(digest, level, seed, artifacts)
        for level, seed, digest in wanted
        if artifacts.is_complete("noised", digest)
    ]


def _opened_noised(digest: str, level: float, seed: int, artifacts: Artifacts) -> Noised:
    facts = json.loads((artifacts.path("noised", digest) / "depth.json").read_text())
    return Noised(hash=digest, level=level, seed=seed, facts=facts)


@lru_cache(maxsize=64)
def _truth_bits(settings: TaskSettings, level: float, storage: Path) -> float | None:
    """True information of simulated counts about their auxiliary at this level, else None."""
    simulation = stored_task(settings, Artifacts(storage)).simulation
    return None if simulation is None else float(simulation.information_bits([level]).bits[0])


@lru_cache(maxsize=64)
def _total_umi_factor(settings: TaskSettings, storage: Path) -> float | None:
    """UMIs over all genes for each UMI of the panel, over the probe cells; None where the task does not say."""
    if getattr(settings, "total_umis", None) is None:
        return None
    return total_umi_factor(settings, stored_task(settings, Artifacts(storage)))


def stored_embeddings(
    study: Study, task: str, model: str, artifacts: Artifacts
) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Label and embedding (n_probe_cells, n_dimensions), mapped not read, of all that is stored of a model."""
    cells = [cell for cell in study.cells() if (cell.task, cell.model) == (task, model)]
    chains = [(cell.label, cell_hashes(study, cell)) for cell in cells]
    named = [(label, hashes.trained.embedding) for label, hashes in chains]
    named += [(f"{label} at q={one.level:g}", one.embedding) for label, hashes in chains for one in hashes.crossed]
    return [
        (label, np.load(artifacts.path("embedding", digest) / "embedding.npy", mmap_mode="r", allow_pickle=False))
        for label, digest in named
        if artifacts.is_complete("embedding", digest)
    ]


def is_measured(hashes: CellHashes, artifacts: Artifacts) -> bool:
    """Whether every measurement of this cell of the grid is stored, those at other noise levels too."""
    return all(
        artifacts.is_complete("measurement", digest)
        for model in hashes.probed()
        for digest in model.measurement.values()
    )


def register(name: str, study: Study, platform: Platform) -> None:
    """Land the definition of a study in table `study`."""
    row = StudyRow(
        study=name,
        description=study.description,
        definition=definition_text(study),
        protocol=study.protocol,
        n_grid_cells=sum(1 for _ in study.cells()),
        n_seeds=study.n_seeds,
        registered_at=datetime.now(UTC),
    )
    platform.results.land("study", [row])


@dataclass(frozen=True)
class Measuring:
    """Measures cells of the grid of one study, each in a worker of its own."""

    name: str
    study: Study
    platform: Platform
    dagster_run_id: str | None = None

    def run(
        self, cells: Iterable[GridCell], on_step: Callable[[str], None] | None = None
    ) -> Generator[Outcome, None, None]:
        """Yield what became of each cell as it ends; what is stored already comes first.

        Rows land in the results the moment that they exist. Closing the iterator stops the workers.
        """
        asked = [(cell, cell_hashes(self.study, cell)) for cell in cells]
        recorder = Recorder(self.platform.results, self.name)
        with self.platform.artifacts.in_use({digest for _, hashes in asked for _, digest in links(hashes)}):
            waiting: dict[str, tuple[GridCell, CellHashes]] = {}
            for cell, hashes in asked:
                if is_measured(hashes, self.platform.artifacts):
                    outcome = self._measured(cell, hashes, "reused", "stored already")
                    recorder.land_unrecorded("measurement", outcome.rows)
                    recorder.land_unrecorded("cross_noise_measurement", outcome.crossed)
                    recorder.settle(cell, self.dagster_run_id)
                    yield outcome
                else:
                    self._require_noised(cell, hashes)
                    waiting[cell.label] = (cell, hashes)
            yield from self._dispatched(waiting, on_step, recorder)
        self.platform.results.publish()

    def _dispatched(
        self,
        waiting: dict[str, tuple[GridCell, CellHashes]],
        on_step: Callable[[str], None] | None,
        recorder: Recorder,
    ) -> Iterator[Outcome]:
        failures: dict[str, Failed] = {}
        damage = Damage(self.platform.artifacts)

        def receive(label: str, message: Message) -> None:
            failure = failure_text(message, jobs[label])
            if failure is not None:
                failures[label] = Failed(failure, failed_device_mib(message))
            elif isinstance(message, Report) and on_step is not None:
                on_step(f"{label}: {message.payload['step']}")

        def renew(todo: Sequence[WorkerJob]) -> Sequence[WorkerJob]:
            return self._maker.renewed(self._with_genes(job, waiting[job.label][0]) for job in todo)

        jobs = {job.label: job for job in self._jobs(waiting.values())}
        publisher = _Publisher(self.platform.results)
        # Closed at once when something fails here, so that no worker goes on unwatched.
        machine = self.platform.machine
        repeating = run_repeating(
            self.platform.dispatcher, jobs, node_devices(machine), receive, machine.worker_retries, renew=renew
        )
        with closing(repeating) as results:
            for result, repeated in results:
                cell, hashes = waiting[result.label]
                outcome = self._outcome(cell, hashes, result, failures.pop(result.label, None), damage)
                n_attempts = recorder.n_attempts(cell)
                if outcome.status == "failed" and n_attempts > 1:
                    outcome = replace(outcome, reason=f"{outcome.reason} (attempt {n_attempts})")
                recorder.land("measurement", outcome.rows)
                recorder.land("cross_noise_measurement", outcome.crossed)
                self._remember(outcome, result)
                self.platform.results.land("run", [self._run_row(outcome, result)])
                publisher.publish_now_and_then()
                if repeated is None:
                    yield outcome
                elif on_step is not None:
                    on_step(f"{result.label}: out of memory, it is run again with {repeated.need}")

    def _remember(self, outcome: Outcome, worker: WorkerResult) -> None:
        """What the worker used, for the predictions of the next."""
        if outcome.status == "succeeded":
            self._maker.remember(outcome.cell, self._n_genes[outcome.cell.task], worker, outcome.fit)

    def _require_noised(self, cell: GridCell, hashes: CellHashes) -> None:
        needed = {cell.level: hashes.noised} | {one.level: one.noised for one in hashes.crossed}
        for level, digest in needed.items():
            if not self.platform.artifacts.is_complete("noised", digest):
                raise InputError(
                    f"noise level {level:g} (seed {cell.seed}) of task '{cell.task}' is not stored, or its settings"
                    " changed: materialize that partition of `noised` first."
                )

    def _jobs(self, waiting: Iterable[tuple[GridCell, CellHashes]]) -> list[WorkerJob]:
        """Worker jobs, each with the memory that it is predicted to need; some wait for a pilot."""
        n_genes = self._n_genes
        jobs = []
        for cell, hashes in waiting:
            if cell.task not in n_genes:
                task = stored_task(self.study.tasks[cell.task], self.platform.artifacts)
                n_genes[cell.task] = task.counts.shape[1]
            jobs.append(self._with_genes(self._maker.job(cell, hashes, n_genes[cell.task]), cell))
        return self._maker.piloted(jobs)

    def _with_genes(self, job: WorkerJob, cell: GridCell) -> CellJob:
        return CellJob(job, cell, self._n_genes[cell.task])

    @cached_property
    def _maker(self) -> JobMaker:
        return JobMaker(self.study, self.platform.machine, self.platform.storage)

    @cached_property
    def _n_genes(self) -> dict[str, int]:
        """Genes of the tasks whose jobs were made."""
        return {}

    def _outcome(
        self, cell: GridCell, hashes: CellHashes, result: WorkerResult, failure: Failed | None, damage: Damage
    ) -> Outcome:
        if result.is_success and is_measured(hashes, self.platform.artifacts):
            damaged = damage.text(hashes)
            if damaged:
                _LOG.warning("%s was computed again: %s", cell.label, damaged)
            return self._measured(cell, hashes, "succeeded", damaged and f"computed again: {damaged}", result)
        damage.read_all(hashes)
        told = failure or Failed(f"{result.reason}: {result.stderr_tail}")
        reasons = [told.text, damage.text(hashes)]
        fit = {"peak_device_memory_mib": told.peak_device_memory_mib}
        return Outcome(cell, hashes, "failed", "\n".join(filter(None, reasons)), fit=fit, worker=result)

    def _measured(
        self,
        cell: GridCell,
        hashes: CellHashes,
        status: Literal["succeeded", "reused"],
        reason: str,
        worker: WorkerResult | None = None,
    ) -> Outcome:
        fit = self._record(hashes.trained.measurement[self.study.probing.headline])["fit"]
        crossed = tuple(self._crossed_row(cell, hashes, one) for one in hashes.crossed)
        return Outcome(cell, hashes, status, reason, self._rows(cell, hashes), crossed, fit, worker)

    def _record(self, digest: str) -> dict[str, Any]:
        """What the worker stored of one measurement: estimate, depth, facts about the fit, library versions."""
        stored = self.platform.artifacts.path("measurement", digest) / "measurement.json"
        return dict(json.loads(stored.read_text()))

    def _rows(self, cell: GridCell, hashes: CellHashes) -> tuple[MeasurementRow, ...]:
        return tuple(
            self._measurement_row(cell, hashes, model, estimator)
            for model in hashes.measured()
            for estimator in model.measurement
        )

    def _measurement_row(
        self, cell: GridCell, hashes: CellHashes, model: ModelHashes, estimator: EstimatorName
    ) -> MeasurementRow:
        digest = model.measurement[estimator]
        record = self._record(digest)
        depth, fit = record["depth"], record["fit"]
        shared = record.get("leakage", {})  # not counted by versions that stored measurements before
        total_factor = _total_umi_factor(self.study.tasks[cell.task], self.platform.storage)
        return MeasurementRow(
            study=self.name,
            task=cell.task,
            model=cell.model,
            n_cells=cell.n_cells,
            level=cell.level,
            seed=cell.seed,
            is_trained=model is hashes.trained,
            estimator=estimator,
            is_headline=estimator == self.study.probing.headline,
            umis_per_cell=depth["umis_per_cell"],
            n_train_cells=fit["n_train_cells"],
            n_nonempty_train_cells=fit.get("n_nonempty_train_cells"),
            n_validation_cells=fit.get("n_validation_cells"),
            total_umis_per_cell=None if total_factor is None else depth["umis_per_cell"] * total_factor,
            n_shared_cells=shared.get("n_shared_cells"),
            n_shared_groups=shared.get("n_shared_groups"),
            n_shared_partners=shared.get("n_shared_partners"),
            **_estimated(record),
            data_hash=hashes.data,
            noised_hash=hashes.noised,
            model_hash=model.model,
            embedding_hash=model.embedding,
            measurement_hash=digest,
            protocol=self.study.protocol,
            measured_at=self._measured_at(digest),
        )

    def _crossed_row(self, cell: GridCell, hashes: CellHashes, crossed: CrossedHashes) -> CrossNoiseMeasurementRow:
        ((estimator, digest),) = crossed.measurement.items()
        record = self._record(digest)
        return CrossNoiseMeasurementRow(
            study=self.name,
            task=cell.task,
            model=cell.model,
            n_cells=cell.n_cells,
            train_level=cell.level,
            probe_level=crossed.level,
            seed=cell.seed,
            estimator=estimator,
            train_umis_per_cell=record["train_depth"]["umis_per_cell"],
            probe_umis_per_cell=record["depth"]["umis_per_cell"],
            n_train_cells=record["fit"]["n_train_cells"],
            **record["leakage"],
            **_estimated(record),
            data_hash=hashes.data,
            train_noised_hash=hashes.noised,
            probe_noised_hash=crossed.noised,
            model_hash=crossed.model,
            embedding_hash=crossed.embedding,
            measurement_hash=digest,
            protocol=self.study.protocol,
            measured_at=self._measured_at(digest),
        )

    def _measured_at(self, digest: str) -> datetime:
        return datetime.fromisoformat(self.platform.artifacts.manifest("measurement", digest)["created_at"])

    def _run_row(self, outcome: Outcome, worker: WorkerResult) -> RunRow:
        cell, digest = outcome.cell, outcome.hashes.trained.measurement[self.study.probing.headline]
        versions = self._record(digest)["versions"] if outcome.status == "succeeded" else {}
        fit = outcome.fit
        return RunRow(
            run_id=uuid.uuid4().hex,
            study=self.name,
            task=cell.task,
            model=cell.model,
            n_cells=cell.n_cells,
            level=cell.level,
            seed=cell.seed,
            status="succeeded" if outcome.status == "succeeded" else "failed",
            reason=outcome.reason,
            seconds=worker.seconds,
            cpu_seconds=worker.cpu_seconds,
            peak_memory_mib=worker.peak_memory_mib,
            peak_device_memory_mib=fit.get("peak_device_memory_mib"),
            device=fit.get("device"),
            n_devices=fit.get("n_devices"),
            dtype=fit.get("dtype"),
            training_seconds=fit.get("seconds"),
            steps=fit.get("steps"),
            epochs=fit.get("epochs"),
            stop_reason=fit.get("stop_reason"),
            n_parameters=fit.get("n_parameters"),
            losses=fit.get("losses"),
            library_versions=versions,
            n_threads=self.platform.machine.worker_threads,
            host=worker.host or socket.gethostname(),
            dagster_run_id=self.dagster_run_id,
            finished_at=datetime.now(UTC),
        )


def _estimated(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored measurement says of its estimate and probe cells, by column of the results."""
    estimate, depth = record["estimate"], record["depth"]
    return {
        "mi_bits": estimate["value_bits"],
        **{name: estimate[name] for name in ("low_bits", "high_bits", "floor_bits", "ceiling_bits", "n_pairs")},
        "n_probe_cells": depth["n_cells"],
        "n_nonempty_probe_cells": depth["n_nonempty_cells"],
        "gap_bits": estimate["diagnostics"].get("gap_bits"),
        "truth_bits": depth["truth_bits"],
        "flags": estimate["flags"],
        "diagnostics": estimate["diagnostics"],
    }


class _Publisher:
    """Merges landed rows into the database now and then, so that a long run can be watched by SQL."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._last = time.monotonic()

    def publish_now_and_then(self) -> None:
        if time.monotonic() - self._last >= PUBLISH_EVERY_S:
            self._results.publish()
            self._last = time.monotonic()
