"""A network on disk: as `save_pretrained` writes it, with the token and the median of each gene beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from safetensors import SafetensorError
from transformers import BertForMaskedLM
from transformers.utils import logging as transformers_logging

from nsl_assets.errors import StorageError
from nsl_assets.models.geneformer.network import on_device
from nsl_assets.models.geneformer.vocabulary import Vocabulary

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime

TOKENS: Final = "token_dictionary.json"
MEDIANS: Final = "gene_medians.json"
ATTENTION: Final = "sdpa"
"""The implementation of attention that takes our masks, whatever a config.json says."""


@dataclass(frozen=True)
class Parameters:
    """A network and the vocabulary that it knows."""

    network: BertForMaskedLM
    vocabulary: Vocabulary


def save_model(parameters: Parameters, folder: Path) -> None:
    """Write config.json, model.safetensors, token_dictionary.json {gene: token}, gene_medians.json {gene: median}."""
    folder.mkdir(parents=True, exist_ok=True)
    with without_chatter():
        parameters.network.save_pretrained(folder)
    (folder / TOKENS).write_text(json.dumps(dict(parameters.vocabulary.token_of)))
    (folder / MEDIANS).write_text(json.dumps(dict(parameters.vocabulary.medians)))


def load_model(folder: Path, runtime: Runtime) -> Parameters:
    """Read what `save_model` wrote. Raises StorageError for anything else."""
    try:
        with without_chatter():
            network = BertForMaskedLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, attn_implementation=ATTENTION
            )
        token_of, medians = (json.loads((folder / name).read_text()) for name in (TOKENS, MEDIANS))
    except (OSError, ValueError, SafetensorError) as error:
        raise StorageError(
            f"{folder} does not hold a saved Geneformer ({type(error).__name__}: {error}). Delete the folder and"
            " train again."
        ) from error
    return Parameters(on_device(network, runtime), Vocabulary(token_of, medians))


@contextmanager
def without_chatter() -> Iterator[None]:
    """Transformers draws no bars on stderr, which belongs to the user's own progress.

    Where accelerate is installed, it imports DeepSpeed, which says on stdout that it sees no GPU unless told so.
    """
    was_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    had_accelerator = "DS_ACCELERATOR" in os.environ
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        yield
    finally:
        if not had_accelerator:
            del os.environ["DS_ACCELERATOR"]
        if was_shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
