"""The network, a `transformers.BertForMaskedLM`, and the parts of its forward pass that training and embedding need.

HF's own forward computes the vocabulary's logits at every token. Here the head, and of the last layer all but keys
and values, are computed at the tokens to be predicted alone; the loss is the same.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from nsl_assets.models.geneformer.masking import IGNORED

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.masking import MaskedCells, Matrix
    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.protocol import Runtime

Tensor = torch.Tensor


def network_config(settings: Geneformer, n_tokens: int) -> BertConfig:
    """The paper's architecture for a vocabulary of so many tokens; the first one, 0, is padding."""
    return BertConfig(
        vocab_size=n_tokens,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.n_layers,
        num_attention_heads=settings.n_heads,
        intermediate_size=settings.intermediate_size,
        hidden_act=settings.activation,
        hidden_dropout_prob=settings.hidden_dropout,
        attention_probs_dropout_prob=settings.attention_dropout,
        max_position_embeddings=settings.max_length,
        initializer_range=settings.initializer_range,
        layer_norm_eps=settings.layer_norm_eps,
        pad_token_id=0,
    )


def on_device(network: BertForMaskedLM, runtime: Runtime) -> BertForMaskedLM:
    """The network itself, moved to where it is to be used.

    Weights read from a file lie where the file has them. Products of matrices round by where a matrix begins in memory,
    so each gets memory of its own, which begins as that of a network made here does.
    """
    torch.nn.Module.to(network, runtime.device)
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
    return network


def n_parameters(network: torch.nn.Module) -> int:
    """Parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def arithmetic(runtime: Runtime) -> AbstractContextManager[object]:
    """bfloat16 matrix products on a GPU where that is asked for; else float32."""
    if runtime.device == "cuda" and runtime.precision == "bfloat16":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def hidden_states(network: BertForMaskedLM, ids: Matrix) -> Tensor:
    """Hidden states of the last layer, (n_cells, length, hidden_size); nothing attends to padding."""
    hidden, attended = _before_last_layer(network, ids)
    last: Tensor = _last_layer(network)(hidden, attended)
    return last


def masked_loss(network: BertForMaskedLM, cells: MaskedCells) -> Tensor:
    """Sum of the cross-entropy, in nats, over the tokens to be predicted; 0 where there are none."""
    places, is_place = (torch.from_numpy(part).to(network.device) for part in cells.places())
    labels = torch.from_numpy(cells.labels[cells.labels != IGNORED]).to(network.device)
    hidden, attended = _before_last_layer(network, cells.ids)
    logits = network.cls(_last_layer_at(network, hidden, attended, places)[is_place])
    return functional.cross_entropy(logits.float(), labels, reduction="sum")


def _before_last_layer(network: BertForMaskedLM, ids: Matrix) -> tuple[Tensor, Tensor | None]:
    """Input of the last layer, and which tokens are attended to, (n_cells, 1, 1, length); None: all of them."""
    is_real = ids != network.config.pad_token_id
    attended = None if is_real.all() else torch.from_numpy(is_real[:, None, None, :]).to(network.device)
    hidden = network.bert.embeddings(input_ids=torch.from_numpy(ids).to(network.device))
    for layer in network.bert.encoder.layer[:-1]:
        hidden = layer(hidden, attended)
    return hidden, attended


def _last_layer(network: BertForMaskedLM) -> Any:
    """A `BertLayer`; torch does not know the types of its parts."""
    return network.bert.encoder.layer[-1]


def _last_layer_at(network: BertForMaskedLM, hidden: Tensor, attended: Tensor | None, places: Tensor) -> Tensor:
    """Output of the last layer at some places (n_cells, n_places) of each cell: (n_cells, n_places, hidden_size)."""
    layer = _last_layer(network)
    attention = layer.attention.self
    at_places = hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.shape[2]))
    query, key, value = (
        part.unflatten(2, (attention.num_attention_heads, -1)).transpose(1, 2)
        for part in (attention.query(at_places), attention.key(hidden), attention.value(hidden))
    )
    dropout = attention.dropout.p if network.training else 0.0
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=attended, dropout_p=dropout)
    after_attention = layer.attention.output(context.transpose(1, 2).flatten(2), at_places)
    output: Tensor = layer.feed_forward_chunk(after_attention)
    return output
