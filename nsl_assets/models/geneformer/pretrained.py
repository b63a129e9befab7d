"""A user's pretrained checkpoint: a Hugging Face folder with the token of each gene beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors import SafetensorError
from transformers import BertConfig, BertForMaskedLM

from nsl_assets.errors import InputError
from nsl_assets.memory import is_out_of_memory
from nsl_assets.models.geneformer.checkpoint import ATTENTION, MEDIANS, TOKENS, Parameters, without_chatter
from nsl_assets.models.geneformer.genes import require_known_genes
from nsl_assets.models.geneformer.network import on_device
from nsl_assets.models.geneformer.vocabulary import MASK, PAD, Vocabulary

if TYPE_CHECKING:
    from nsl_assets.models.protocol import Runtime

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"


def read_checkpoint(folder: Path, gene_names: Iterable[Any], min_shared: float, runtime: Runtime) -> Parameters:
    """The network of a checkpoint, its tokens, and its medians, which are empty where it comes without.

    Architecture is that of its config.json. Raises InputError where a file is missing or damaged, where weights are
    pickled, and where it knows fewer than a part ``min_shared`` of the genes.
    """
    _require_files(folder)
    vocabulary = Vocabulary(_tokens(folder), _medians(folder))
    require_known_genes(vocabulary, gene_names, min_shared, f"the checkpoint {folder}")
    network = _network(folder)
    if vocabulary.size > network.config.vocab_size:
        raise InputError(
            f"{folder / TOKENS} has token {vocabulary.size - 1:,}, but the network has"
            f" {network.config.vocab_size:,} tokens: name the dictionary that this network was trained with."
        )
    network.config.pad_token_id = vocabulary.pad
    return Parameters(on_device(network, runtime), vocabulary)


def _require_files(folder: Path) -> None:
    missing = [name for name in (_CONFIG, _WEIGHTS, TOKENS) if not (folder / name).is_file()]
    if not missing:
        return
    advice = "name the folder that `save_pretrained` wrote"
    if missing == [TOKENS]:
        advice = f'put {TOKENS} beside the network: {{"gene": token, ..., "{PAD}": 0, "{MASK}": 1}}'
    elif _WEIGHTS in missing and list(folder.glob("*.bin")):
        advice = "pickled weights (.bin) are not read, since they can run code: save the network again as safetensors"
    raise InputError(f"the checkpoint {folder} has no {', no '.join(missing)}: {advice}.")


def _network(folder: Path) -> BertForMaskedLM:
    kind = _read_json(folder / _CONFIG).get("model_type")
    if kind != BertConfig.model_type:
        raise InputError(f"{folder / _CONFIG} describes a network of type {kind!r}; a 'bert' is needed.")
    try:
        with without_chatter():
            loaded: Any = BertForMaskedLM.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                attn_implementation=ATTENTION,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"the checkpoint {folder} cannot be read ({type(error).__name__}: {error}). Save it again by"
            " `save_pretrained`."
        ) from error
    network: BertForMaskedLM = loaded[0]
    _require_all_weights(folder, sorted(loaded[1]["missing_keys"]))
    return network


def _require_all_weights(folder: Path, missing: list[str]) -> None:
    if missing:
        raise InputError(
            f"{folder / _WEIGHTS} lacks {len(missing)} weights of a BertForMaskedLM, among them"
            f" {', '.join(missing[:3])}: a network for masked language modelling is needed, head included."
        )


def _tokens(folder: Path) -> dict[str, int]:
    """{gene: token}, special names included."""
    found = _read_json(folder / TOKENS)
    is_whole = all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in found.values())
    if not is_whole or PAD not in found or MASK not in found or len(set(found.values())) != len(found):
        raise InputError(
            f'{folder / TOKENS} must give each gene a whole number of its own, and have "{PAD}" and "{MASK}".'
        )
    return found


def _medians(folder: Path) -> dict[str, float]:
    """{gene: median}; empty where there is no such file."""
    path = folder / MEDIANS
    if not path.is_file():
        return {}
    found = _read_json(path)
    if not all(isinstance(median, int | float) and 0 < median < float("inf") for median in found.values()):
        raise InputError(f"{path} must give each gene a median above 0.")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}; a table of genes, {{...}}, is needed.")
    return found
