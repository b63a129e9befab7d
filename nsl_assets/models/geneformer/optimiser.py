"""AdamW with the schedule of the paper, on one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.settings import Geneformer


class Optimiser(Protocol):
    """What the training loop asks of one device, or of one rank of several."""

    rank: int
    n_ranks: int

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a part of the global batch's loss."""
        ...

    def step(self, learning_rate: float) -> None:
        """Update the weights by the gradients of all ranks, and forget them."""
        ...

    def total(self, *values: float) -> tuple[float, ...]:
        """Each value summed over ranks."""
        ...


def learning_rate_at(step: int, settings: Geneformer, planned_steps: int) -> float:
    """Linear from 0 over the warm-up, then linear to 0 at the last planned step; the first step is 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    left = (planned_steps - step) / max(1, planned_steps - settings.warmup_steps)
    return settings.learning_rate * max(0.0, left)


def adamw(network: torch.nn.Module, settings: Geneformer, **options: Any) -> torch.optim.AdamW:
    """AdamW; biases and layer normalisation do not decay, as in the Hugging Face Trainer."""
    decays: list[torch.nn.Parameter] = []
    stays: list[torch.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (stays if name.endswith("bias") or "LayerNorm" in name else decays).append(parameter)
    groups = [{"params": decays, "weight_decay": settings.weight_decay}, {"params": stays, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, **options)


class OneDevice:
    """The whole batch on one device."""

    rank = 0
    n_ranks = 1

    def __init__(self, network: torch.nn.Module, settings: Geneformer) -> None:
        self._adamw = adamw(network, settings, fused=True)
        self._parameters = list(network.parameters())
        self._max_norm = settings.max_gradient_norm

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a part of the batch's loss."""
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self, learning_rate: float) -> None:
        """Clip the gradient, update the weights, and forget the gradient."""
        torch.nn.utils.clip_grad_norm_(self._parameters, self._max_norm)
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        self._adamw.zero_grad()

    def total(self, *values: float) -> tuple[float, ...]:
        """The values themselves."""
        return values
