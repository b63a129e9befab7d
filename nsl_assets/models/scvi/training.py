"""The training of scVI: batches, Adam, the KL warm-up, the learning rate on a plateau, early stopping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from nsl_assets.models.neural import epochs_of_budget
from nsl_assets.models.scvi.counts import batch_of, shuffled_batches, slices
from nsl_assets.models.scvi.network import Vae, first_layer, negative_elbo, store_by_gene, store_by_unit
from nsl_assets.models.training import EarlyStopping, Heartbeat, require_finite
from nsl_assets.randomness import generator

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.models.protocol import Runtime
    from nsl_assets.models.scvi.settings import Scvi

_CHECK_EVERY_STEPS: Final = 16  # reading the loss waits for a GPU


@dataclass
class History:
    """What training did. Losses are nats per cell, one value an epoch."""

    steps: int = 0
    train_losses: list[float] = field(default_factory=list)
    """Mean over the cells of the epoch of reconstruction + KL weight · KL, as the weights change."""
    validation_losses: list[float] = field(default_factory=list)
    """Negative evidence lower bound of the validation cells after the epoch: full KL, no dropout, fixed draws."""
    learning_rate: float = 0.0
    """At the end."""
    stop_reason: str = "all epochs"

    @property
    def epochs(self) -> int:
        """Passes over the training cells."""
        return len(self.train_losses)


class Trainer:
    """Trains a VAE of scvi-tools on non-empty cells.

    Args:
        module: the VAE, on the runtime's device.
        train, validation: counts of non-empty cells, (n_cells, n_genes), float32.
        settings: learning rate, stopping and so on.
        runtime: device, threads, precision.
        seed: of the batches and the draws of the validation.
    """

    def __init__(
        self,
        module: Vae,
        train: csr_array,
        validation: csr_array,
        settings: Scvi,
        *,
        runtime: Runtime,
        seed: int,
    ) -> None:
        self._module, self._settings, self._runtime, self._seed = module, settings, runtime, seed
        self._train, self._validation = train, validation
        draws = generator("scvi validation", seed).standard_normal((validation.shape[0], module.n_latent))
        self._validation_noise = torch.from_numpy(draws).float()
        self.max_epochs = settings.max_epochs or epochs_of_budget(train.shape[0])

    def run(self) -> History:
        """Train until the validation loss stops falling, and put the best weights back."""
        history = History()
        with _parameters(self._module, is_sparse=self._runtime.device == "cpu") as parameters:
            optimizer = parameters.adam(self._settings)
            schedule = self._schedule(optimizer)
            stopping = EarlyStopping(
                self._module, self._settings.early_stopping_patience, self._settings.early_stopping_min_delta
            )
            steps_per_epoch = -(-self._train.shape[0] // self._settings.batch_size)
            heartbeat = Heartbeat(self._runtime, self.max_epochs * steps_per_epoch, "step")
            for epoch in range(self.max_epochs):
                history.train_losses.append(self._epoch(epoch, parameters, optimizer, history, heartbeat))
                loss = self._validate(history.steps, _rate(optimizer))
                history.validation_losses.append(loss)
                if stopping.observe(loss):
                    history.stop_reason = "early stopping"
                    break
                schedule.step(loss)
            history.learning_rate = _rate(optimizer)
            stopping.restore_best()
        return history

    def _epoch(
        self,
        epoch: int,
        parameters: _Parameters,
        optimizer: torch.optim.Optimizer,
        history: History,
        heartbeat: Heartbeat,
    ) -> float:
        """One pass over the training cells; the mean loss of a cell."""
        self._module.train()
        kl_weight = min(1.0, epoch / self._settings.kl_warmup_epochs) if self._settings.kl_warmup_epochs else 1.0
        n_cells, total = self._train.shape[0], torch.zeros((), device=self._runtime.device)
        for rows in shuffled_batches(n_cells, self._settings.batch_size, self._seed, epoch):
            loss = self._step(self._train[rows], kl_weight, parameters, optimizer)
            total += loss * rows.size
            history.steps += 1
            if history.steps % _CHECK_EVERY_STEPS == 0:
                require_finite(float(loss), "training loss", history.steps, _rate(optimizer))
                heartbeat.at(history.steps, float(loss))
        mean = float(total) / n_cells
        require_finite(mean, "training loss", history.steps, _rate(optimizer))
        return mean

    def _step(
        self, counts: csr_array, kl_weight: float, parameters: _Parameters, optimizer: torch.optim.Optimizer
    ) -> Tensor:
        batch = batch_of(counts, self._runtime.device)
        noise = torch.randn(batch.n_cells, self._module.n_latent, device=self._runtime.device)
        with mixed_precision(self._runtime):
            elbo = negative_elbo(self._module, batch, noise)
        loss = elbo.reconstruction + kl_weight * elbo.kl
        self._module.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters.hand_over_gradients()
        optimizer.step()
        return loss.detach()

    def _validate(self, step: int, learning_rate: float) -> float:
        """Mean negative evidence lower bound of the validation cells, nats per cell."""
        self._module.eval()
        n_cells, total = self._validation.shape[0], 0.0
        with torch.no_grad(), mixed_precision(self._runtime):
            for part in slices(n_cells, self._settings.batch_size):
                batch = batch_of(self._validation[part], self._runtime.device)
                elbo = negative_elbo(self._module, batch, self._validation_noise[part].to(self._runtime.device))
                total += float(elbo.reconstruction + elbo.kl) * batch.n_cells
        require_finite(total, "validation loss", step, learning_rate)
        return total / n_cells

    def _schedule(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        """The plateau schedule of `scvi.train.TrainingPlan`."""
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            factor=self._settings.plateau_factor,
            patience=self._settings.plateau_patience,
            threshold=0.0,
            threshold_mode="abs",
            min_lr=self._settings.min_learning_rate,
        )


class _Parameters:
    """What Adam sees: the parameters, the first weight as a view whose genes lie together.

    The sparse product wants that layout, and the fused Adam is quick on contiguous parameters only.
    """

    def __init__(self, module: Vae, *, is_sparse: bool) -> None:
        self._weight = first_layer(module.z_encoder).weight
        self._by_gene = torch.nn.Parameter(self._weight.data.t()) if is_sparse else None
        self._all = [
            self._by_gene if self._by_gene is not None and parameter is self._weight else parameter
            for parameter in module.parameters()
        ]

    def adam(self, settings: Scvi) -> torch.optim.Adam:
        return torch.optim.Adam(
            self._all,
            lr=settings.learning_rate,
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def hand_over_gradients(self) -> None:
        """Give the gradient of the first weight to its view."""
        if self._by_gene is not None and self._weight.grad is not None:
            self._by_gene.grad = self._weight.grad.t().contiguous()


@contextmanager
def _parameters(module: Vae, *, is_sparse: bool) -> Iterator[_Parameters]:
    if is_sparse:
        store_by_gene(module.z_encoder)
    yield _Parameters(module, is_sparse=is_sparse)
    store_by_unit(module.z_encoder)


def mixed_precision(runtime: Runtime) -> torch.autocast:
    """Matrix products in bfloat16 where a GPU is to compute so; float32 always on the CPU."""
    is_mixed = runtime.device == "cuda" and runtime.precision == "bfloat16"
    return torch.autocast(runtime.device, dtype=torch.bfloat16, enabled=is_mixed)


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])
