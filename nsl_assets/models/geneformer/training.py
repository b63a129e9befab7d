"""The training loop: keyed batches, masked language modelling, evaluations, early stopping with the best weights."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from nsl_assets.models.geneformer.batches import Rows, epoch_batches, portions, sample
from nsl_assets.models.geneformer.masking import IGNORED, MaskedCells, Masking
from nsl_assets.models.geneformer.network import arithmetic, masked_loss
from nsl_assets.models.geneformer.optimiser import Optimiser, learning_rate_at
from nsl_assets.models.geneformer.settings import TOKENS_AT_ONCE
from nsl_assets.models.training import EarlyStopping, Heartbeat, require_finite

if TYPE_CHECKING:
    from transformers import BertForMaskedLM

    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.geneformer.tokens import TokenRows
    from nsl_assets.models.protocol import Runtime

_LOOK_EVERY_STEPS: Final = 25
"""How often the loss is looked at; on a GPU each look waits for the device."""


@dataclass
class History:
    """What happened in training, until now or until its end."""

    steps: int = 0
    cells: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stop_reason: str = ""
    peak_device_memory_mib: float = 0.0
    evaluation_steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)


@dataclass
class Training:
    """One training of a network on tokens, by one device or by one of several ranks.

    Attributes
    ----------
    tokens, validation
        Tokens of the training and validation cells; cells without any are passed over.
    seed
        Of order and masks. Dropout draws from torch's state.
    """

    network: BertForMaskedLM
    masking: Masking
    tokens: TokenRows
    validation: TokenRows
    settings: Geneformer
    seed: int
    runtime: Runtime
    optimiser: Optimiser
    history: History = field(default_factory=History)

    def run(self) -> History:
        """Train, and leave the best weights in the network. Raises MeasurementError where a loss is not finite."""
        start = time.perf_counter()
        self._stopping = EarlyStopping(self.network, self.settings.patience)
        self._planned = self.settings.planned_steps(self.tokens.nonempty().size)
        self._heartbeat = Heartbeat(self.runtime, self._planned, "step")
        self._recent = torch.zeros((), device=self.network.device)
        self._n_recent = 0
        self._validation_rows = sample(self.validation, self.settings.max_evaluation_cells, self.seed)
        self._train()
        self._stopping.restore_best()
        self.history.seconds = time.perf_counter() - start
        return self.history

    def _train(self) -> None:
        epoch = 0
        while True:
            for rows in epoch_batches(self.tokens, self.settings.batch_size, seed=self.seed, epoch=epoch):
                self._step(rows, epoch)
                is_last = self.history.steps == self._planned
                is_due = is_last or self.history.steps % self.settings.evaluate_every_steps == 0
                if is_due and self._evaluate():
                    self.history.stop_reason = "early stopping"
                    return
                if is_last:
                    by_steps = self._planned == self.settings.max_steps
                    self.history.stop_reason = "all steps" if by_steps else "all epochs"
                    return
            epoch += 1

    def _step(self, rows: Rows, epoch: int) -> None:
        """One optimiser step: the gradient of the mean loss over all hidden tokens of these cells."""
        self.network.train()
        own, n_hidden = self._own_part(rows, epoch)
        for cells in own:
            with arithmetic(self.runtime):
                loss = masked_loss(self.network, cells) / max(n_hidden, 1)
            self.optimiser.backward(loss)
            self._recent += loss.detach()
        self.optimiser.step(learning_rate_at(self.history.steps, self.settings, self._planned))
        self._n_recent += 1
        self.history.steps += 1
        self.history.cells += rows.size
        self.history.tokens += int(self.tokens.lengths[rows].sum())
        if self.history.steps % _LOOK_EVERY_STEPS == 0:
            self._heartbeat.at(self.history.steps, self._recent_loss())

    def _own_part(self, rows: Rows, epoch: int) -> tuple[list[MaskedCells], int]:
        """What this rank computes of a batch, and how many tokens are hidden in all of it."""
        if self.optimiser.n_ranks > 1:
            return self._part_of_rank(rows, epoch)
        cut = portions(self.tokens, rows, TOKENS_AT_ONCE[self.runtime.device])
        masked = [self.masking.masked(self.tokens, some, self.seed, epoch) for some in cut]
        return masked, sum(cells.n_hidden for cells in masked)

    def _part_of_rank(self, rows: Rows, epoch: int) -> tuple[list[MaskedCells], int]:
        """The same for one of several ranks: always one portion, since ranks exchange gradients after each.

        Masks follow from the keys, so every rank knows without asking how many tokens are hidden in the whole batch.
        """
        n_hidden = self.masking.masked(self.tokens, rows, self.seed, epoch).n_hidden
        own = rows[self.optimiser.rank :: self.optimiser.n_ranks]
        if own.size:
            return [self.masking.masked(self.tokens, own, self.seed, epoch)], n_hidden
        spare = self.masking.masked(self.tokens, rows[:1], self.seed, epoch)
        return [replace(spare, labels=np.full_like(spare.labels, IGNORED))], n_hidden

    def _recent_loss(self) -> float:
        """Mean loss of the steps since the last evaluation; raises where it is not finite."""
        (total,) = self.optimiser.total(float(self._recent))
        mean = total / max(self._n_recent, 1)
        require_finite(mean, "training loss", self.history.steps, self.settings.learning_rate)
        return mean

    def _evaluate(self) -> bool:
        """Note training and validation loss; whether training should stop."""
        history = self.history
        history.evaluation_steps.append(history.steps)
        history.train_loss.append(self._recent_loss())
        self._recent.zero_()
        self._n_recent = 0
        loss = self._validation_loss()
        if loss is None:
            return False
        require_finite(loss, "validation loss", history.steps, self.settings.learning_rate)
        history.validation_loss.append(loss)
        return self._stopping.observe(loss)

    def _validation_loss(self) -> float | None:
        """Mean loss over the hidden tokens of the validation cells, the same ones at each evaluation; None: no such."""
        self.network.train(False)
        total, n_hidden = 0.0, 0
        size, rows = self.settings.evaluation_batch_size, self._validation_rows
        batches = [rows[i : i + size] for i in range(0, rows.size, size)][self.optimiser.rank :: self.optimiser.n_ranks]
        with torch.inference_mode():
            for some in batches:
                cells = self.masking.masked(self.validation, some, "validation", self.seed)
                with arithmetic(self.runtime):
                    total += float(masked_loss(self.network, cells))
                n_hidden += cells.n_hidden
        total, n_total = self.optimiser.total(total, n_hidden)
        return total / n_total if n_total else None
