"""AdamW over several ranks: DeepSpeed ZeRO stage 1, each rank keeps its part of the optimiser's state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import deepspeed
import torch
import torch.distributed

from nsl_assets.models.geneformer.optimiser import adamw

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.protocol import Runtime

_BUILT_AT_START = "deepspeed_shm_comm"


def join_ranks(runtime: Runtime) -> None:
    """Meet the other ranks: gloo on CPUs, nccl on GPUs. Nothing is compiled."""
    deepspeed.ops.__compatible_ops__[_BUILT_AT_START] = False  # else compiled with a C++ compiler: minutes
    deepspeed.init_distributed("gloo" if runtime.device == "cpu" else "nccl", verbose=False)


class ZeroRank:
    """One rank's part of the optimiser."""

    def __init__(self, network: torch.nn.Module, settings: Geneformer) -> None:
        self.rank = torch.distributed.get_rank()
        self.n_ranks = torch.distributed.get_world_size()
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_clipping": settings.max_gradient_norm,
            "zero_optimization": {"stage": 1},
        }
        optimiser = adamw(network, settings)
        self._engine: Any = deepspeed.initialize(model=network, optimizer=optimiser, config=config)[0]
        self._device = next(network.parameters()).device

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of this rank's part of the loss; DeepSpeed takes the mean over ranks, hence the factor."""
        self._engine.backward(loss * self.n_ranks)

    def step(self, learning_rate: float) -> None:
        """Sum gradients over ranks, clip, update and exchange the weights."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()

    def total(self, *values: float) -> tuple[float, ...]:
        """Each value summed over ranks."""
        summed = torch.tensor(values, dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(summed)
        return tuple(summed.tolist())
