"""Checks of a task before anything runs: it goes on after an error, so that all of them are found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.association import MOST_LEVELS, association, is_technical
from nsl_assets.tasks.auxiliary import Auxiliary, read_auxiliary
from nsl_assets.tasks.findings import (
    Finding,
    auxiliary_findings,
    batch_findings,
    class_coverage_findings,
    depth_findings,
    library_size_findings,
    pair_findings,
    split_findings,
)
from nsl_assets.tasks.h5ad import H5adFile, open_h5ad
from nsl_assets.tasks.h5ad_task import check_names, kept_cells, read_groups, suggestion
from nsl_assets.tasks.matrix import Matrix, NotCountsError
from nsl_assets.tasks.settings import H5adTask, SimulatedCells
from nsl_assets.tasks.simulated import cell_model, simulated_names
from nsl_assets.tasks.split import PROBE, split_cells
from nsl_assets.tasks.truth import SimulationTruth

T = TypeVar("T")

MOST_SCANNED_ENTRIES: Final = 100_000_000
"""A larger matrix is looked at in blocks spread over the file; the run itself checks every value."""


def inspect(settings: H5adTask | SimulatedCells) -> list[Finding]:
    """All findings about a task, in reading order. Bad input is a finding of level "error", never raised."""
    if isinstance(settings, SimulatedCells):
        return _inspect_simulated(settings)
    try:
        with open_h5ad(settings.path) as file:
            return _Inspection(file, settings).run()
    except InputError as error:
        return [Finding("error", "file", str(error))]


def _inspect_simulated(settings: SimulatedCells) -> list[Finding]:
    truth = SimulationTruth(cell_model(settings))
    roles = split_cells(simulated_names(settings)[0], None, settings)
    return [
        Finding("ok", "counts", f"{settings.n_cells:,} simulated cells x {settings.n_genes:,} genes"),
        Finding("ok", "depth", f"{settings.umis_per_cell:,.0f} UMIs per cell on average"),
        Finding("ok", "auxiliary", f"continuous, {settings.latent_dimensions} column(s), known in all cells"),
        Finding("note", "truth", f"infinitely deep counts would hold {truth.ceiling_bits:.2f} bits"),
        *split_findings(roles, None, settings),
        *pair_findings(int(np.count_nonzero(roles == PROBE))),
    ]


class _Inspection:
    """Findings of one open file. Each check stands alone; a later one uses what an earlier one could read."""

    def __init__(self, file: H5adFile, settings: H5adTask) -> None:
        self.file, self.settings = file, settings
        self.findings: list[Finding] = []
        self.cell_names = file.cell_names()
        self.kept = kept_cells(self.cell_names, settings)

    def run(self) -> list[Finding]:
        umis = self._attempt("counts", self._counts)
        self._attempt("names", lambda: check_names(self.cell_names, "Cell", "obs"))
        auxiliary = self._attempt("auxiliary", self._auxiliary)
        roles = self._attempt("split", self._split)
        if auxiliary is not None and roles is not None:
            self._add(pair_findings(int(np.count_nonzero(auxiliary.is_observed & (roles == PROBE)))))
            self._add(class_coverage_findings(auxiliary, roles))
        if auxiliary is not None:
            self._confounding(auxiliary)
        if auxiliary is not None and umis is not None:
            self._add(library_size_findings(auxiliary, umis))
        return self.findings

    def _attempt(self, topic: str, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except InputError as error:
            self.findings.append(Finding("error", topic, str(error)))
            return None

    def _add(self, findings: Iterable[Finding]) -> None:
        self.findings.extend(findings)

    def _counts(self) -> npt.NDArray[np.float64] | None:
        """UMIs of the cells that take part, (n_kept,), or None where only some blocks were looked at."""
        matrix = self.file.matrix(self.settings.layer)
        self._attempt("names", lambda: check_names(matrix.gene_names, "Gene", "var"))
        bounds = matrix.block_bounds()
        every = max(1, -(-matrix.n_entries // MOST_SCANNED_ENTRIES))
        try:
            umis, largest = _scan(matrix, bounds[::every])
        except NotCountsError as error:
            raise InputError(f"{error} {suggestion(self.file, self.settings.layer)}") from error
        looked_at = ~np.isnan(umis) & self.kept
        self._add([_matrix_finding(matrix, largest, len(bounds[::every]), len(bounds))])
        self._add(depth_findings(umis[looked_at], matrix.shape[1]))
        return umis[self.kept] if every == 1 else None

    def _auxiliary(self) -> Auxiliary:
        auxiliary = read_auxiliary(self.file, self.settings).take(self.kept)
        self._add(auxiliary_findings(auxiliary, self.settings))
        return auxiliary

    def _split(self) -> npt.NDArray[np.int8]:
        groups, key = None, self.settings.group
        if key is not None:
            groups = read_groups(self.file, key, self.cell_names)[self.kept]
            n_alone = int(self.file.obs(key).isna().to_numpy()[self.kept].sum())
            if n_alone:
                message = f"{n_alone:,} cells have no {key}: each is a group of its own in the split"
                self._add([Finding("warning", "split", message)])
        roles = split_cells(self.cell_names[self.kept], groups, self.settings)
        self._add(split_findings(roles, None if groups is None else np.unique(groups).size, self.settings))
        return roles

    def _confounding(self, auxiliary: Auxiliary) -> None:
        for column in filter(is_technical, self.file.obs_keys):
            if f"obs:{column}" == self.settings.auxiliary:
                continue
            levels = self.file.obs(column).astype("category").cat.codes.to_numpy()[self.kept]
            n_levels = np.unique(levels[levels >= 0]).size
            if 2 <= n_levels <= MOST_LEVELS:
                strength = association(auxiliary, levels)
                self._add(batch_findings(column, n_levels, strength, auxiliary, self.settings))


def _scan(matrix: Matrix, bounds: list[tuple[int, int]]) -> tuple[npt.NDArray[np.float64], int]:
    """UMIs per cell (n_cells,), NaN where not looked at, and the largest count."""
    umis = np.full(matrix.shape[0], np.nan)
    largest = 0
    for (start, stop), block in zip(bounds, matrix.count_blocks(bounds), strict=True):
        umis[start:stop] = block.sum(axis=1)
        largest = max(largest, int(block.data.max(initial=0)))
    return umis, largest


def _matrix_finding(matrix: Matrix, largest: int, n_scanned: int, n_blocks: int) -> Finding:
    scanned = "all values" if n_scanned == n_blocks else f"all values in {n_scanned} of {n_blocks} blocks"
    shape = f"{matrix.label}: {matrix.shape[0]:,} cells x {matrix.shape[1]:,} genes"
    if largest <= 1:
        message = f"{shape}, no value above 1: the counts may have been made binary"
        return Finding("warning", "counts", message)
    memory = "; stored by gene (CSC), so it is converted in memory" if matrix.storage == "csc" else ""
    return Finding("ok", "counts", f"{shape}, {scanned} are counts, the largest {largest:,}{memory}")
