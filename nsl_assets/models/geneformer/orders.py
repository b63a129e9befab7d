"""What the process that fits a model and the ranks that train it hand to each other: files in one folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nsl_assets.errors import InputError, MeasurementError, NslError, StorageError
from nsl_assets.models.geneformer.checkpoint import Parameters, load_model, save_model
from nsl_assets.models.geneformer.settings import Geneformer
from nsl_assets.models.geneformer.tokens import TokenRows
from nsl_assets.models.geneformer.training import History
from nsl_assets.models.protocol import Runtime

_ORDER: Final = "order.json"
_INITIAL, _TRAINED = "initial", "trained"
_TRAIN, _VALIDATION = "train", "validation"
_HISTORY: Final = "history.json"
_ERROR: Final = "error.json"
_ERRORS: Final = {kind.__name__: kind for kind in (InputError, MeasurementError, StorageError)}


@dataclass(frozen=True)
class Order:
    """All that a rank needs."""

    parameters: Parameters
    tokens: TokenRows
    validation: TokenRows
    settings: Geneformer
    runtime: Runtime
    seed: int


def write_order(order: Order, folder: Path) -> None:
    """Write tokens, settings and initial weights into an empty folder."""
    save_model(order.parameters, folder / _INITIAL)
    for name, rows in ((_TRAIN, order.tokens), (_VALIDATION, order.validation)):
        (folder / name).mkdir()
        for part in ("tokens", "starts", "keys"):
            np.save(folder / name / f"{part}.npy", getattr(rows, part), allow_pickle=False)
    runtime = {name: getattr(order.runtime, name) for name in ("device", "n_devices", "n_threads", "precision")}
    written = {"settings": order.settings.model_dump(mode="json"), "runtime": runtime, "seed": order.seed}
    (folder / _ORDER).write_text(json.dumps(written))


def read_order(folder: Path) -> Order:
    """Read what `write_order` wrote; tokens stay on disk."""
    written = json.loads((folder / _ORDER).read_text())
    runtime = Runtime(**written["runtime"], scratch=folder)
    tokens, validation = (_rows(folder / name) for name in (_TRAIN, _VALIDATION))
    settings = Geneformer.model_validate(written["settings"])
    return Order(load_model(folder / _INITIAL, runtime), tokens, validation, settings, runtime, written["seed"])


def _rows(folder: Path) -> TokenRows:
    tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
    starts, keys = (np.load(folder / f"{part}.npy", allow_pickle=False) for part in ("starts", "keys"))
    return TokenRows(tokens, starts, keys)


def write_result(parameters: Parameters, history: History, folder: Path) -> None:
    """Write trained weights and what happened."""
    save_model(parameters, folder / _TRAINED)
    (folder / _HISTORY).write_text(json.dumps(asdict(history)))


def read_result(folder: Path, runtime: Runtime) -> tuple[Parameters, History]:
    """Read what `write_result` wrote."""
    return load_model(folder / _TRAINED, runtime), History(**json.loads((folder / _HISTORY).read_text()))


def write_error(error: NslError, folder: Path) -> None:
    """Say why a rank ended, for the process that waits."""
    (folder / _ERROR).write_text(json.dumps({"kind": type(error).__name__, "message": str(error)}))


def read_error(folder: Path) -> NslError | None:
    """What a rank said; None where none had time to."""
    if not (folder / _ERROR).is_file():
        return None
    said = json.loads((folder / _ERROR).read_text())
    return _ERRORS.get(said["kind"], MeasurementError)(said["message"])
