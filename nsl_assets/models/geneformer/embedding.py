"""Embeddings: the mean of the last hidden layer over a cell's genes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from nsl_assets.models.geneformer.batches import by_length
from nsl_assets.models.geneformer.network import arithmetic, hidden_states
from nsl_assets.models.geneformer.tokens import write_tokens
from nsl_assets.models.preprocessing import in_storage_order
from nsl_assets.models.training import seeded

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

    from nsl_assets.models.geneformer.masking import Matrix
    from nsl_assets.models.geneformer.vocabulary import Vocabulary
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows


def embed_cells(
    network: BertForMaskedLM,
    vocabulary: Vocabulary,
    cells: CountRows,
    *,
    max_length: int,
    batch_size: int,
    runtime: Runtime,
) -> npt.NDArray[np.float32]:
    """(n_cells, hidden_size). A cell without genes is embedded as one hidden gene: the hidden state of a lone <mask>.

    Cells of similar length are embedded together; padding is not attended to, so a cell's row depends on the other
    cells in the last digits of float32 alone.
    """
    stored, order = in_storage_order(cells)
    embedding = np.empty((cells.n_cells, network.config.hidden_size), np.float32)
    network.train(False)
    with seeded(runtime, "embedding"), tempfile.TemporaryDirectory(dir=runtime.scratch) as folder:
        table = vocabulary.table(cells.gene_names)
        path = Path(folder) / "tokens.bin"
        tokens = write_tokens(stored, table, path, max_length=max_length, of_empty=vocabulary.mask)
        is_empty = tokens.is_lone(vocabulary.mask)
        if is_empty.any():  # all of them alike, to the last digit
            ids = tokens.padded(np.flatnonzero(is_empty)[:1], vocabulary.pad, vocabulary.frame)
            embedding[order[is_empty]] = mean_states(network, vocabulary, ids, runtime)
        rows = by_length(tokens, np.flatnonzero(~is_empty))
        for begin in range(0, rows.size, batch_size):
            some = rows[begin : begin + batch_size]
            ids = tokens.padded(some, vocabulary.pad, vocabulary.frame)
            embedding[order[some]] = mean_states(network, vocabulary, ids, runtime)
    return embedding


def mean_states(
    network: BertForMaskedLM, vocabulary: Vocabulary, ids: Matrix, runtime: Runtime
) -> npt.NDArray[np.float32]:
    """Mean of the last hidden layer over each cell's own tokens, (n_cells, hidden_size)."""
    is_counted = torch.from_numpy(~np.isin(ids, (vocabulary.pad, *vocabulary.frame))[:, :, None]).to(network.device)
    with torch.inference_mode(), arithmetic(runtime):
        hidden = hidden_states(network, ids).float()
        mean = (hidden * is_counted).sum(dim=1) / is_counted.sum(dim=1)
    values: npt.NDArray[np.float32] = mean.cpu().numpy()
    return values
