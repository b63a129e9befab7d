"""Whether the genes of a task are those that a network knows, and what may be wrong where they are not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from nsl_assets.errors import InputError
from nsl_assets.models.geneformer.vocabulary import SPECIAL, Vocabulary

_ENSEMBL: Final = re.compile(r"ENS[A-Z]*G\d+")
_SHOWN: Final = 3


def require_known_genes(vocabulary: Vocabulary, gene_names: Iterable[Any], least: float, origin: str) -> int:
    """Number of genes that the vocabulary knows. Raises InputError where they are less than a part ``least`` of all.

    ``origin`` names the network in the message: "the checkpoint models/geneformer".
    """
    names = [str(name) for name in gene_names]
    known = [name for name in names if name in vocabulary.token_of]
    if len(known) < least * len(names) or not known:
        theirs = [name for name in vocabulary.token_of if name not in SPECIAL]
        raise InputError(
            f"{origin} has another vocabulary: it knows {len(known)} of the task's {len(names)} genes, fewer than the"
            f" {least:.0%} that are needed. The task has {_examples(names)}; the network knows {_examples(theirs)}."
            f" {_likely_cause(names, theirs)}"
        )
    return len(known)


def _examples(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _likely_cause(names: list[str], theirs: list[str]) -> str:
    """What to do, from what the names look like."""
    is_ensembl, theirs_are = (_share_ensembl(side) > 0.5 for side in (names, theirs))
    if theirs_are and not is_ensembl:
        return "It knows Ensembl identifiers, the task has symbols: name the genes of your file by Ensembl identifiers."
    if is_ensembl and not theirs_are:
        return "It knows symbols, the task has Ensembl identifiers: name the genes of your file by symbols."
    if {name.upper() for name in names} & {name.upper() for name in theirs} - set(names):
        return "Names differ in their case: is the network of another species?"
    if {name.partition(".")[0] for name in names} & {name.partition(".")[0] for name in theirs}:
        return "Names differ in what follows the first dot: remove the versions of identifiers."
    return "Name a network of these genes, or lower min_shared_genes."


def _share_ensembl(names: list[str]) -> float:
    return sum(_ENSEMBL.match(name) is not None for name in names) / max(len(names), 1)
