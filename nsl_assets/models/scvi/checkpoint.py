"""Folders that scvi-tools' `model.save` writes, read without executing what is in them; and new scVI models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nsl_assets.errors import InputError
from nsl_assets.memory import is_out_of_memory

if TYPE_CHECKING:
    from scvi.model import SCVI

    from nsl_assets.models.preprocessing import IndexArray

MODEL_FILE: Final = "model.pt"
_TRAINABLE: Final[dict[str, Any]] = {
    "dispersion": "gene",
    "gene_likelihood": "zinb",
    "latent_distribution": "normal",
    "use_observed_lib_size": True,
    "log_variational": True,
    "use_batch_norm": "both",
    "use_layer_norm": "none",
}
"""What our training supports, and the defaults of scvi-tools where a checkpoint does not say."""
_ARRAY_CODES: Final = ("O", "U1", "i4", "i8", "f4", "f8", "?")
_EMBEDDABLE: Final = ("latent_distribution", "log_variational")


class _Inert:
    """Stands for anything in a file that is not data: it takes what comes and does nothing."""

    def __new__(cls, *_: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True)
class Checkpoint:
    """A saved scVI model.

    Attributes
    ----------
    folder
        Where it lies.
    gene_names
        Names of its input, (n_genes,).
    architecture
        Arguments of `scvi.model.SCVI`.
    n_covariates
        Batches beyond one and covariates: what its decoder takes besides the latent state.
    weights
        Its parameters and buffers by name.
    """

    folder: Path
    gene_names: npt.NDArray[Any]
    architecture: dict[str, Any]
    n_covariates: int
    weights: dict[str, Tensor]


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder that `scvi.model.SCVI.save` wrote; nothing in it is executed.

    Raises InputError where it is another kind of model, damaged, or would have to be executed.
    """
    try:
        content = _read_inert(folder / MODEL_FILE)
        return _described(folder, content)
    except (OSError, UnpicklingError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        raise InputError(
            f"the checkpoint {folder} cannot be read as a scVI model ({type(error).__name__}: {str(error)[:300]}). "
            "A folder is needed that scvi.model.SCVI.save of scvi-tools 1.0 or newer wrote."
        ) from error


def _described(folder: Path, content: Mapping[str, Any]) -> Checkpoint:
    attributes = content["attr_dict"]
    registry = attributes["registry_"]
    if registry["model_name"] != "SCVI":
        raise ValueError(f"it is a {registry['model_name']}, not a SCVI")
    return Checkpoint(
        folder=folder,
        gene_names=np.asarray(content["var_names"]).astype(str).astype(object),
        architecture=_architecture(attributes["init_params_"]),
        n_covariates=_n_covariates(registry["field_registries"]),
        weights={name: value for name, value in content["model_state_dict"].items() if isinstance(value, Tensor)},
    )


def _read_inert(file: Path) -> dict[str, Any]:
    """Tensors, arrays and plain values; every other class or function named in the file becomes inert."""
    kinds: list[type] = [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in _ARRAY_CODES)]
    known: dict[str, Any] = {_full_name(kind): kind for kind in kinds}
    known |= {
        "numpy._core.multiarray._reconstruct": _empty_array,
        "numpy.core.multiarray._reconstruct": _empty_array,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy.core.multiarray.scalar": _scalar,
        "collections.defaultdict": lambda *_: {},
        "builtins.dict": dict,
        "builtins.bytes": bytes,
    }
    named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    allowed: list[Any] = [(known.get(name, _Inert), name) for name in sorted({*named, *known})]
    with torch.serialization.safe_globals(allowed):
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return content


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _empty_array(*_: object) -> npt.NDArray[Any]:
    return np.empty(0)


def _scalar(kind: np.dtype[Any], value: bytes) -> Any:
    return np.frombuffer(value, dtype=kind)[0]


