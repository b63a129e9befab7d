"""Makes the canonical folders of a task, and says what their content depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from nsl_assets.errors import InputError
from nsl_assets.tasks.auxiliary import Auxiliary, read_auxiliary
from nsl_assets.tasks.base_settings import FileTask
from nsl_assets.tasks.cell_plan import CellPlan, plan_cells, read_pairing
from nsl_assets.tasks.count_writing import CHUNK_ENTRIES, write_counts
from nsl_assets.tasks.h5ad import H5adFile, open_h5ad
from nsl_assets.tasks.h5ad_task import check_names, count_blocks, suggestion
from nsl_assets.tasks.matrix import NotCountsError
from nsl_assets.tasks.pair_settings import PairedTask
from nsl_assets.tasks.reference import reference_components
from nsl_assets.tasks.settings import H5adTask, SimulatedCells
from nsl_assets.tasks.simulated import cell_model, simulated_auxiliary, simulated_counts, simulated_names
from nsl_assets.tasks.split import PROBE, ROLE_NAMES, TRAIN, split_cells
from nsl_assets.tasks.task import CELLS, COUNTS, GENES, SIMULATION, write_table

CODE_VERSION: Final = "1"
"""Changes whenever the same settings would give other counts, splits or auxiliaries."""


def data_identity(settings: FileTask | SimulatedCells) -> dict[str, Any]:
    """What decides counts and split, as JSON: for a file its content, not its path."""
    identity = settings.identity()
    if isinstance(settings, FileTask):
        del identity["path"]
        identity = {key: value for key, value in identity.items() if key not in settings.AUXILIARY_FIELDS}
        identity["file_sha256"] = settings.content_sha256()
    return {"code_version": CODE_VERSION, **identity}


def auxiliary_identity(settings: FileTask | SimulatedCells) -> dict[str, Any]:
    """What decides the auxiliary signal, and who is paired with whom, as JSON."""
    identity = settings.identity()
    fields: tuple[str, ...] = ("kind", "n_cells", "latent_dimensions", "correlation", "seed")
    if isinstance(settings, FileTask):
        fields = ("kind", *settings.AUXILIARY_FIELDS)
    identity = {key: value for key, value in identity.items() if key in fields}
    if isinstance(settings, FileTask):
        identity["file_sha256"] = settings.content_sha256()
    return {"code_version": CODE_VERSION, **identity}


def write_data(settings: FileTask | SimulatedCells, folder: Path, *, chunk_entries: int | None = None) -> None:
    """Write counts, cells with their roles, and genes into an existing folder.

    Raises InputError where the data cannot be used.
    """
    chunk_entries = chunk_entries or CHUNK_ENTRIES
    if isinstance(settings, SimulatedCells):
        _write_simulated(settings, folder, chunk_entries)
    else:
        with open_h5ad(settings.path) as file:
            _write_h5ad(file, settings, folder, chunk_entries)


def write_auxiliary(settings: FileTask | SimulatedCells, folder: Path) -> None:
    """Write the auxiliary signal of all cells into an existing folder, and who may be paired with whom.

    Raises InputError as `write_data`.
    """
    if isinstance(settings, SimulatedCells):
        write_table(folder / CELLS, name=simulated_names(settings)[0])
        simulated_auxiliary(settings).save(folder)
        return
    with open_h5ad(settings.path) as file:
        if isinstance(settings, H5adTask):
            write_table(folder / CELLS, name=file.cell_names())
            read_auxiliary(file, settings).save(folder)
        elif isinstance(settings, PairedTask):
            _write_pairing(file, settings, folder)


def _write_pairing(file: H5adFile, settings: PairedTask, folder: Path) -> None:
    plan = plan_cells(file, settings)
    write_table(folder / CELLS, name=plan.names)
    pairing = read_pairing(file, settings, plan)
    if pairing is not None:
        pairing.save(folder)
    _paired_auxiliary(file, settings, plan).save(folder)


def _paired_auxiliary(file: H5adFile, settings: PairedTask, plan: CellPlan) -> Auxiliary:
    """Components of the cells at the measured depth; no columns where the model's own embedding is the signal."""
    if settings.paired_auxiliary == "same_model":
        return Auxiliary("continuous", np.empty((plan.names.size, 0)), ())
    matrix, n_components = file.matrix(settings.layer), settings.n_reference_components
    is_train = plan.roles == TRAIN
    components = reference_components(
        lambda: count_blocks(matrix, plan.kept), is_train, matrix.gene_names, n_components
    )
    return Auxiliary("continuous", components, tuple(f"PC{i + 1} of the partner" for i in range(n_components)))


def _write_simulated(settings: SimulatedCells, folder: Path, chunk_entries: int) -> None:
    cell_names, gene_names = simulated_names(settings)
    roles = split_cells(cell_names, None, settings)
    write_table(folder / CELLS, name=cell_names, role=np.array(ROLE_NAMES)[roles])
    write_table(folder / GENES, name=gene_names)
    cell_model(settings).save(folder / SIMULATION)
    blocks = simulated_counts(settings)
    write_counts(folder / COUNTS, blocks, settings.n_genes, chunk_entries=chunk_entries)


def _write_h5ad(file: H5adFile, settings: FileTask, folder: Path, chunk_entries: int) -> None:
    matrix = file.matrix(settings.layer)
    check_names(matrix.cell_names, "Cell", "obs")
    check_names(matrix.gene_names, "Gene", "var")
    plan = plan_cells(file, settings)
    columns = {"name": plan.names, "role": np.array(ROLE_NAMES)[plan.roles]}
    if plan.groups is not None:
        columns["group"] = plan.groups
    if not np.array_equal(plan.is_probed, plan.roles == PROBE):
        columns["is_probed"] = np.where(plan.is_probed, "yes", "no")
    write_table(folder / CELLS, **columns)
    write_table(folder / GENES, name=matrix.gene_names)
    try:
        blocks = count_blocks(matrix, plan.kept)
        write_counts(folder / COUNTS, blocks, matrix.shape[1], chunk_entries=chunk_entries)
    except NotCountsError as error:
        raise InputError(f"{error} {suggestion(file, settings.layer)}") from error
