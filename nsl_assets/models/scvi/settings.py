"""Settings of scVI (paper, E.2 and Table 2 of the supplement). scvi-tools itself is imported by `create` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pydantic import Field

from nsl_assets.models.neural import NeuralKind, epochs_of_budget
from nsl_assets.models.protocol import Cost

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.models.scvi.model import ScviModel
    from nsl_assets.tasks import Task

_MIB: Final = 2**20
_TYPICAL_EPOCHS: Final = 70  # after which early stopping has ended most fits with the paper's settings


class Scvi(NeuralKind):
    """scVI, a variational autoencoder of counts: `scvi.model.SCVI` with ZINB likelihood and gene dispersion.

    The embedding is the posterior mean. A checkpoint is a folder that scvi-tools' `model.save` wrote; its genes are
    matched by name, and its own architecture replaces the one below.

    Budget "quick": 15 passes in batches of 128 at four times the learning rate. On 4,113 cells and 4,000 genes it keeps
    as many bits as the paper's training within their error, in a quarter of its time
    (docs/decisions/scvi-training.md).
    """

    STACK: ClassVar[tuple[str, ...]] = ("scvi",)
    CODE_VERSION: ClassVar[str] = "1"
    BUDGETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "quick": {"learning_rate": 4e-3, "batch_size": 128, "early_stopping_patience": 3, "max_epochs": 15},
    }

    kind: Literal["scvi"] = "scvi"
    """Name of this kind of model."""
    n_hidden: int = Field(default=512, ge=1)
    """Units of each hidden layer."""
    n_layers: int = Field(default=1, ge=1)
    """Hidden layers of the encoder, and of the decoder."""
    n_latent: int = Field(default=16, ge=1)
    """Dimensions of the embedding."""
    dropout_rate: float = Field(default=0.1, ge=0, lt=1)
    """Probability that a hidden unit of the encoder is dropped in training."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's rate."""
    adam_epsilon: float = Field(default=0.01, gt=0)
    """Adam's ε."""
    weight_decay: float = Field(default=1e-6, ge=0)
    """Adam's weight decay."""
    batch_size: int = Field(default=512, ge=2)
    """Cells a step."""
    max_epochs: int | None = Field(default=None, ge=1)
    """Largest number of passes over the training cells; none: max(1, ⌊10⁷ / cells⌋)."""
    kl_warmup_epochs: int = Field(default=1, ge=0)
    """Epochs over which the weight of the KL term rises from 0 to 1."""
    plateau_factor: float = Field(default=0.6, gt=0, lt=1)
    """What the learning rate is multiplied by on a plateau of the validation loss."""
    plateau_patience: int = Field(default=30, ge=0)
    """Epochs without improvement that make a plateau. The default of scvi-tools; early stopping comes first."""
    min_learning_rate: float = Field(default=1e-6, ge=0)
    """The learning rate falls no further."""
    early_stopping_patience: int = Field(default=5, ge=1)
    """Epochs without improvement of the validation loss after which training stops."""
    early_stopping_min_delta: float = Field(default=0.01, ge=0)
    """The least decrease of the validation loss that is an improvement, nats per cell."""
    min_shared_genes: float = Field(default=0.5, ge=0, le=1)
    """Fraction of a checkpoint's genes that the task must have; the others count as zero."""

    def create(self, task: Task, level: float, runtime: Runtime) -> ScviModel:  # noqa: ARG002 - the same for all
        """The model, not trained yet; imports torch and scvi-tools."""
        from nsl_assets.models.scvi.model import ScviModel

        return ScviModel(self, runtime)

    def architecture(self) -> dict[str, Any]:
        """Arguments of `scvi.model.SCVI`."""
        return {
            "n_hidden": self.n_hidden,
            "n_latent": self.n_latent,
            "n_layers": self.n_layers,
            "dropout_rate": self.dropout_rate,
            "dispersion": "gene",
            "gene_likelihood": "zinb",
        }

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:
        """A tenth of the counts nonzero; measured on one 2.5 GHz core, 500 to 20,000 genes.

        Memory: 700 MiB for the process with scvi-tools; 4 bytes a parameter for weights and best weights, and for
        three fifths of them (the others have no part in the loss) gradient and two moments; three dense matrices of
        a batch; 20 bytes a nonzero count. Time: 10 s to import and begin; an epoch takes, for each cell and gene,
        25 ns and 0.18 ns a hidden unit, and each step 6 ns a gene and hidden unit; at most 70 epochs are reckoned
        with. On a GPU: 600 MiB for its context, the parameters likewise without the best, twelve matrices.
        """
        n_parameters = self._n_parameters(n_genes)
        matrix = 4 * self.batch_size * n_genes
        moments = 0.6 * 3 * 4 * n_parameters
        counts = 20 * 0.1 * n_train_cells * n_genes
        epochs = 0 if self.is_frozen else min(self._most_epochs(n_train_cells), _TYPICAL_EPOCHS)
        epoch_s = n_train_cells * n_genes * (25e-9 + 0.18e-9 * self.n_hidden)
        epoch_s += n_train_cells / self.batch_size * 6e-9 * n_genes * self.n_hidden
        return Cost(
            memory_mib=700 + (8 * n_parameters + moments + 3 * matrix + counts) / _MIB,
            seconds=10 + epochs * epoch_s,
            disk_mib=4 * n_parameters / _MIB,
            device_memory_mib=600 + (4 * n_parameters + moments + 12 * matrix) / _MIB,
        )

    def _most_epochs(self, n_train_cells: int) -> int:
        return self.max_epochs or epochs_of_budget(n_train_cells)

    def _n_parameters(self, n_genes: int) -> int:
        """Five layers between genes and hidden units, of which two are not trained, and the small ones."""
        return n_genes * (5 * self.n_hidden + 4) + self.n_hidden * (2 * (self.n_layers - 1) * self.n_hidden + 64)
