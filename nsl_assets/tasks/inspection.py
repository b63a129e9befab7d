"""Checks of a task before anything runs: it goes on after an error, so that all of them are found at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.association import MOST_LEVELS, association, is_technical
from nsl_assets.tasks.auxiliary import Auxiliary, read_auxiliary
from nsl_assets.tasks.cell_plan import plan_cells
from nsl_assets.tasks.file_inspection import FileInspection
from nsl_assets.tasks.findings import (
    Finding,
    auxiliary_findings,
    batch_findings,
    class_coverage_findings,
    library_size_findings,
    pair_findings,
    split_findings,
)
from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.pair_inspection import PairInspection
from nsl_assets.tasks.pair_settings import ClonalPairs, SpatialPairs
from nsl_assets.tasks.settings import H5adTask, SimulatedCells
from nsl_assets.tasks.simulated import cell_model, simulated_names
from nsl_assets.tasks.split import PROBE, split_cells
from nsl_assets.tasks.truth import SimulationTruth


def inspect(settings: H5adTask | ClonalPairs | SpatialPairs | SimulatedCells) -> list[Finding]:
    """All findings about a task, in reading order. Bad input is a finding of level "error", never raised."""
    if isinstance(settings, SimulatedCells):
        return _inspect_simulated(settings)
    try:
        with open_h5ad(settings.path) as file:
            if isinstance(settings, H5adTask):
                return _H5adInspection(file, settings).run()
            return PairInspection(file, settings).run()
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


class _H5adInspection(FileInspection[H5adTask]):
    """Findings of a task whose auxiliary signal is a column or a matrix of the file."""

    def run(self) -> list[Finding]:
        umis = self.look_at_file()
        auxiliary = self.attempt("auxiliary", self._auxiliary)
        roles = self.attempt("split", self._split)
        if auxiliary is not None and roles is not None:
            self.add(pair_findings(int(np.count_nonzero(auxiliary.is_observed & (roles == PROBE)))))
            self.add(class_coverage_findings(auxiliary, roles))
        if auxiliary is not None:
            self._confounding(auxiliary)
        if auxiliary is not None and umis is not None:
            self.add(library_size_findings(auxiliary, umis))
        return self.findings

    def _auxiliary(self) -> Auxiliary:
        auxiliary = read_auxiliary(self.file, self.settings).take(self.kept)
        self.add(auxiliary_findings(auxiliary, self.settings))
        return auxiliary

    def _split(self) -> npt.NDArray[np.int8]:
        plan, key = plan_cells(self.file, self.settings), self.settings.group
        if key is not None:
            n_alone = int(self.file.obs(key).isna().to_numpy()[self.kept].sum())
            if n_alone:
                message = f"{n_alone:,} cells have no {key}: each is a group of its own in the split"
                self.add([Finding("warning", "split", message)])
        self.add(split_findings(plan.roles, plan.n_groups, self.settings))
        return plan.roles

    def _confounding(self, auxiliary: Auxiliary) -> None:
        for column in filter(is_technical, self.file.obs_keys):
            if f"obs:{column}" == self.settings.auxiliary:
                continue
            levels = self.file.obs(column).astype("category").cat.codes.to_numpy()[self.kept]
            n_levels = np.unique(levels[levels >= 0]).size
            if 2 <= n_levels <= MOST_LEVELS:
                strength = association(auxiliary, levels)
                self.add(batch_findings(column, n_levels, strength, auxiliary, self.settings))
