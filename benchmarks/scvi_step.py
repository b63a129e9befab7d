"""Benchmark d1: a training step of scVI at 20,000 genes and 512 cells, against `scvi.model.SCVI.train`.

Counts are negative binomial, 2,500 UMIs a cell. The peer is `SCVI.train` as it is, its loader and Lightning included:
the time of a fit of three epochs less that of one, a step. Ours is `Trainer` on the same cells, measured likewise; its
validation (of one cell) and its copy of the best weights after each epoch count as its own. Both have the same network
and optimiser, alternate, and use one thread; CPU seconds. Agreement: relative difference of loss and gradient on one
batch, in float32.
"""

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from scipy.sparse import csr_array, csr_matrix
from scvi.model import SCVI

from nsl_assets.models import Runtime, Scvi
from nsl_assets.models.scvi.counts import batch_of
from nsl_assets.models.scvi.network import negative_elbo
from nsl_assets.models.scvi.training import Trainer

N_GENES, BATCH, N_HIDDEN, N_LATENT = 20_000, 512, 512, 16
FEW_EPOCHS, MANY_EPOCHS, BATCHES = 1, 3, 2
N_ROUNDS = 2
GATE_RATIO, GATE_ERROR = 1.7, 1e-5


def counts() -> csr_array:
    rng = np.random.default_rng(0)
    mean = rng.lognormal(-1.0, 1.5, N_GENES)
    mean *= 2500 / mean.sum()
    rows = [rng.poisson(rng.gamma(1.0, 1.0, N_GENES) * mean) for _ in range(BATCH * BATCHES)]
    return csr_array(np.stack(rows).astype(np.float32))


def new_model(cells: csr_array) -> Any:
    annotated = AnnData(csr_matrix(cells))
    SCVI.setup_anndata(annotated)
    return SCVI(annotated, n_hidden=N_HIDDEN, n_latent=N_LATENT)


def peer(cells: csr_array, n_epochs: int) -> None:
    new_model(cells).train(
        max_epochs=n_epochs,
        accelerator="cpu",
        train_size=1.0,
        batch_size=BATCH,
        plan_kwargs={"lr": 1e-3, "eps": 0.01, "weight_decay": 1e-6, "n_epochs_kl_warmup": 1},
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )


def ours(cells: csr_array, n_epochs: int) -> None:
    settings = Scvi(max_epochs=n_epochs, n_hidden=N_HIDDEN, n_latent=N_LATENT, batch_size=BATCH)
    Trainer(new_model(cells).module, cells, cells[:1], settings, runtime=Runtime(), seed=0).run()


def step_s(train: Callable[[csr_array, int], None], cells: csr_array) -> float:
    few, many = (timed(lambda n=n: train(cells, n)) for n in (FEW_EPOCHS, MANY_EPOCHS))  # type: ignore[misc]
    return (many - few) / ((MANY_EPOCHS - FEW_EPOCHS) * BATCHES)


def timed(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def disagreement(cells: csr_array) -> tuple[float, float]:
    """Relative difference of the loss, and of the gradients by their norms, on one batch in evaluation mode."""
    module, dense = new_model(cells).module.eval(), torch.from_numpy(cells[:BATCH].toarray())
    noise, cell = torch.randn(BATCH, N_LATENT), torch.zeros(BATCH, 1)
    posterior, _ = module.z_encoder(torch.log1p(dense), cell)
    inference = {"z": posterior.loc + posterior.scale * noise, "qz": posterior, "ql": None}
    inference["library"] = torch.log(dense.sum(1))[:, None]
    expected = module.loss({"X": dense}, inference, module.generative(inference["z"], inference["library"], cell)).loss
    expected_gradient = gradient(module, expected)
    found = sum(negative_elbo(module, batch_of(cells[:BATCH]), noise))
    assert isinstance(found, torch.Tensor)
    difference = (gradient(module, found) - expected_gradient).norm() / expected_gradient.norm()
    return abs(float(found.detach() / expected.detach()) - 1), float(difference)


def gradient(module: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    module.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def main() -> int:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cells = counts()
    loss_error, gradient_error = disagreement(cells)
    pairs = [(step_s(peer, cells), step_s(ours, cells)) for _ in range(N_ROUNDS)]
    peer_s, ours_s = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    print(f"d1 scVI step: ratio {peer_s / ours_s:.2f} (peer {peer_s:.2f} s, ours {ours_s:.2f} s)")
    print(f"  relative difference: loss {loss_error:.1e}, gradient {gradient_error:.1e}", file=sys.stderr)
    return 0 if peer_s / ours_s >= GATE_RATIO and max(loss_error, gradient_error) <= GATE_ERROR else 1


if __name__ == "__main__":
    sys.exit(main())
