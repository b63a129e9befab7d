"""An opened task: counts, cells with their roles, and the auxiliary signal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, StorageError
from nsl_assets.randomness import identity_keys, keyed_order
from nsl_assets.tasks.auxiliary import Auxiliary, load_auxiliary
from nsl_assets.tasks.counts import CountRows, CountStore, open_counts
from nsl_assets.tasks.pairing import Pairing, Pairs, Probed, load_pairing
from nsl_assets.tasks.simulated import load_cell_model
from nsl_assets.tasks.split import PROBE, ROLE_NAMES, TRAIN, VALIDATION
from nsl_assets.tasks.truth import SimulationTruth

COUNTS: Final = "counts.zarr"
CELLS: Final = "cells.parquet"
GENES: Final = "genes.parquet"
SIMULATION: Final = "simulation.json"


@dataclass(frozen=True, eq=False)
class Task:
    """Counts of cells, what each cell is for, and the auxiliary signal.

    Attributes
    ----------
    counts
        All cells at the measured depth.
    cell_names, gene_names
        (n_cells,) and (n_genes,) str objects.
    auxiliary
        Of all cells, in the order of `cell_names`.
    group
        Codes (n_cells,) of the groups that stay together, or None.
    role
        TRAIN, VALIDATION or PROBE, (n_cells,).
    simulation
        The known answer, for simulated cells.
    pairing
        Who is paired with whom, where the signal of a cell is another cell.
    is_probed
        (n_cells,) cells that are measured, where they are not those of the role PROBE: as published, all of them.
    """

    counts: CountStore
    cell_names: npt.NDArray[Any]
    gene_names: npt.NDArray[Any]
    auxiliary: Auxiliary
    group: npt.NDArray[np.int32] | None
    role: npt.NDArray[np.int8]
    simulation: SimulationTruth | None = None
    pairing: Pairing | None = None
    is_probed: npt.NDArray[np.bool_] | None = None

    @property
    def n_train_pool(self) -> int:
        """Cells that may be trained on."""
        return int(np.count_nonzero(self.role == TRAIN))

    def train_rows(self, n_cells: int, seed: int) -> npt.NDArray[np.intp]:
        """Rows (n_cells,) to train on, ascending. Within a seed, a smaller set is part of every larger one.

        Raises InputError where the train pool has fewer cells.
        """
        pool = np.flatnonzero(self.role == TRAIN)
        if not 1 <= n_cells <= pool.size:
            raise InputError(
                f"{n_cells:,} training cells were asked for; the train pool has {pool.size:,} of the "
                f"{self.role.size:,} cells (the others validate and probe). Ask for 1 to {pool.size:,}."
            )
        order = keyed_order(identity_keys(self.cell_names[pool]), "train", seed)
        return np.sort(pool[order[:n_cells]])

    def validation_rows(self) -> npt.NDArray[np.intp]:
        """Rows for early stopping, ascending."""
        return np.flatnonzero(self.role == VALIDATION)

    def probe_rows(self) -> npt.NDArray[np.intp]:
        """Rows to measure on, ascending, whether or not their auxiliary is known."""
        return np.flatnonzero(self.role == PROBE if self.is_probed is None else self.is_probed)

    def pairs(self, seed: int, level: float) -> Pairs:
        """The probed pairs of one seed at one noise level: cells to embed, and whose signal each should know.

        Where cells are not paired: every probed cell whose auxiliary is known, with itself.
        """
        rows = self.probe_rows()
        if self.pairing is None:
            rows = rows[self.auxiliary.is_observed[rows]]
            return Pairs(rows, rows)
        assert self.group is not None
        return self.pairing.draw(Probed(rows, self.cell_names[rows], self.group[rows]), seed=seed, level=level)

    def pair_groups(self, pairs: Pairs) -> npt.NDArray[np.int32] | None:
        """Codes (n_pairs,) of the groups that an estimator keeps on one side of every split; None for none.

        One pair of each clone is as independent as pairs can be: such groups say nothing.
        """
        if self.group is None:
            return None
        groups = self.group[pairs.rows]
        is_alone = self.pairing is not None and np.unique(groups).size == groups.size
        return None if is_alone else groups

    def signal(self, pairs: Pairs, embedding: npt.NDArray[np.float32]) -> Auxiliary:
        """What the embedding of each pair's cell should know, (n_pairs,): its partner's part of the auxiliary.

        `embedding` (n_probe_cells, n_dimensions) is the signal itself where the pairing says "same_model".
        """
        if self.pairing is None or self.pairing.auxiliary == "fixed":
            return self.auxiliary.take(pairs.partners)
        partners = embedding[np.searchsorted(self.probe_rows(), pairs.partners)].astype(np.float64)
        return Auxiliary("continuous", partners, tuple(f"dimension {i + 1}" for i in range(partners.shape[1])))

    def cells(self, rows: npt.NDArray[np.intp], store: CountStore | None = None) -> CountRows:
        """Some cells as a model sees them, from `store` (their thinned counts) or as measured."""
        return CountRows(store or self.counts, rows, self.cell_names[rows], self.gene_names)


def open_task(data_folder: Path, auxiliary_folder: Path) -> Task:
    """Open what `write_data` and `write_auxiliary` wrote.

    Raises StorageError where something is missing or the auxiliary is of other cells.
    """
    cells = read_table(data_folder / CELLS)
    groups = cells.get("group")
    simulation = data_folder / SIMULATION
    probed = cells.get("is_probed")
    return Task(
        counts=open_counts(data_folder / COUNTS),
        cell_names=cells["name"],
        gene_names=read_table(data_folder / GENES)["name"],
        auxiliary=_aligned(auxiliary_folder, cells["name"]),
        group=None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int32),
        role=np.array([ROLE_NAMES.index(role) for role in cells["role"]], dtype=np.int8),
        simulation=SimulationTruth(load_cell_model(simulation)) if simulation.exists() else None,
        pairing=_aligned_pairing(auxiliary_folder, cells["name"]),
        is_probed=None if probed is None else probed == "yes",
    )


def _aligned_pairing(folder: Path, cell_names: npt.NDArray[Any]) -> Pairing | None:
    pairing = load_pairing(folder)
    if pairing is not None and not np.array_equal(read_table(folder / CELLS)["name"], cell_names):
        raise StorageError(f"{folder} pairs other cells: delete it and run again.")
    return pairing


def write_table(path: Path, **columns: npt.NDArray[Any]) -> None:
    """Write columns of text as Parquet."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({name: pa.array(list(column), pa.string()) for name, column in columns.items()}), path)


def read_table(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Columns of text as arrays of str. Raises StorageError where the file is missing or damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"{path} cannot be read: {error}. Delete its folder and run again.") from error
    return {name: np.array(table[name].to_pylist(), dtype=object) for name in table.column_names}


def _aligned(folder: Path, cell_names: npt.NDArray[Any]) -> Auxiliary:
    auxiliary, described = load_auxiliary(folder), read_table(folder / CELLS)["name"]
    if np.array_equal(described, cell_names):
        return auxiliary
    row_of = {name: row for row, name in enumerate(described)}
    rows = np.array([row_of.get(name, -1) for name in cell_names], dtype=np.intp)
    if rows.min() < 0:
        raise StorageError(
            f"{folder} has no auxiliary of cell {cell_names[np.argmin(rows)]!r}: it belongs to other data."
        )
    return auxiliary.take(rows)
