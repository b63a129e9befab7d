"""Chained content hashes of one cell of the grid: data → noised → model → embedding → measurement.

What is finished under its hash is never computed again. Each room puts its own `CODE_VERSION` into its link only,
so that a fix in probing retrains nothing, and a new auxiliary signal neither.
"""

from functools import lru_cache

from nsl_assets import noise, probing
from nsl_assets.models import model_identity
from nsl_assets.probing import EstimatorName, ProbingSettings
from nsl_assets.settings import Settings
from nsl_assets.study import GridCell, Study
from nsl_assets.tasks import TaskSettings, auxiliary_identity, data_identity
from nsl_resources.artifacts import Json, content_hash


class ModelHashes(Settings):
    """Hashes of one model, trained or not, on one cell of the grid."""

    model: str
    embedding: str
    measurement: dict[EstimatorName, str]
    """By estimator."""


class CrossedHashes(ModelHashes):
    """Hashes of the trained model of a cell where it is probed at another noise level."""

    level: float
    """Of the probed counts."""
    noised: str
    """The probed counts."""


class CellHashes(Settings):
    """Every link of the chain of one cell of the grid."""

    data: str
    auxiliary: str
    noised: str
    trained: ModelHashes
    untrained: ModelHashes | None
    """The baseline before training, where the study measures it beside this cell."""
    crossed: tuple[CrossedHashes, ...] = ()
    """The trained model at other noise levels, where the study probes it there."""

    def measured(self) -> "tuple[ModelHashes, ...]":
        """The models to be measured at their own level: the trained one, and the untrained one if it is asked for."""
        return (self.trained,) if self.untrained is None else (self.trained, self.untrained)

    def probed(self) -> "tuple[ModelHashes, ...]":
        """Everything that is embedded and measured: the trained model first, then at other levels, the untrained."""
        return (self.trained, *self.crossed, *(() if self.untrained is None else (self.untrained,)))


@lru_cache(maxsize=256)
def data_hash(task: TaskSettings) -> str:
    """Counts and split of a task. Reads the whole source file once per process."""
    return content_hash("data", data_identity(task))


@lru_cache(maxsize=256)
def auxiliary_hash(task: TaskSettings) -> str:
    """The auxiliary signal of a task."""
    return content_hash("auxiliary", {"data": data_hash(task), **auxiliary_identity(task)})


def noised_hash(study: Study, task: str, level: float, seed: int) -> str:
    """Thinned counts. Level 1 is the measured data itself, once for all seeds."""
    parts: dict[str, Json] = {
        "data": data_hash(study.tasks[task]),
        "noise": study.noise.kind,
        "code_version": noise.CODE_VERSION,
        "level": level,
        "seed": None if level == 1.0 else seed,
    }
    return content_hash("noised", parts)


def cell_hashes(study: Study, cell: GridCell) -> CellHashes:
    """The chain of hashes of one cell of the grid."""
    noised = noised_hash(study, cell.task, cell.level, cell.seed)
    auxiliary = auxiliary_hash(study.tasks[cell.task])
    untrained = None
    if study.measures_untrained(cell.task, cell.model, cell.n_cells, cell.level):
        untrained = _model_hashes(study, cell, noised, auxiliary, n_cells=None)
    trained = _model_hashes(study, cell, noised, auxiliary, n_cells=cell.n_cells)
    return CellHashes(
        data=data_hash(study.tasks[cell.task]),
        auxiliary=auxiliary,
        noised=noised,
        trained=trained,
        untrained=untrained,
        crossed=tuple(
            _crossed_hashes(study, cell, level, trained.model, auxiliary) for level in study.probe_levels_of(cell)
        ),
    )


def _model_hashes(study: Study, cell: GridCell, noised: str, auxiliary: str, n_cells: int | None) -> ModelHashes:
    """`n_cells` is None for the model before training, which no cell has touched."""
    settings = model_identity(study.models[cell.model], level=cell.level)
    model = content_hash("model", {"noised": noised, "settings": settings, "n_cells": n_cells, "seed": cell.seed})
    embedding = _embedding_hash(model, noised)
    measurement = {
        estimator: _measurement_hash(study, cell, embedding, auxiliary, estimator)
        for estimator in study.probing.estimators
    }
    return ModelHashes(model=model, embedding=embedding, measurement=measurement)


def _crossed_hashes(study: Study, cell: GridCell, level: float, model: str, auxiliary: str) -> CrossedHashes:
    """The model of a cell on the counts of another level of the same seed, by the headline estimator."""
    noised = noised_hash(study, cell.task, level, cell.seed)
    embedding, headline = _embedding_hash(model, noised), study.probing.headline
    measurement = {headline: _measurement_hash(study, cell, embedding, auxiliary, headline)}
    return CrossedHashes(model=model, embedding=embedding, measurement=measurement, level=level, noised=noised)


def _embedding_hash(model: str, noised: str) -> str:
    """A model and the counts that it embeds."""
    return content_hash("embedding", {"model": model, "probe": noised})


def _measurement_hash(study: Study, cell: GridCell, embedding: str, auxiliary: str, estimator: EstimatorName) -> str:
    parts: dict[str, Json] = {
        "embedding": embedding,
        "auxiliary": auxiliary,
        "seed": cell.seed,
        **_how_it_is_estimated(study.probing, estimator),
    }
    return content_hash("measurement", parts)


def calibration_hash(settings: ProbingSettings, estimator: EstimatorName) -> str:
    """How an estimator measures, whatever it measures: a calibration holds for all measurements made in this way."""
    return content_hash("calibration", _how_it_is_estimated(settings, estimator))


def _how_it_is_estimated(settings: ProbingSettings, estimator: EstimatorName) -> dict[str, Json]:
    return {"code_version": probing.CODE_VERSION, "settings": probing.estimator_identity(settings, estimator)}
