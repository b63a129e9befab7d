"""The model: tokens, training and embedding put together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from transformers import BertForMaskedLM

from nsl_assets.errors import MeasurementError
from nsl_assets.models.geneformer.checkpoint import Parameters, load_model, save_model
from nsl_assets.models.geneformer.embedding import embed_cells
from nsl_assets.models.geneformer.genes import require_known_genes
from nsl_assets.models.geneformer.launch import train_on_several
from nsl_assets.models.geneformer.masking import Masking
from nsl_assets.models.geneformer.medians import gene_medians
from nsl_assets.models.geneformer.network import n_parameters, network_config, on_device
from nsl_assets.models.geneformer.notes import gene_notes, training_notes
from nsl_assets.models.geneformer.optimiser import OneDevice
from nsl_assets.models.geneformer.orders import Order
from nsl_assets.models.geneformer.pretrained import read_checkpoint
from nsl_assets.models.geneformer.tokens import TokenRows, write_tokens
from nsl_assets.models.geneformer.training import History, Training
from nsl_assets.models.geneformer.vocabulary import Vocabulary
from nsl_assets.models.preprocessing import in_storage_order
from nsl_assets.models.protocol import FitReport
from nsl_assets.models.training import device_name, peak_device_memory_mib, seeded

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.protocol import Runtime
    from nsl_assets.tasks import CountRows


class GeneformerModel:
    """A BERT on rank-value tokens. Embeddings are means of the last hidden layer over a cell's genes.

    Untrained baseline: random weights of the seed; no cell was seen, so every median is 1 and genes are ranked by
    their counts.
    """

    _parameters: Parameters | None = None

    def __init__(self, settings: Geneformer, runtime: Runtime) -> None:
        self.settings = settings
        self.runtime = runtime

    def fit(self, train: CountRows, validation: CountRows, *, seed: int) -> FitReport:
        """Train from random weights of the seed, or from the checkpoint; a frozen one is taken as it is.

        Medians are those of the training cells, unless the checkpoint has its own. Raises MeasurementError where no
        training cell has a count, or a loss is not finite; InputError for a checkpoint that cannot be used.
        """
        start = time.perf_counter()
        stored = in_storage_order(train)[0]
        parameters = self._initial(train, lambda: gene_medians(stored), seed)
        with self._token_files() as write:
            tokens, held_out = write(stored, parameters), write(in_storage_order(validation)[0], parameters)
            require_tokens(tokens, held_out, self.settings)
            parameters, history = self._train(parameters, tokens, held_out, seed)
            notes = training_notes(tokens, held_out, history, self.settings)
        self._parameters = parameters
        return FitReport(
            n_train_cells=train.n_cells,
            n_nonempty_train_cells=tokens.nonempty().size,
            n_validation_cells=validation.n_cells,
            n_parameters=n_parameters(parameters.network),
            seconds=time.perf_counter() - start,
            steps=history.steps,
            epochs=history.cells / tokens.nonempty().size,
            stop_reason=history.stop_reason,
            device=device_name(self.runtime),
            n_devices=self.runtime.n_devices,
            dtype=self.runtime.precision if self.runtime.device == "cuda" else "float32",
            peak_device_memory_mib=history.peak_device_memory_mib,
            losses={"train_loss": history.train_loss, "validation_loss": history.validation_loss},
            notes={**gene_notes(parameters.vocabulary.table(train.gene_names)), **notes},
        )

    def initialise(self, train: CountRows, *, seed: int) -> None:
        """Random weights of the seed, or the checkpoint; no cell is looked at: medians not known are all 1."""
        self._parameters = self._initial(train, lambda: np.ones(train.n_genes), seed)

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """(n_cells, hidden_size), see `embed_cells`."""
        parameters = self._fitted()
        least = self.settings.min_shared_genes
        require_known_genes(parameters.vocabulary, cells.gene_names, least, "the trained Geneformer")
        return embed_cells(
            parameters.network,
            parameters.vocabulary,
            cells,
            max_length=self._max_length(parameters),
            batch_size=self.settings.evaluation_batch_size,
            runtime=self.runtime,
        )

    def save(self, folder: Path) -> None:
        """Write the network as `BertForMaskedLM.from_pretrained` reads it, tokens and medians beside it."""
        save_model(self._fitted(), folder)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self._parameters = load_model(folder, self.runtime)

    def _initial(self, cells: CountRows, medians: Callable[[], npt.NDArray[np.float64]], seed: int) -> Parameters:
        """Parameters before training, for the genes of these cells."""
        if self.settings.checkpoint is not None:
            least = self.settings.min_shared_genes
            found = read_checkpoint(Path(self.settings.checkpoint), cells.gene_names, least, self.runtime)
            if found.vocabulary.medians:
                return found
            return replace(found, vocabulary=found.vocabulary.with_medians(cells.gene_names, medians()))
        vocabulary = Vocabulary.of_genes(cells.gene_names, medians())
        with seeded(self.runtime, "geneformer weights", seed):
            network = BertForMaskedLM(network_config(self.settings, vocabulary.size))
        return Parameters(on_device(network, self.runtime), vocabulary)

    def _train(
        self, parameters: Parameters, tokens: TokenRows, validation: TokenRows, seed: int
    ) -> tuple[Parameters, History]:
        """Parameters after training, and what happened; where they are frozen, nothing."""
        if self.settings.is_frozen:
            return parameters, History(stop_reason="frozen")
        if self.runtime.n_devices > 1:
            return train_on_several(Order(parameters, tokens, validation, self.settings, self.runtime, seed))
        with seeded(self.runtime, "geneformer dropout", seed, 0):
            training = Training(
                network=parameters.network,
                masking=Masking.of(parameters.vocabulary, self.settings.mask_fraction),
                tokens=tokens,
                validation=validation,
                settings=self.settings,
                seed=seed,
                runtime=self.runtime,
                optimiser=OneDevice(parameters.network, self.settings),
            )
            history = training.run()
        return parameters, replace(history, peak_device_memory_mib=peak_device_memory_mib(self.runtime))

    @contextmanager
    def _token_files(self) -> Iterator[Callable[[CountRows, Parameters], TokenRows]]:
        """Writes tokens of cells to files that are removed at the end."""
        with tempfile.TemporaryDirectory(dir=self.runtime.scratch) as folder:
            files = (Path(folder) / f"tokens{i}.bin" for i in count())

            def write(cells: CountRows, parameters: Parameters) -> TokenRows:
                table = parameters.vocabulary.table(cells.gene_names)
                return write_tokens(cells, table, next(files), max_length=self._max_length(parameters))

            yield write

    def _max_length(self, parameters: Parameters) -> int:
        """Genes of a cell that the network has places for."""
        places = min(self.settings.max_length, int(parameters.network.config.max_position_embeddings))
        return places - len(parameters.vocabulary.frame)

    def _fitted(self) -> Parameters:
        if self._parameters is None:
            raise MeasurementError(
                "The model has no parameters yet. Call fit, initialise or load before embed or save."
            )
        return self._parameters


def require_tokens(tokens: TokenRows, validation: TokenRows, settings: Geneformer) -> None:
    """Raise MeasurementError where no cell has a gene with a token, or where nothing would end the training."""
    if tokens.nonempty().size == 0:
        raise MeasurementError(
            f"none of the {tokens.keys.size} training cells has a count at this noise level: there is nothing to"
            " train on. Raise the lowest noise level, or train on more cells."
        )
    if validation.nonempty().size == 0 and settings.max_steps is None and not settings.is_frozen:
        raise MeasurementError(
            f"none of the {validation.keys.size} validation cells has a count at this noise level: without early"
            " stopping the published budget is ten thousand passes or more. Raise validation_fraction or the lowest"
            " noise level, or set max_steps."
        )
