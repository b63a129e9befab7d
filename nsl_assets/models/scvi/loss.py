"""The zero-inflated negative binomial loss of scVI with written-down gradients.

The loss of a cell is that of `scvi.distributions.ZeroInflatedNegativeBinomial` to rounding, but nothing is computed
twice: every entry is first treated as a zero, for which the gamma functions drop out, in passes over a few cells that
stay in the cache; the few counts above zero are then put right. Gradients come with the loss and replace the logits
in memory.

Notation (n cells, G genes): s scale logits, d dropout logits, ℓ library size, θ = exp(px_r), μ = ℓ softmax(s),
t = θ log((θ+ε)/(θ+μ+ε)), the log probability of a zero count without inflation.
    a zero    costs -log D,                D = sigmoid(d) + sigmoid(-d) exp(t);     w = sigmoid(-d) exp(t) / D
    a count x costs -log sigmoid(-d) - t - x log((μ+ε)/(θ+μ+ε)) - log Γ(x+θ) + log Γ(θ) + log x!;   w = 1
With k = θμ/(θ+μ+ε) the gradients are, up to terms in x: w k for log μ, w + sigmoid(d) - 1 for d, and
-(w t + w k θ/(θ+ε)) for log θ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from nsl_assets.models.scvi.counts import Batch

EPSILON: Final = 1e-8
"""The ε of scvi-tools."""
_BLOCK_ENTRIES: Final = 160_000  # dense entries worked on at a time on a CPU: ten such buffers stay in the cache
_TABLE_COUNTS: Final = 16  # rising factorials up to this count come from a table a gene; 99 % of counts do


class _Decoder(NamedTuple):
    """The last layers of the decoder; weights (G, n_hidden), biases and log_theta (G,)."""

    scale_weight: Tensor
    scale_bias: Tensor
    dropout_weight: Tensor
    dropout_bias: Tensor
    log_theta: Tensor


def reconstruction_loss(hidden: Tensor, decoder: Any, log_theta: Tensor, batch: Batch) -> Tensor:
    """Mean over cells of the negative log likelihood of their counts, in nats; scalar, differentiable.

    Args:
        hidden: last hidden layer of the decoder, (n_cells, n_hidden).
        decoder: `scvi.nn.DecoderSCVI` with softmax scale.
        log_theta: px_r, (n_genes,).
        batch: the counts; no cell may be empty.
    """
    scale, dropout = decoder.px_scale_decoder[0], decoder.px_dropout_decoder
    layers = _Decoder(scale.weight, scale.bias, dropout.weight, dropout.bias, log_theta)
    loss: Tensor = _Reconstruction.apply(  # type: ignore[no-untyped-call]
        hidden, *layers, batch, torch.is_grad_enabled()
    )
    return loss


class _Reconstruction(torch.autograd.Function):
    """The last layers and the loss as one node: logits exist once, and their gradients in their place."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes tensors by position
        ctx: Any,
        hidden: Tensor,
        scale_weight: Tensor,
        scale_bias: Tensor,
        dropout_weight: Tensor,
        dropout_bias: Tensor,
        log_theta: Tensor,
        batch: Batch,
        has_gradients: bool,
    ) -> Tensor:
        scale = torch.nn.functional.linear(hidden, scale_weight, scale_bias)
        dropout = torch.nn.functional.linear(hidden, dropout_weight, dropout_bias)
        loss, log_theta_gradient = zinb_in_place(scale, dropout, log_theta, batch)
        if has_gradients:
            ctx.save_for_backward(hidden, scale_weight, dropout_weight, scale, dropout, log_theta_gradient)
        return loss / batch.n_cells

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, scale_weight, dropout_weight, scale, dropout, log_theta_gradient = ctx.saved_tensors
        factor = gradient / len(hidden)
        scaled = (hidden * factor).to(scale.dtype)
        ones = torch.ones(len(hidden), dtype=scale.dtype, device=scale.device) * factor.to(scale.dtype)
        to_hidden = torch.mm(scale, scale_weight.to(scale.dtype))
        to_hidden.addmm_(dropout, dropout_weight.to(dropout.dtype))
        return (
            to_hidden.to(hidden.dtype) * factor,
            (scale.t() @ scaled).to(scale_weight.dtype),
            (ones @ scale).to(scale_weight.dtype),
            (dropout.t() @ scaled).to(dropout_weight.dtype),
            (ones @ dropout).to(dropout_weight.dtype),
            log_theta_gradient * factor,
            None,
            None,
        )


