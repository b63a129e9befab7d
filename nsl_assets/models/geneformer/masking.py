"""Masked language modelling: which tokens of a batch are to be predicted, and what stands in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.models.geneformer.kernels import hide_tokens
from nsl_assets.randomness import Key, integer_seed

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.tokens import TokenRows
    from nsl_assets.models.geneformer.vocabulary import Vocabulary

Matrix = npt.NDArray[np.int64]
IGNORED: Final = -100
"""Label of a place where nothing is to be predicted, as transformers has it."""


@dataclass(frozen=True)
class MaskedCells:
    """Cells with hidden tokens.

    Attributes
    ----------
    ids
        Token ids, (n_cells, length).
    labels
        The tokens to be predicted, (n_cells, length); -100 elsewhere.
    """

    ids: Matrix
    labels: Matrix

    @property
    def n_hidden(self) -> int:
        """Tokens to be predicted."""
        return int(np.count_nonzero(self.labels != IGNORED))

    def places(self) -> tuple[Matrix, npt.NDArray[np.bool_]]:
        """Columns of the tokens to be predicted, (n_cells, most in one cell), and which entries are any."""
        is_hidden = self.labels != IGNORED
        n_hidden = is_hidden.sum(axis=1)
        is_place = np.arange(n_hidden.max(initial=0)) < n_hidden[:, None]
        places = np.zeros(is_place.shape, np.int64)
        places[is_place] = np.nonzero(is_hidden)[1]
        return places, is_place


@dataclass(frozen=True)
class Masking:
    """Hides tokens as BERT does: of those chosen 80 % become <mask>, 10 % another gene, 10 % stay.

    The choice follows from the keys, the cell's name and the place, so that it is the same in any batch.
    """

    fraction: float
    pad: int
    mask: int
    frame: tuple[int, ...]
    gene_tokens: npt.NDArray[np.int64]
    is_gene: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, vocabulary: Vocabulary, fraction: float) -> Masking:
        """For the tokens of a vocabulary."""
        genes = vocabulary.gene_tokens()
        is_gene = np.zeros(vocabulary.size, np.bool_)
        is_gene[genes] = True
        return cls(fraction, vocabulary.pad, vocabulary.mask, vocabulary.frame, genes, is_gene)

    def masked(self, tokens: TokenRows, rows: npt.NDArray[np.intp], *keys: Key) -> MaskedCells:
        """These cells with tokens hidden, (n_rows, longest)."""
        ids = tokens.padded(rows, self.pad, self.frame)
        labels = np.empty_like(ids)
        key = np.uint64(integer_seed("geneformer mask", *keys))
        hide_tokens(ids, tokens.keys[rows], key, self.fraction, self.is_gene, self.gene_tokens, self.mask, labels)
        return MaskedCells(ids, labels)
