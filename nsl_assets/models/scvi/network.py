"""One pass of scVI's network over a batch: the modules of scvi-tools, with a sparse first layer and the quick loss.

Nothing is computed that the objective does not need: scVI also carries an encoder of the library size and a decoder
of dispersions by cell, which stay at their initial weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from nsl_assets.models.scvi.counts import Batch, ByGene
from nsl_assets.models.scvi.loss import reconstruction_loss

Vae: TypeAlias = Any
"""A `scvi.module.VAE`; scvi-tools is not typed."""
Encoder: TypeAlias = Any
"""A `scvi.nn.Encoder`."""


class Posterior(NamedTuple):
    """Mean and variance of the latent state, each (n_cells, n_latent)."""

    mean: Tensor
    variance: Tensor


class Elbo(NamedTuple):
    """Negative evidence lower bound in its two parts, nats per cell, means over cells; scalars."""

    reconstruction: Tensor
    kl: Tensor


def encode(encoder: Encoder, batch: Batch) -> Posterior:
    """What `scvi.nn.Encoder` makes of log(1 + counts)."""
    hidden = _hidden(encoder, batch)
    variance = encoder.var_activation(encoder.var_encoder(hidden)) + encoder.var_eps
    return Posterior(encoder.mean_encoder(hidden).to(batch.counts.dtype), variance.to(batch.counts.dtype))


def posterior_mean(encoder: Encoder, batch: Batch) -> Tensor:
    """The embedding, (n_cells, n_latent)."""
    mean: Tensor = encoder.mean_encoder(_hidden(encoder, batch))
    return mean.to(batch.counts.dtype)


def negative_elbo(module: Vae, batch: Batch, noise: Tensor) -> Elbo:
    """The loss of `scvi.module.VAE` with observed library sizes.

    Args:
        module: a VAE with one batch, gene dispersion and ZINB likelihood.
        batch: counts; no cell may be empty.
        noise: standard normal draws, (n_cells, n_latent).
    """
    mean, variance = encode(module.z_encoder, batch)
    hidden = module.decoder.px_decoder(mean + variance.sqrt() * noise, None)
    kl = 0.5 * (variance + mean.square() - 1 - variance.log()).sum(dim=1).mean()
    return Elbo(reconstruction_loss(hidden, module.decoder, module.px_r, batch), kl)


def first_layer(encoder: Encoder) -> torch.nn.Linear:
    """The layer that takes the genes."""
    layer: torch.nn.Linear = encoder.encoder.fc_layers[0][0]
    return layer


def store_by_gene(encoder: Encoder) -> None:
    """Lay the weights of each gene out together, as sparse products read them; values and shape stay."""
    weight = first_layer(encoder).weight
    weight.data = weight.data.t().contiguous().t()


def store_by_unit(encoder: Encoder) -> None:
    """The usual layout again."""
    weight = first_layer(encoder).weight
    weight.data = weight.data.contiguous()


def _hidden(encoder: Encoder, batch: Batch) -> Tensor:
    layers = [layer for group in encoder.encoder.fc_layers for layer in group if layer is not None]
    hidden = _product(batch, layers[0])
    for layer in layers[1:]:
        hidden = layer(hidden)
    return hidden


def _product(batch: Batch, layer: torch.nn.Linear) -> Tensor:
    if batch.by_gene is None:
        product: Tensor = layer(batch.log_expression())
        return product
    sparse: Tensor = _SparseProduct.apply(layer.weight, batch, batch.by_gene)  # type: ignore[no-untyped-call]
    return sparse + layer.bias


class _SparseProduct(torch.autograd.Function):
    """log(1 + counts) · weightᵀ, (n_cells, n_hidden), on a CPU. The counts have no gradient."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, batch: Batch, by_gene: ByGene) -> Tensor:
        ctx.by_gene = by_gene
        return _weighted_sums(weight.t(), batch.genes, batch.offsets[:-1], batch.counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        entries: ByGene = ctx.by_gene
        return _weighted_sums(gradient, entries.cells, entries.offsets, entries.counts).t(), None, None


def _weighted_sums(rows: Tensor, places: Tensor, offsets: Tensor, counts: Tensor) -> Tensor:
    """Sums of rows, weighted by log(1 + count), one for each offset."""
    return torch.nn.functional.embedding_bag(
        places, rows.contiguous(), offsets, mode="sum", per_sample_weights=torch.log1p(counts)
    )