def zinb_in_place(scale: Tensor, dropout: Tensor, log_theta: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Loss summed over cells, and its gradient for log θ, (G,). Both logits, (n, G), become their own gradients."""
    theta = log_theta.exp()
    n_rows, n_genes = scale.shape
    step = n_rows if scale.is_cuda else max(1, _BLOCK_ENTRIES // n_genes)
    loss = theta.new_zeros(())
    for_theta, for_mean = torch.zeros_like(theta), torch.zeros_like(theta)
    counted = _terms_of_counts(theta, batch)
    offsets = batch.offsets.tolist()
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        entries = slice(offsets[start], offsets[stop])
        loss += _block(
            scale[start:stop],
            dropout[start:stop],
            theta,
            batch.library[start:stop, None],
            counted.of(entries, start * n_genes),
            for_theta=for_theta,
            for_mean=for_mean,
        )
    log_theta_gradient = -(for_theta + for_mean * theta / (theta + EPSILON))
    log_theta_gradient.index_add_(0, batch.genes, counted.through_theta)
    return loss - counted.log_factor.sum(), log_theta_gradient


class _Counted(NamedTuple):
    """What concerns the entries above zero, (n_nonzero,), in the order of the batch.

    place: position in the flattened (n, G) matrix. log_factor: log Γ(x+θ) - log Γ(θ) - log x!. through_theta:
    gradient for log θ of what lies outside the zero formula; begun here, completed block by block.
    """

    place: Tensor
    genes: Tensor
    counts: Tensor
    log_factor: Tensor
    through_theta: Tensor

    def of(self, entries: slice, first_place: int) -> _Counted:
        part = _Counted(*(values[entries] for values in self))
        return part._replace(place=part.place - first_place)


def _terms_of_counts(theta: Tensor, batch: Batch) -> _Counted:
    log_rising, slope = rising_factorial(theta, batch.genes, batch.counts)
    return _Counted(
        place=batch.places(),
        genes=batch.genes,
        counts=batch.counts,
        log_factor=log_rising - torch.lgamma(batch.counts + 1),
        through_theta=slope.mul_(theta[batch.genes]).neg_(),
    )


def _block(
    scale: Tensor,
    dropout: Tensor,
    theta: Tensor,
    library: Tensor,
    counted: _Counted,
    *,
    for_theta: Tensor,
    for_mean: Tensor,
) -> Tensor:
    """Loss of a few cells without the factors that do not depend on μ. Adds Σ w t and Σ w k of each gene."""
    dtype = theta.dtype
    logits = scale.to(dtype)
    mean = torch.sub(logits, logits.amax(dim=1, keepdim=True)).exp_()
    mean.mul_(library / mean.sum(dim=1, keepdim=True))
    relative = mean * (1 / (theta + EPSILON))
    log_zero = torch.log1p(relative).mul_(-theta)  # t
    of_mean = relative.div_(relative + 1).mul_(theta)  # k
    inflated = torch.sigmoid(dropout.to(dtype))
    weight = log_zero.exp()
    weight.addcmul_(weight, inflated, value=-1)
    chance = inflated + weight  # D
    weight.div_(chance.clamp_min_(torch.finfo(dtype).tiny))

    chance.view(-1).index_copy_(0, counted.place, torch.sigmoid(-dropout.reshape(-1)[counted.place].to(dtype)))
    weight.view(-1).index_fill_(0, counted.place, 1.0)
    loss, to_mean = _counts_of_block(mean, log_zero, theta, counted)
    loss = loss - chance.log_().sum()

    dropout.copy_(inflated.add_(weight).sub_(1))
    of_mean.mul_(weight)
    for_theta += log_zero.mul_(weight).sum(dim=0)
    for_mean += of_mean.sum(dim=0)
    of_mean.view(-1).index_add_(0, counted.place, to_mean)
    scale.copy_(of_mean.addcmul_(mean, of_mean.sum(dim=1, keepdim=True) / library, value=-1))
    return loss


def _counts_of_block(mean: Tensor, log_zero: Tensor, theta: Tensor, counted: _Counted) -> tuple[Tensor, Tensor]:
    """-Σ [t + x log((μ+ε)/(θ+μ+ε))] of the counts above zero, and the gradient of its last term for log μ.

    Its gradient for log θ is added to `counted.through_theta`.
    """
    mu, x = mean.view(-1)[counted.place], counted.counts
    theta_of_entry = theta[counted.genes]
    total = mu + theta_of_entry + EPSILON
    loss = -(log_zero.view(-1)[counted.place] + x * torch.log((mu + EPSILON) / total)).sum()
    per_total = x / total
    counted.through_theta.addcmul_(per_total, theta_of_entry)
    return loss, mu * (per_total - x / (mu + EPSILON))


def rising_factorial(theta: Tensor, genes: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """log Γ(x+θ) - log Γ(θ) and its derivative for θ, both (n_nonzero,), for whole counts x > 0.

    As Σ log(θ+i) and Σ 1/(θ+i) over i < x from a table where x is small, which is quicker and more exact.
    """
    steps = theta + torch.arange(_TABLE_COUNTS, dtype=theta.dtype, device=theta.device)[:, None]
    place = (counts.clamp_max(_TABLE_COUNTS).long() - 1) * theta.numel() + genes
    value = steps.log().cumsum(dim=0).view(-1)[place]
    slope = steps.reciprocal().cumsum(dim=0).view(-1)[place]
    large = torch.nonzero(counts > _TABLE_COUNTS).squeeze(1)
    if large.numel():
        x, t = counts[large], theta[genes[large]]
        value[large] = torch.lgamma(x + t) - torch.lgamma(t)
        slope[large] = torch.digamma(x + t) - torch.digamma(t)
    return value, slope
