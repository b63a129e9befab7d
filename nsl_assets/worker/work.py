"""The steps of one cell of the grid, each skipped where its result is stored already."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets import models, probing
from nsl_assets.errors import MeasurementError
from nsl_assets.identity import ModelHashes
from nsl_assets.randomness import integer_seed
from nsl_assets.tasks import CountRows, CountStore, Leakage, Task, leakage, open_counts, open_task
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

    @cached_property
    def depth(self) -> dict[str, Any]:
        """Realised depth of the probe cells at this level and seed, and the truth where it is known."""
        return dict(json.loads((self._noised / "depth.json").read_text()))

    @property
    def _noised(self) -> Path:
        return self.artifacts.path("noised", self.order.hashes.noised)

    @cached_property
    def counts(self) -> CountStore:
        """Thinned counts; at level 1 the measured counts themselves."""
        thinned = self._noised / "counts.zarr"
        return open_counts(thinned) if thinned.exists() else self.task.counts

    def rows(self, rows: npt.NDArray[np.intp]) -> CountRows:
        """Some cells as a model sees them."""
        return CountRows(
            store=self.counts,
            rows=rows,
            cell_names=self.task.cell_names[rows],
            gene_names=self.task.gene_names,
        )

    def run(self) -> None:
        """Measure the model, and the untrained baseline where it is asked for."""
        for hashes in self.order.hashes.measured():
            self._measure(hashes, is_trained=hashes is self.order.hashes.trained)

    def _measure(self, hashes: ModelHashes, *, is_trained: bool) -> None:
        missing = [
            estimator
            for estimator, measurement in hashes.measurement.items()
            if not self.artifacts.is_complete("measurement", measurement)
        ]
        if not missing:
            return
        embedding, facts = self._embedding(hashes, is_trained=is_trained)
        pairs = self.task.pairs(self.order.cell.seed, self.order.cell.level)
        self.say(f"probing with {', '.join(missing)}")
        estimates = probing.estimate_all(
            embedding[np.searchsorted(self.task.probe_rows(), pairs.rows)],
            self.task.signal(pairs, embedding),
            estimators=missing,
            settings=self.order.study.probing,
            seed=integer_seed("probe", self.order.cell.seed),
            group=self.task.pair_groups(pairs),
        )
        shared = leakage(self.task, pairs)
        for estimate in estimates:
            self._store(estimate, hashes, facts, shared)

    def _store(self, estimate: probing.Estimate, hashes: ModelHashes, facts: dict[str, Any], shared: Leakage) -> None:
        record = {
            "estimate": asdict(estimate),
            "depth": self.depth,
            "fit": facts,
            "versions": self.versions,
            "leakage": asdict(shared),
        }
        lineage = {"embedding": hashes.embedding, "estimator": estimate.estimator}
        with self.artifacts.create("measurement", hashes.measurement[estimate.estimator], lineage) as folder:
            (folder / "measurement.json").write_text(json.dumps(record))

    def _embedding(self, hashes: ModelHashes, *, is_trained: bool) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Embedding of the probe cells, shape (n_probe_cells, n_dimensions), and facts about the fit."""
        if not self.artifacts.is_complete("embedding", hashes.embedding):
            model, facts = self._model(hashes, is_trained=is_trained)
            self.say("embedding the probe cells")
            embedding = model.embed(self.rows(self.task.probe_rows()))
            if not np.isfinite(embedding).all():
                raise MeasurementError(
                    f"the embedding of {int((~np.isfinite(embedding)).any(axis=1).sum())} probe cells is not finite:"
                    " nothing is measured from it. Look at the loss of this model, or lower its learning rate."
                )
            with self.artifacts.create("embedding", hashes.embedding, {"model": hashes.model}) as folder:
                np.save(folder / "embedding.npy", embedding, allow_pickle=False)
                (folder / "fit.json").write_text(json.dumps(facts))
            if self.order.study.keep_models == "none":
                self.artifacts.discard("model", hashes.model)
        folder = self.artifacts.path("embedding", hashes.embedding)
        return np.load(folder / "embedding.npy", allow_pickle=False), json.loads((folder / "fit.json").read_text())

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
