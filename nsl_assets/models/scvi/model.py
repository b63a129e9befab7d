"""scVI as a model of a study: trained by our loop, saved and loaded as scvi-tools does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch

from nsl_assets.errors import InputError, MeasurementError, StorageError
from nsl_assets.models.protocol import FitReport
from nsl_assets.models.scvi.checkpoint import (
    Checkpoint,
    frozen_encoder,
    matched_columns,
    new_scvi,
    read_checkpoint,
    trainable,
)
from nsl_assets.models.scvi.counts import batch_of, filled_up, read_counts, totals
from nsl_assets.models.scvi.network import Encoder, posterior_mean, store_by_gene, store_by_unit
from nsl_assets.models.scvi.training import History, Trainer, mixed_precision
from nsl_assets.models.training import device_name, peak_device_memory_mib, seeded
from nsl_assets.randomness import identity_keys, keyed_order
from nsl_assets.tasks import BLOCK_ROWS

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from scvi.model import SCVI

    from nsl_assets.models.preprocessing import IndexArray
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.models.scvi.settings import Scvi
    from nsl_assets.tasks import CountRows

_EMBED_ROWS: Final = 512
"""Cells embedded at a time; a smaller rest is filled up with empty cells, so that rounding is the same for all."""
_FROZEN: Final = "encoder.safetensors"
_FROZEN_DESCRIPTION: Final = "encoder.json"


class ScviModel:
    """scVI on raw counts.

    Empty cells fit no parameters: the likelihood has no library size for them. All of them have the embedding that
    the encoder gives to a cell of zeros.
    """

    def __init__(self, settings: Scvi, runtime: Runtime) -> None:
        self._settings, self._runtime = settings, runtime
        self._scvi: SCVI | None = None
        self._encoder: Encoder | None = None
        self._gene_names: npt.NDArray[Any] = np.empty(0, dtype=object)
        self._frozen_architecture: dict[str, Any] = {}

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        """Train on the non-empty cells, with early stopping on the non-empty validation cells.

        Raises MeasurementError where fewer than two training cells or no validation cell have a count, or the loss
        is no longer a number; InputError where a checkpoint does not fit the genes.
        """
        start = time.perf_counter()
        with seeded(self._runtime, "scvi", seed):
            self._begin(train.gene_names)
            train_counts, validation_counts = self._nonempty(train, seed), self._nonempty(validation, seed)
            history = History(stop_reason="frozen")
            if self._scvi is not None:
                _check_cells_suffice(train_counts, train, validation_counts, validation)
                history = self._train(self._scvi, train_counts, validation_counts, seed)
        return FitReport(
            n_train_cells=train.n_cells,
            n_nonempty_train_cells=train_counts.shape[0],
            n_validation_cells=validation.n_cells,
            n_parameters=self._n_parameters(),
            seconds=time.perf_counter() - start,
            steps=history.steps,
            epochs=float(history.epochs),
            stop_reason=history.stop_reason,
            device=device_name(self._runtime),
            dtype=self._runtime.precision if self._runtime.device == "cuda" else "float32",
            peak_device_memory_mib=peak_device_memory_mib(self._runtime),
            losses={"train_loss": history.train_losses, "validation_loss": history.validation_losses},
            notes=self._notes(history, train_counts, validation_counts),
        )

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """Random weights of the seed, or those of the checkpoint. No cell is looked at."""
        with seeded(self._runtime, "scvi", seed):
            self._begin(train.gene_names)

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """Posterior means (n_cells, n_latent); the row of a cell does not depend on the others."""
        encoder = self._require_encoder()
        columns = self._columns(cells.gene_names)
        with seeded(self._runtime, "scvi embedding"), torch.no_grad(), mixed_precision(self._runtime):
            if self._runtime.device == "cpu":
                store_by_gene(encoder)
            blocks = [self._embed_block(encoder, self._read(block, columns)) for block in _blocks(cells)]
            store_by_unit(encoder)
        return np.concatenate([np.empty((0, self._n_latent()), np.float32), *blocks])

    def save(self, folder: Path) -> None:
        """Write `model.pt` as scvi-tools does: `scvi.model.SCVI.load(folder, adata)` reads it.

        A frozen checkpoint is kept as its encoder alone, in safetensors.
        """
        encoder = self._require_encoder()
        if self._scvi is not None:
            self._scvi.save(str(folder), overwrite=True)
            return
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, folder / _FROZEN)
        description = {"gene_names": self._gene_names.tolist(), "architecture": self._frozen_architecture}
        (folder / _FROZEN_DESCRIPTION).write_text(json.dumps(description))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, executing nothing. Raises StorageError for anything else."""
        try:
            checkpoint = _read_frozen(folder) if self._settings.is_frozen else read_checkpoint(folder)
            self._use(checkpoint)
        except InputError as error:
            raise StorageError(f"{folder} holds no saved scVI model: {error} Delete it and run again.") from error

    def _begin(self, gene_names: npt.NDArray[Any]) -> None:
        """Random weights, or those of the checkpoint."""
        if self._settings.checkpoint is None:
            self._adopt(new_scvi(gene_names, self._settings.architecture()), gene_names)
        else:
            self._use(read_checkpoint(Path(self._settings.checkpoint)))
            self._columns(gene_names)

    def _use(self, checkpoint: Checkpoint) -> None:
        if self._settings.is_frozen:
            self._scvi, self._gene_names = None, checkpoint.gene_names
            self._frozen_architecture = checkpoint.architecture
            self._encoder = frozen_encoder(checkpoint).to(self._runtime.device)
        else:
            self._adopt(trainable(checkpoint), checkpoint.gene_names)

    def _adopt(self, model: SCVI, gene_names: npt.NDArray[Any]) -> None:
        model.module.to(self._runtime.device).eval()
        self._scvi, self._encoder, self._gene_names = model, model.module.z_encoder, gene_names

    def _train(self, model: SCVI, train: csr_array, validation: csr_array, seed: int) -> History:
        history = Trainer(model.module, train, validation, self._settings, runtime=self._runtime, seed=seed).run()
        model.module.eval()
        model.is_trained_ = True
        return history

    def _nonempty(self, cells: CountRows, seed: int) -> csr_array:
        """Counts of the cells that have some, in an order that follows from their names and the seed alone."""
        order = keyed_order(identity_keys(map(str, cells.cell_names)), "scvi cells", seed)
        ordered = replace(cells, rows=cells.rows[order], cell_names=cells.cell_names[order])
        counts = self._read(ordered, self._columns(cells.gene_names))
        return counts[totals(counts) > 0]

    def _read(self, cells: CountRows, columns: IndexArray | None) -> csr_array:
        return read_counts(cells, columns, self._gene_names.size)

    def _columns(self, gene_names: npt.NDArray[Any]) -> IndexArray | None:
        """Columns of a checkpoint, see `matched_columns`; None where genes must be those of the training."""
        if self._settings.checkpoint is not None:
            return matched_columns(
                gene_names, self._gene_names, self._settings.min_shared_genes, self._settings.checkpoint
            )
        if not np.array_equal(gene_names.astype(str), self._gene_names.astype(str)):
            raise InputError(
                f"The model was made for {self._gene_names.size} genes, among them "
                f"{', '.join(map(str, self._gene_names[:3]))}; the cells to embed have {gene_names.size} genes, other "
                "ones or in another order. Embed cells of the task that the model was trained on."
            )
        return None

    def _embed_block(self, encoder: Encoder, counts: csr_array) -> npt.NDArray[np.float32]:
        parts = [self._embed_part(encoder, counts[i : i + _EMBED_ROWS]) for i in range(0, counts.shape[0], _EMBED_ROWS)]
        embedding = np.concatenate(parts)
        is_empty = totals(counts) == 0
        if is_empty.any():
            embedding[is_empty] = self._embed_part(encoder, counts[:0])[:1]
        return embedding

    def _embed_part(self, encoder: Encoder, counts: csr_array) -> npt.NDArray[np.float32]:
        """Rows of a fixed number, filled up with empty ones; at least one is returned."""
        batch = batch_of(filled_up(counts, _EMBED_ROWS), self._runtime.device, is_sparse=self._runtime.device == "cpu")
        mean: npt.NDArray[np.float32] = posterior_mean(encoder, batch)[: max(counts.shape[0], 1)].cpu().numpy()
        return mean

    def _require_encoder(self) -> Encoder:
        if self._encoder is None:
            raise MeasurementError(
                "The model has no parameters yet. Call fit, initialise or load before embed or save."
            )
        return self._encoder

    def _n_latent(self) -> int:
        return int(self._require_encoder().mean_encoder.out_features)

    def _n_parameters(self) -> int:
        module = self._require_encoder() if self._scvi is None else self._scvi.module
        return sum(parameter.numel() for parameter in module.parameters())

    def _notes(self, history: History, train: csr_array, validation: csr_array) -> dict[str, Any]:
        losses = history.validation_losses
        notes: dict[str, Any] = {
            "loss_unit": "nats per cell",
            "n_nonempty_validation_cells": validation.shape[0],
            "n_genes_seen_in_training": int(np.unique(train.indices).size),
        }
        if losses:
            notes |= {
                "best_epoch": int(np.argmin(losses)) + 1,
                "best_validation_loss": min(losses),
                "last_learning_rate": history.learning_rate,
            }
        if train.shape[0] < self._settings.batch_size:
            notes["batch"] = (
                f"all {train.shape[0]} non-empty training cells make one batch; batch_size is "
                f"{self._settings.batch_size}"
            )
        return notes