def _architecture(init_params: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of SCVI that differ from nothing, those of `**kwargs` included."""
    extra = {name: value for group in init_params["kwargs"].values() for name, value in group.items()}
    return {**init_params["non_kwargs"], **extra}


def _n_covariates(fields: Mapping[str, Any]) -> int:
    def count(field: str, statistic: str) -> int:
        return int(fields.get(field, {}).get("summary_stats", {}).get(statistic, 0))

    return (
        max(count("batch", "n_batch") - 1, 0)
        + count("extra_categorical_covs", "n_extra_categorical_covs")
        + count("extra_continuous_covs", "n_extra_continuous_covs")
        + ("attr_key" in fields.get("size_factor", {}).get("data_registry", {}))
    )


def trainable(checkpoint: Checkpoint) -> SCVI:
    """The checkpoint as a model of scvi-tools that can be trained further.

    Raises InputError for several batches, covariates, or another likelihood than the ZINB with gene dispersion.
    """
    _check_supported(checkpoint, tuple(_TRAINABLE), "trained further")
    if checkpoint.n_covariates:
        raise InputError(
            f"the checkpoint {checkpoint.folder} knows several batches or covariates, which the cells of a task do "
            "not have: use it with is_frozen = true, or name a checkpoint without batch_key and covariates."
        )
    unknown = set(checkpoint.architecture) - set(_TRAINABLE) - {"n_hidden", "n_latent", "n_layers", "dropout_rate"}
    if unknown:
        raise InputError(
            f"the checkpoint {checkpoint.folder} was made with {', '.join(sorted(unknown))}, which is not supported "
            "in further training: use it with is_frozen = true, or name another."
        )
    model = new_scvi(checkpoint.gene_names, checkpoint.architecture)
    _load(model.module, checkpoint.weights, checkpoint)
    return model


def frozen_encoder(checkpoint: Checkpoint) -> Any:
    """The encoder of a checkpoint, whatever its decoder is.

    Raises InputError where it takes more than genes, or its latent state is not normal.
    """
    from scvi.nn import Encoder

    _check_supported(checkpoint, _EMBEDDABLE, "used")
    known = {**_TRAINABLE, **checkpoint.architecture}
    encoder = Encoder(
        n_input=checkpoint.gene_names.size,
        n_output=known["n_latent"],
        n_layers=known["n_layers"],
        n_hidden=known["n_hidden"],
        dropout_rate=known["dropout_rate"],
        use_batch_norm=known["use_batch_norm"] in ("encoder", "both"),
        use_layer_norm=known["use_layer_norm"] in ("encoder", "both"),
    )
    prefix = "z_encoder."
    weights = {
        name.removeprefix(prefix): value for name, value in checkpoint.weights.items() if name.startswith(prefix)
    }
    _load(encoder, weights, checkpoint)
    return encoder.eval()


def new_scvi(gene_names: npt.NDArray[Any], architecture: Mapping[str, Any]) -> SCVI:
    """A `scvi.model.SCVI` of these genes with random weights from torch's state, made on cells without counts."""
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix
    from scvi.model import SCVI

    cells = AnnData(  # three: scvi-tools warns of fewer
        csr_matrix(np.zeros((3, gene_names.size), dtype=np.float32)),
        obs=pd.DataFrame(index=["a", "b", "c"]),
        var=pd.DataFrame(index=pd.Index(gene_names.astype(str), dtype=object)),
    )
    SCVI.setup_anndata(cells)
    return SCVI(cells, **architecture)


def matched_columns(
    gene_names: npt.NDArray[Any], checkpoint_genes: npt.NDArray[Any], min_shared: float, folder: str
) -> IndexArray:
    """For each gene of the task its column in the checkpoint, or -1; (n_genes,).

    Raises InputError where less than a fraction min_shared of the checkpoint's genes is found.
    """
    column_of = {str(name): column for column, name in enumerate(checkpoint_genes)}
    columns = np.array([column_of.get(str(name), -1) for name in gene_names], dtype=np.intp)
    n_shared = np.unique(columns[columns >= 0]).size
    if n_shared < min_shared * checkpoint_genes.size:
        raise InputError(
            f"{folder} is a checkpoint of another vocabulary: {n_shared:,} of its {checkpoint_genes.size:,} genes are "
            f"among the {gene_names.size:,} of the task, and at least {min_shared:.0%} are needed. Its genes begin "
            f"with {_some(checkpoint_genes)}; the task's with {_some(gene_names)}. Often one side has gene ids "
            "(ENSG00000010610) and the other symbols (CD4): rename the task's genes, or lower min_shared_genes."
        )
    return columns


def _some(names: npt.NDArray[Any]) -> str:
    return ", ".join(map(str, names[:3]))


def _check_supported(checkpoint: Checkpoint, fields: tuple[str, ...], purpose: str) -> None:
    for name in fields:
        found = checkpoint.architecture.get(name, _TRAINABLE[name])
        if found != _TRAINABLE[name]:
            raise InputError(
                f"the checkpoint {checkpoint.folder} has {name} = {found!r}; it can be {purpose} only with "
                f"{_TRAINABLE[name]!r}. "
                + ("Use it with is_frozen = true, or name another." if name not in _EMBEDDABLE else "Name another.")
            )


def _load(module: torch.nn.Module, weights: dict[str, Tensor], checkpoint: Checkpoint) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the weights of the checkpoint {checkpoint.folder} do not fit an encoder of its "
            f"{checkpoint.gene_names.size:,} genes alone ({str(error)[:300]}). Name a checkpoint without "
            "encode_covariates."
        ) from error
