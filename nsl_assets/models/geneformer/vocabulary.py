"""The token of each gene, and the median by which its expression is scaled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

PAD, MASK, FIRST, LAST = "<pad>", "<mask>", "<cls>", "<eos>"
SPECIAL: Final = (PAD, MASK, FIRST, LAST)
"""Names of tokens that are no genes. Ours have the first two; checkpoints may frame a cell with the others."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GeneTable:
    """For each gene of a task, in its order: token (n_genes,) and median (n_genes,), 0 where it has no token."""

    tokens: npt.NDArray[np.uint32]
    medians: FloatArray

    @property
    def n_with_token(self) -> int:
        """Genes that can become tokens."""
        return int(np.count_nonzero(self.medians))


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and medians by gene name.

    Attributes
    ----------
    token_of
        Token id of each gene, and of the special names.
    medians
        Median of each gene's nonzero expression (counts per 10,000); a gene without one gets no token.
    """

    token_of: Mapping[str, int]
    medians: Mapping[str, float]

    @classmethod
    def of_genes(cls, gene_names: Iterable[Any], medians: FloatArray) -> Vocabulary:
        """<pad> is 0, <mask> is 1, the gene at position i is i + 2; medians (n_genes,), 0 for genes never seen."""
        names = [str(name) for name in gene_names]
        token_of = {PAD: 0, MASK: 1} | {name: i + 2 for i, name in enumerate(names)}
        return cls(token_of, _positive(names, medians))

    def with_medians(self, gene_names: Iterable[Any], medians: FloatArray) -> Vocabulary:
        """The same tokens, scaled by other medians."""
        return Vocabulary(self.token_of, _positive([str(name) for name in gene_names], medians))

    @property
    def pad(self) -> int:
        """Fills up short sequences."""
        return self.token_of[PAD]

    @property
    def mask(self) -> int:
        """Hides a gene."""
        return self.token_of[MASK]

    @property
    def frame(self) -> tuple[int, ...]:
        """Tokens before and after each cell's genes: none, or two."""
        return (self.token_of[FIRST], self.token_of[LAST]) if FIRST in self.token_of and LAST in self.token_of else ()

    @property
    def size(self) -> int:
        """Number of token ids."""
        return max(self.token_of.values()) + 1

    def gene_tokens(self) -> npt.NDArray[np.int64]:
        """Token ids of genes, ascending."""
        ids = (token for name, token in self.token_of.items() if name not in SPECIAL)
        return np.sort(np.fromiter(ids, dtype=np.int64))

    def table(self, gene_names: Iterable[Any]) -> GeneTable:
        """Token and median of each of these genes."""
        names = [str(name) for name in gene_names]
        tokens = np.array([self.token_of.get(name, 0) for name in names], dtype=np.uint32)
        medians = [self.medians.get(name, 0.0) if name in self.token_of else 0.0 for name in names]
        return GeneTable(tokens, np.array(medians, dtype=np.float64))


def _positive(names: list[str], medians: FloatArray) -> dict[str, float]:
    return {name: float(median) for name, median in zip(names, medians, strict=True) if median > 0}
