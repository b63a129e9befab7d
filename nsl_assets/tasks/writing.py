"""Makes the canonical folders of a task, and says what their content depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256
from nsl_assets.tasks.count_writing import CHUNK_ENTRIES, write_counts
from nsl_assets.tasks.h5ad import H5adFile, open_h5ad
from nsl_assets.tasks.h5ad_task import (
    check_names,
    count_blocks,
    kept_cells,
    read_groups,
    read_h5ad_auxiliary,
    suggestion,
)
from nsl_assets.tasks.matrix import NotCountsError
from nsl_assets.tasks.settings import H5adTask, SimulatedCells
from nsl_assets.tasks.simulated import cell_model, simulated_auxiliary, simulated_counts, simulated_names
from nsl_assets.tasks.split import ROLE_NAMES, split_cells
from nsl_assets.tasks.task import CELLS, COUNTS, GENES, SIMULATION, write_table

CODE_VERSION: Final = "1"
"""Changes whenever the same settings would give other counts, splits or auxiliaries."""

_AUXILIARY_FIELDS: Final = ("auxiliary", "auxiliary_kind", "auxiliary_transform", "unknown_labels")


def data_identity(settings: H5adTask | SimulatedCells) -> dict[str, Any]:
    """What decides counts and split, as JSON: for a file its content, not its path."""
    identity = settings.identity()
    if isinstance(settings, H5adTask):
        del identity["path"]
        identity = {key: value for key, value in identity.items() if key not in _AUXILIARY_FIELDS}
        identity["file_sha256"] = file_sha256(settings.path)
    return {"code_version": CODE_VERSION, **identity}


def auxiliary_identity(settings: H5adTask | SimulatedCells) -> dict[str, Any]:
    """What decides the auxiliary signal, as JSON."""
    identity = settings.identity()
    if isinstance(settings, H5adTask):
        identity = {"kind": settings.kind, **{key: identity[key] for key in _AUXILIARY_FIELDS}}
        identity["file_sha256"] = file_sha256(settings.path)
    else:
        fields = ("kind", "n_cells", "latent_dimensions", "correlation", "seed")
        identity = {key: identity[key] for key in fields}
    return {"code_version": CODE_VERSION, **identity}


def write_data(settings: H5adTask | SimulatedCells, folder: Path, *, chunk_entries: int | None = None) -> None:
    """Write counts, cells with their roles, and genes into an existing folder.

    Raises InputError where the data cannot be used.
    """
    chunk_entries = chunk_entries or CHUNK_ENTRIES
    if isinstance(settings, SimulatedCells):
        _write_simulated(settings, folder, chunk_entries)
    else:
        with open_h5ad(settings.path) as file:
            _write_h5ad(file, settings, folder, chunk_entries)


def write_auxiliary(settings: H5adTask | SimulatedCells, folder: Path) -> None:
    """Write the auxiliary signal of all cells into an existing folder. Raises InputError as `write_data`."""
    if isinstance(settings, SimulatedCells):
        cell_names, auxiliary = simulated_names(settings)[0], simulated_auxiliary(settings)
    else:
        cell_names, auxiliary = read_h5ad_auxiliary(settings)
    write_table(folder / CELLS, name=cell_names)
    auxiliary.save(folder)


def _write_simulated(settings: SimulatedCells, folder: Path, chunk_entries: int) -> None:
    cell_names, gene_names = simulated_names(settings)
    roles = split_cells(cell_names, None, settings)
    write_table(folder / CELLS, name=cell_names, role=np.array(ROLE_NAMES)[roles])
    write_table(folder / GENES, name=gene_names)
    cell_model(settings).save(folder / SIMULATION)
    blocks = simulated_counts(settings)
    write_counts(folder / COUNTS, blocks, settings.n_genes, chunk_entries=chunk_entries)


def _write_h5ad(file: H5adFile, settings: H5adTask, folder: Path, chunk_entries: int) -> None:
    matrix = file.matrix(settings.layer)
    check_names(matrix.cell_names, "Cell", "obs")
    check_names(matrix.gene_names, "Gene", "var")
    kept = kept_cells(matrix.cell_names, settings)
    names = matrix.cell_names[kept]
    groups = None
    if settings.group is not None:
        groups = read_groups(file, settings.group, matrix.cell_names)[kept]
    roles = np.array(ROLE_NAMES)[split_cells(names, groups, settings)]
    write_table(folder / CELLS, name=names, role=roles, **({} if groups is None else {"group": groups}))
    write_table(folder / GENES, name=matrix.gene_names)
    try:
        blocks = count_blocks(matrix, kept)
        write_counts(folder / COUNTS, blocks, matrix.shape[1], chunk_entries=chunk_entries)
    except NotCountsError as error:
        raise InputError(f"{error} {suggestion(file, settings.layer)}") from error
