"""An affine map of a cell's expression: applied block by block, saved without pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, StorageError
from nsl_assets.models.preprocessing import (
    FloatArray,
    IndexArray,
    in_storage_order,
    log_normalised,
    parts,
    with_values,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.tasks import CountRows

FORMAT: Final = "nsl linear model 1"
_ARRAYS: Final = "model.safetensors"
_DESCRIPTION: Final = "model.json"


@dataclass(frozen=True)
class AffineMap:
    """Embedding = expression of the chosen genes · weights + offset.

    ``genes`` (n_chosen,) are ascending positions among ``n_genes``; ``weights`` (n_chosen, n_dimensions);
    ``offset`` (n_dimensions,). An empty cell is embedded at the offset.
    """

    n_genes: int
    genes: IndexArray
    gene_names: tuple[str, ...]
    weights: FloatArray
    offset: FloatArray
    is_log_normalised: bool = True

    def embed(self, cells: CountRows) -> npt.NDArray[np.float32]:
        """(n_cells, n_dimensions); each cell's row depends on that cell alone."""
        self._check_genes(cells)
        embedding = np.empty((cells.n_cells, self.offset.size), dtype=np.float32)
        stored, order = in_storage_order(cells)
        start = 0
        for part in parts(stored):
            values = self._expression(part) @ self.weights + self.offset
            embedding[order[start : start + len(values)]] = values
            start += len(values)
        return embedding

    def _expression(self, part: csr_array) -> csr_array:
        if self.is_log_normalised:
            return log_normalised(part, None if self.genes.size == self.n_genes else self.genes)
        return with_values(part, part.data.astype(np.float64))

    def _check_genes(self, cells: CountRows) -> None:
        names = tuple(map(str, cells.gene_names[self.genes])) if cells.n_genes == self.n_genes else ()
        if names != self.gene_names:
            raise InputError(
                f"The model was made for {self.n_genes} genes, among them {', '.join(self.gene_names[:3])}; "
                f"the cells to embed have {cells.n_genes} genes, other ones or in another order. Embed cells "
                "of the task that the model was trained on."
            )

    def save(self, folder: Path) -> None:
        """Write arrays as safetensors and the names of the chosen genes as JSON."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"genes": self.genes.astype(np.int64), "weights": self.weights, "offset": self.offset}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _ARRAYS)
        description = {
            "format": FORMAT,
            "n_genes": self.n_genes,
            "is_log_normalised": self.is_log_normalised,
            "gene_names": self.gene_names,
        }
        (folder / _DESCRIPTION).write_text(json.dumps(description, indent=1))

    @classmethod
    def load(cls, folder: Path) -> AffineMap:
        """Read a folder that `save` wrote. Raises StorageError for anything else."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            description = json.loads((folder / _DESCRIPTION).read_text())
            return _from_saved(description, load_file(folder / _ARRAYS))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise StorageError(
                f"{folder} does not hold a saved linear model ({type(error).__name__}: {error}). Delete the "
                "folder and train again."
            ) from error


def affine_map(
    cells: CountRows,
    weights: FloatArray,
    *,
    genes: IndexArray | None = None,
    centre: FloatArray | None = None,
    is_log_normalised: bool = True,
) -> AffineMap:
    """The map (expression - centre) · weights of the chosen genes (None: all), for cells of this task."""
    chosen = np.arange(cells.n_genes) if genes is None else genes
    names = tuple(map(str, cells.gene_names[chosen]))
    offset = np.zeros(weights.shape[1]) if centre is None else -(centre @ weights)
    return AffineMap(cells.n_genes, chosen, names, weights, offset, is_log_normalised)


def _from_saved(description: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> AffineMap:
    if description["format"] != FORMAT:
        raise ValueError(f"format {description['format']!r} instead of {FORMAT!r}")
    return AffineMap(
        n_genes=int(description["n_genes"]),
        genes=arrays["genes"].astype(np.intp),
        gene_names=tuple(description["gene_names"]),
        weights=arrays["weights"],
        offset=arrays["offset"],
        is_log_normalised=bool(description["is_log_normalised"]),
    )
