"""Models: counts in, embeddings out. One file a kind; its own stack is imported only when it is created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field

from nsl_assets.models.custom import Custom
from nsl_assets.models.embeddings import Embeddings
from nsl_assets.models.geneformer import Geneformer
from nsl_assets.models.neural import NeuralKind
from nsl_assets.models.oracle import Oracle
from nsl_assets.models.pca import Pca
from nsl_assets.models.preprocessing import log_normalised
from nsl_assets.models.protocol import Cost, FitReport, Model, ModelKind, Runtime
from nsl_assets.models.random_projection import RandomProjection
from nsl_assets.models.scvi import Scvi

if TYPE_CHECKING:
    from nsl_assets.tasks import Task

ModelSettings = Annotated[
    RandomProjection | Pca | Scvi | Geneformer | Oracle | Embeddings | Custom, Field(discriminator="kind")
]
"""Settings of any kind of model. A new kind is a file with a `ModelKind` and one name in this union."""

__all__ = [
    "Cost",
    "Custom",
    "Embeddings",
    "FitReport",
    "Geneformer",
    "Model",
    "ModelKind",
    "ModelSettings",
    "Oracle",
    "Pca",
    "RandomProjection",
    "Runtime",
    "Scvi",
    "budget",
    "code_version",
    "create",
    "depends_on_size",
    "devices_wanted",
    "estimate_cost",
    "has_budget",
    "log_normalised",
    "model_identity",
    "needs_training",
]


_PLAIN = Runtime()


def create(settings: ModelKind, *, task: Task, level: float, runtime: Runtime = _PLAIN) -> Model:
    """The model of these settings, not trained yet. Imports the stack of that model and no other.

    Raises InputError where the model does not fit the task, or the user's file or class cannot be used.
    """
    return settings.create(task, level, runtime)


def code_version(settings: ModelKind) -> str:
    """Version of this kind's code: part of the identity, since a change of it changes embeddings."""
    return settings.CODE_VERSION


def model_identity(settings: ModelKind, *, level: float | None = None) -> dict[str, Any]:
    """What of a model decides its numbers, as JSON: settings, code version, hashes of user files.

    With a level, only the embeddings file of that level enters, so that adding a level leaves the others
    valid. Raises InputError where such a file is missing.
    """
    return {**settings.identity(), "code_version": code_version(settings), **settings.content(level)}


def estimate_cost(settings: ModelKind, n_train_cells: int, n_genes: int) -> Cost:
    """Predicted peak memory, time and disk of one seed; the formula stands with each kind's `cost`."""
    return settings.cost(n_train_cells, n_genes)


def has_budget(kind: str) -> bool:
    """Whether a kind of model, by name, has named budgets; False for a name that is none."""
    kinds = {str(one.model_fields["kind"].default): one for one in get_args(get_args(ModelSettings)[0])}
    return kind in kinds and issubclass(kinds[kind], NeuralKind)


def budget(settings: ModelKind) -> str | None:
    """The named budget of a model that has one."""
    return settings.budget if isinstance(settings, NeuralKind) else None


def needs_training(settings: ModelKind) -> bool:
    """False for oracle, embeddings and frozen checkpoints, which have no untrained baseline either."""
    return settings.needs_training()


def devices_wanted(settings: ModelKind) -> int:
    """Devices that train one model together."""
    return settings.devices_wanted()


def depends_on_size(settings: ModelKind) -> bool:
    """Whether embeddings change with the training size; where not, only the largest size need be run.

    False for oracle, embeddings, frozen checkpoints, and the random projection of raw counts, which learns nothing.
    """
    return settings.depends_on_size()
