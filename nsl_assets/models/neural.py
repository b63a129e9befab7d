"""What the settings of trained networks share: named budgets, pretrained checkpoints. No network is here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import model_validator

from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256
from nsl_assets.models.protocol import ModelKind

PAPER_EPOCHS: Final = 10_000_000
"""Cells that a model sees at most in the published training budget, times a factor of each kind (paper, E.3)."""


class NeuralKind(ModelKind):
    """Settings of a network. The defaults are the paper's; a budget sets the fields that are not set by hand."""

    BUDGETS: ClassVar[dict[str, dict[str, Any]]]
    """For each budget the fields in which it differs from the paper's."""
    FROZEN_IDENTITY: ClassVar[tuple[str, ...]] = ("kind", "is_frozen")
    """Fields that decide the embeddings of a frozen checkpoint; the others are about training."""
    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("budget", "checkpoint", "n_devices", "min_shared_genes")
    """Fields that decide no number themselves: a budget acts through the fields it sets, a checkpoint through its
    content, the number of devices through the speed alone, and the least share of genes by refusing."""

    budget: Literal["paper", "quick"] = "paper"
    """"paper": the published training. "quick": for a CPU, fewer steps and shorter sequences; fields that stand
    below with another value than the paper's then come from this budget, unless you set them."""
    checkpoint: str | None = None
    """Folder of a pretrained model, to begin from; none: random weights."""
    is_frozen: bool = False
    """True: the checkpoint embeds cells as it is, and nothing is trained."""

    @model_validator(mode="after")
    def _follow_budget(self) -> Self:
        for field, value in self.BUDGETS[self.budget].items():
            if field not in self.model_fields_set:
                # Frozen settings: the validator itself is the one place that may fill them in.
                object.__setattr__(self, field, value)
        return self

    @model_validator(mode="after")
    def _frozen_needs_a_checkpoint(self) -> Self:
        if self.is_frozen and self.checkpoint is None:
            raise ValueError("is_frozen is true, but there is no checkpoint: name the folder of a pretrained model")
        return self

    def needs_training(self) -> bool:
        """False for a frozen checkpoint."""
        return not self.is_frozen

    def identity(self) -> dict[str, Any]:
        """The settings that decide numbers."""
        if self.is_frozen:
            return self.model_dump(mode="json", include=set(self.FROZEN_IDENTITY))
        return self.model_dump(mode="json", exclude=set(self.NOT_IDENTITY))

    def content(self, level: float | None) -> dict[str, Any]:  # noqa: ARG002 - one checkpoint for all levels
        """Hash of the checkpoint's files. Raises InputError where the folder is missing or empty."""
        return {} if self.checkpoint is None else {"checkpoint_sha256": folder_hash(Path(self.checkpoint))}


def epochs_of_budget(n_train_cells: int, factor: float = 1.0) -> int:
    """max(1, ⌊factor · 10⁷ / n⌋): the published number of epochs for n training cells (supplement, section 1)."""
    return max(1, int(factor * PAPER_EPOCHS / max(n_train_cells, 1)))


def folder_hash(folder: Path) -> str:
    """SHA-256 over names and contents of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        found = "is empty" if folder.is_dir() else "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"the checkpoint {folder} {found}: name the folder that a pretrained model was saved into.")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_sha256(path)}\0".encode())
    return digest.hexdigest()
