"""The steps of one cell of the grid, each skipped where its result is stored already."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets import models, probing
from nsl_assets.errors import MeasurementError
from nsl_assets.identity import ModelHashes
from nsl_assets.probing import EstimatorName
from nsl_assets.randomness import integer_seed
from nsl_assets.tasks import CountRows, CountStore, Task, leakage, open_counts, open_task
from nsl_assets.worker.order import WorkerOrder
from nsl_resources.artifacts import Artifacts

PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "zarr", "numba")
"""Packages whose versions decide numbers, whatever the model."""
PACKAGE_OF_MODULE = {"scvi": "scvi-tools"}
"""Where a package is named otherwise than its module."""
PRELOADED = (
    "nsl_assets.worker",
    "dagster_pipes",
    "torch",
    "numba",
    "zarr",
    "scipy.sparse",
    "scipy.stats",
    "pandas",
    "pyarrow.parquet",
    "safetensors.numpy",
)
"""What every worker imports sooner or later: read once where workers are forked from a preloaded process."""


def preload(model: models.ModelKind) -> tuple[str, ...]:
    """Modules that a worker of this model imports."""
    return (*PRELOADED, *model.STACK)


def _versions(model: models.ModelKind) -> dict[str, str]:
    roots = dict.fromkeys(module.partition(".")[0] for module in model.STACK)
    names = (*PACKAGES, *(PACKAGE_OF_MODULE.get(root, root) for root in roots))
    return {name: version(name) for name in names}


@dataclass(frozen=True, eq=False)
class Probe:
    """One model on the probe cells of one noise level: what is embedded and measured."""

    hashes: ModelHashes
    level: float
    noised: str
    """The probed counts."""


class CellWork:
    """The steps of one cell of the grid, each skipped where its result is stored already."""

    def __init__(self, order: WorkerOrder, scratch: Path, say: Callable[[str], None]) -> None:
        self.order = order
        self.scratch = scratch
        self.artifacts = Artifacts(order.storage)
        self.say = say
        self.settings = order.study.models[order.cell.model]
        self.versions = _versions(self.settings)

    @cached_property
    def task(self) -> Task:
        """The task, opened from its artifacts."""
        hashes = self.order.hashes
        return open_task(self.artifacts.path("data", hashes.data), self.artifacts.path("auxiliary", hashes.auxiliary))

    def depth(self, noised: str) -> dict[str, Any]:
        """Realised depth of the probe cells of thinned counts, and the truth where it is known."""
        return dict(json.loads((self.artifacts.path("noised", noised) / "depth.json").read_text()))

    def counts(self, noised: str) -> CountStore:
        """Thinned counts; at level 1 the measured counts themselves."""
        thinned = self.artifacts.path("noised", noised) / "counts.zarr"
        return open_counts(thinned) if thinned.exists() else self.task.counts

    def rows(self, rows: npt.NDArray[np.intp], noised: str | None = None) -> CountRows:
        """Some cells as a model sees them: of the level of training, or of other thinned counts."""
        return CountRows(
            store=self.counts(noised or self.order.hashes.noised),
            rows=rows,
            cell_names=self.task.cell_names[rows],
            gene_names=self.task.gene_names,
        )

    def run(self) -> None:
        """Measure the trained model at its own level and where it is crossed, and the untrained baseline if asked."""
        hashes, level = self.order.hashes, self.order.cell.level
        own = Probe(hashes.trained, level, hashes.noised)
        self._measure([own, *(Probe(one, one.level, one.noised) for one in hashes.crossed)], is_trained=True)
        if hashes.untrained is not None:
            self._measure([Probe(hashes.untrained, level, hashes.noised)], is_trained=False)

    def _measure(self, probes: Sequence[Probe], *, is_trained: bool) -> None:
        """Measure one model wherever it is probed. It embeds all before the first is probed, and is needed no more."""
        waiting = {probe: missing for probe in probes if (missing := self._missing(probe.hashes))}
        self._embed([probe for probe in waiting if not self._is_embedded(probe)], is_trained=is_trained)
        for probe, missing in waiting.items():
            self._estimate(probe, missing)

    def _missing(self, hashes: ModelHashes) -> tuple[EstimatorName, ...]:
        """Estimators whose measurement is not stored."""
        return tuple(
            estimator
            for estimator, digest in hashes.measurement.items()
            if not self.artifacts.is_complete("measurement", digest)
        )

    def _is_embedded(self, probe: Probe) -> bool:
        return self.artifacts.is_complete("embedding", probe.hashes.embedding)

    def _estimate(self, probe: Probe, estimators: Sequence[EstimatorName]) -> None:
        folder = self.artifacts.path("embedding", probe.hashes.embedding)
        embedding = np.load(folder / "embedding.npy", allow_pickle=False)
        pairs = self.task.pairs(self.order.cell.seed, probe.level)
        self.say(f"probing{self._where(probe)} with {', '.join(estimators)}")
        estimates = probing.estimate_all(
            embedding[np.searchsorted(self.task.probe_rows(), pairs.rows)],
            self.task.signal(pairs, embedding),
            estimators=estimators,
            settings=self.order.study.probing,
            seed=integer_seed("probe", self.order.cell.seed),
            group=self.task.pair_groups(pairs),
        )
        record = {
            "depth": self.depth(probe.noised),
            "train_depth": self.depth(self.order.hashes.noised),
            "fit": json.loads((folder / "fit.json").read_text()),
            "versions": self.versions,
            "leakage": asdict(leakage(self.task, pairs)),
        }
        for estimate in estimates:
            self._store(estimate, probe.hashes, record)

    def _where(self, probe: Probe) -> str:
        """The level of a probe in words, where it is not that of training."""
        return "" if probe.level == self.order.cell.level else f" at q={probe.level:g}"

    def _store(self, estimate: probing.Estimate, hashes: ModelHashes, record: dict[str, Any]) -> None:
        lineage = {"embedding": hashes.embedding, "estimator": estimate.estimator}
        with self.artifacts.create("measurement", hashes.measurement[estimate.estimator], lineage) as folder:
            (folder / "measurement.json").write_text(json.dumps({"estimate": asdict(estimate), **record}))

    def _embed(self, probes: Sequence[Probe], *, is_trained: bool) -> None:
        """Store what one model makes of the probe cells of some levels, and facts about its fit."""
        if not probes:
            return
        model, facts = self._model(probes[0].hashes, is_trained=is_trained)
        for probe in probes:
            self.say(f"embedding the probe cells{self._where(probe)}")
            embedding = model.embed(self.rows(self.task.probe_rows(), probe.noised))
            _require_finite(embedding)
            with self.artifacts.create("embedding", probe.hashes.embedding, {"model": probe.hashes.model}) as folder:
                np.save(folder / "embedding.npy", embedding, allow_pickle=False)
                (folder / "fit.json").write_text(json.dumps(facts))
        if self.order.study.keep_models == "none":
            self.artifacts.discard("model", probes[0].hashes.model)

    def _model(self, hashes: ModelHashes, *, is_trained: bool) -> tuple[models.Model, dict[str, Any]]:
        cell = self.order.cell
        runtime = models.Runtime(**self.order.runtime.model_dump(), scratch=self.scratch, say=self.say)
        model = models.create(self.settings, task=self.task, level=cell.level, runtime=runtime)
        stored = self.artifacts.path("model", hashes.model)
        if self.artifacts.is_complete("model", hashes.model):
            model.load(stored / "model")
            return model, json.loads((stored / "fit.json").read_text())
        train = self.rows(self.task.train_rows(cell.n_cells, cell.seed))
        self.say(f"training {cell.model} on {cell.n_cells} cells" if is_trained else f"initialising {cell.model}")
        facts = self._fit(model, train) if is_trained else self._initialise(model)
        with self.artifacts.create("model", hashes.model, {"noised": self.order.hashes.noised}) as folder:
            (folder / "model").mkdir()
            model.save(folder / "model")
            (folder / "fit.json").write_text(json.dumps(facts))
        return model, facts

    def _fit(self, model: models.Model, train: CountRows) -> dict[str, Any]:
        report = model.fit(train, self.rows(self.task.validation_rows()), seed=self.order.cell.seed)
        return report.to_json()

    def _initialise(self, model: models.Model) -> dict[str, Any]:
        """The model before training learns the genes and sees no cell: its hash has no training size."""
        started = time.perf_counter()
        model.initialise(self.rows(np.empty(0, np.intp)), seed=self.order.cell.seed)
        return {"n_train_cells": 0, "stop_reason": "untrained", "seconds": time.perf_counter() - started}


def _require_finite(embedding: npt.NDArray[np.float32]) -> None:
    """MeasurementError where an embedding (n_probe_cells, n_dimensions) has NaN or infinities."""
    if not np.isfinite(embedding).all():
        raise MeasurementError(
            f"the embedding of {int((~np.isfinite(embedding)).any(axis=1).sum())} probe cells is not finite:"
            " nothing is measured from it. Look at the loss of this model, or lower its learning rate."
        )
