"""Settings of Geneformer, cheap to import: neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from nsl_assets.models.neural import NeuralKind, epochs_of_budget
from nsl_assets.models.protocol import Cost

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.model import GeneformerModel
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import Task

TOKENS_AT_ONCE: Final = {"cpu": 8192, "cuda": 65_536}
"""Padded tokens of one forward pass in training: bounds the memory of activations and logits."""
_TYPICAL_STEPS: Final = 20_000
_N_SPECIAL: Final = 2  # <pad> and <mask>
_MIB: Final = 2**20


class Geneformer(NeuralKind):
    """A BERT on genes ranked by expression (Theodoris et al. 2023), of the paper's size (supplement, Table 1).

    Untrained baseline: random weights of the seed, and ranks by counts alone, since no cell was seen.

    Budget "quick": 500 steps of 16 cells of 256 tokens on a network of a seventh of the operations a token (two
    layers, half as wide); more tokens are hidden, and nothing is dropped, so that as much as possible is learned from
    a step. A wide network that sees shorter cells keeps less information at the same cost, see docs/decisions. Panels
    of some hundred genes need fewer steps: set max_steps.
    """

    CODE_VERSION: ClassVar[str] = "1"
    FROZEN_IDENTITY: ClassVar[tuple[str, ...]] = (*NeuralKind.FROZEN_IDENTITY, "max_length")
    STACK: ClassVar[tuple[str, ...]] = ("transformers", "transformers.models.bert.modeling_bert", "safetensors.torch")
    BUDGETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "quick": {
            "n_layers": 2,
            "hidden_size": 128,
            "intermediate_size": 256,
            "hidden_dropout": 0.0,
            "attention_dropout": 0.0,
            "max_length": 256,
            "mask_fraction": 0.3,
            "learning_rate": 2e-3,
            "batch_size": 16,
            "max_steps": 500,
            "warmup_steps": 50,
            "evaluate_every_steps": 50,
            "max_evaluation_cells": 100,
        },
    }

    kind: Literal["geneformer"] = "geneformer"
    """Name of this kind of model."""
    n_layers: int = Field(default=3, ge=1)
    """Transformer layers."""
    hidden_size: int = Field(default=256, ge=1)
    """Dimensions of a token's hidden state, and of the embedding."""
    n_heads: int = Field(default=4, ge=1)
    """Attention heads."""
    intermediate_size: int = Field(default=512, ge=1)
    """Units between the two matrices of a layer's feed-forward part."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation of the feed-forward part and of the language model's head."""
    hidden_dropout: float = Field(default=0.02, ge=0, lt=1)
    """Probability that a hidden unit is dropped in training."""
    attention_dropout: float = Field(default=0.02, ge=0, lt=1)
    """Probability that an attention weight is dropped in training."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of the initial weights."""
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    """Added to the variance in layer normalisation."""
    max_length: int = Field(default=512, ge=1)
    """Genes of a cell that become tokens, from the highest rank down."""
    mask_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Part of the tokens that are to be predicted: of these 80 % are hidden, 10 % replaced, 10 % left as they are."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's rate after the warm-up; it then falls linearly to 0 at the last planned step."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """AdamW's weight decay, of all weights but biases and layer normalisation."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are scaled to this length (default of the Hugging Face Trainer)."""
    warmup_steps: int = Field(default=5_000, ge=0)
    """Steps over which the learning rate rises linearly from 0."""
    batch_size: int = Field(default=64, ge=1)
    """Cells of one optimiser step, over all devices together: results do not depend on the number of devices."""
    evaluation_batch_size: int = Field(default=100, ge=1)
    """Cells evaluated or embedded at once."""
    evaluate_every_steps: int = Field(default=1_000, ge=1)
    """Steps between evaluations of the validation loss."""
    max_evaluation_cells: int | None = Field(default=None, ge=1)
    """Validation cells that are evaluated; None: all."""
    patience: int = Field(default=5, ge=1)
    """Evaluations without improvement after which training stops; the best weights are kept."""
    epochs_factor: float = Field(default=10.0, gt=0)
    """Passes over n training cells: max(1, ⌊epochs_factor · 10⁷ / n⌋)."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps at most; None: as many as the epochs have."""
    min_shared_genes: float = Field(default=0.5, ge=0, le=1)
    """Part of the task's genes that a checkpoint must know, by name."""
    n_devices: int = Field(default=1, ge=1)
    """Devices that train one model together (DeepSpeed ZeRO); it changes the speed alone."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.n_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, which {self.n_heads} heads do not divide: choose a multiple"
            )
        return self

    def planned_steps(self, n_cells: int) -> int:
        """Optimiser steps at most, for n training cells with tokens."""
        steps_of_epoch = -(-n_cells // self.batch_size)
        steps = steps_of_epoch * epochs_of_budget(n_cells, self.epochs_factor)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def create(self, task: Task, level: float, runtime: Runtime) -> GeneformerModel:  # noqa: ARG002 - the same for all
        """The model, not trained yet. Imports torch and transformers."""
        from nsl_assets.models.geneformer.model import GeneformerModel

        return GeneformerModel(self, runtime)

    def depends_on_size(self) -> bool:
        """False for a frozen checkpoint that brings its own gene medians; without, those of the training cells rank."""
        has_medians = self.checkpoint is not None and (Path(self.checkpoint) / "gene_medians.json").is_file()
        return not (self.is_frozen and has_medians)

    def devices_wanted(self) -> int:
        """Devices that train one model together."""
        return self.n_devices

    def cost(self, n_train_cells: int, n_genes: int) -> Cost:
        """Every cell has as many tokens as it can; measured on one 2.5 GHz core with AVX2, 500 to 20,000 genes.

        Memory: 650 MiB for the process with transformers, 20 bytes a parameter (weights, gradient, two moments, the
        best weights), 60 numbers of hidden size a layer for each token computed at once and the logits of those
        hidden, two tables of 256 counts a gene, a block of 4,096 cells at 24 bytes a nonzero count (a tenth of all).
        Time: 8 s to import and begin, four passes over the counts, and 55 billion operations a second, of which a
        parameter takes two for each token that it sees, in training six; at most 20,000 steps are reckoned with,
        after which early stopping has ended most fits; and as many probe cells embedded as were trained on. On a
        GPU: 600 MiB for its context, and the same with up to eight times as many tokens at once. Peak memory at 4,000
        genes, predicted and measured: 1,046 and 965 MiB in "quick", 2,284 and 1,985 as published.
        """
        n_parameters = self._n_parameters(n_genes)
        tokens_per_cell = min(self.max_length, n_genes)
        steps = 0 if self.is_frozen else min(self.planned_steps(n_train_cells), _TYPICAL_STEPS)
        batch = min(self.batch_size, n_train_cells) * tokens_per_cell
        tokens_seen = steps * batch
        layers = self.n_layers * (4 * self.hidden_size + 2 * self.intermediate_size + 2 * tokens_per_cell)
        of_token = self.hidden_size * (layers + self.mask_fraction * n_genes)
        operations = 6 * of_token * tokens_seen + 2 * of_token * n_train_cells * tokens_per_cell
        of_tokens_mib = 4 * (60 * self.n_layers * self.hidden_size + 3 * self.mask_fraction * n_genes) / _MIB
        counts = 0.1 * n_genes * (24 * min(n_train_cells, 4096)) + 3 * 8 * 2 * 256 * n_genes
        # The launcher and, for each device, a process with DeepSpeed (measured: 5,700 MiB in all for two on the CPU).
        ranks_mib = 800 + 1_950 * self.n_devices if self.n_devices > 1 else 0
        fixed_mib = ranks_mib + (20 * n_parameters + counts) / _MIB
        return Cost(
            memory_mib=650 + fixed_mib + min(TOKENS_AT_ONCE["cpu"], batch) * of_tokens_mib,
            seconds=8 + 200e-9 * 0.1 * n_train_cells * n_genes + operations / 55e9,
            disk_mib=4 * n_parameters / _MIB + 50 * n_genes / _MIB,
            device_memory_mib=600 + 20 * n_parameters / _MIB + min(TOKENS_AT_ONCE["cuda"], batch) * of_tokens_mib,
        )

    def _n_parameters(self, n_genes: int) -> int:
        """Token and place embeddings, layers, and the head, whose weights are those of the tokens."""
        hidden, inner = self.hidden_size, self.intermediate_size
        layer = 4 * hidden * (hidden + 1) + hidden * (2 * inner + 1) + inner + 4 * hidden
        embeddings = hidden * (n_genes + _N_SPECIAL + self.max_length + 2) + 2 * hidden
        return embeddings + self.n_layers * layer + hidden * (hidden + 3) + n_genes + _N_SPECIAL