def _blocks(cells: CountRows) -> Iterator[CountRows]:
    for start in range(0, cells.n_cells, BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        yield replace(cells, rows=cells.rows[part], cell_names=cells.cell_names[part])


def _check_cells_suffice(
    train: csr_array, all_train: CountRows, validation: csr_array, all_validation: CountRows
) -> None:
    if train.shape[0] < 2:
        raise MeasurementError(
            f"{train.shape[0]} of {all_train.n_cells} training cells have a count at this noise level; scVI needs at "
            "least 2. Raise the lowest noise level, or train on more cells."
        )
    if validation.shape[0] < 1:
        raise MeasurementError(
            f"none of the {all_validation.n_cells} validation cells has a count at this noise level; scVI stops its "
            "training by them. Raise the lowest noise level, or the validation_fraction of the task."
        )


def _read_frozen(folder: Path) -> Checkpoint:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        description = json.loads((folder / _FROZEN_DESCRIPTION).read_text())
        weights = load_file(folder / _FROZEN)
        return Checkpoint(
            folder=folder,
            gene_names=np.array(description["gene_names"], dtype=object),
            architecture=description["architecture"],
            n_covariates=0,
            weights={f"z_encoder.{name}": value for name, value in weights.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"{type(error).__name__}: {error}") from error
