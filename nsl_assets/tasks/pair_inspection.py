"""Checks of tasks of paired cells: clones and their time points, places and neighbours, numbers of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nsl_assets.tasks.cell_plan import CellPlan, plan_cells, probed_neighbours, read_pairing
from nsl_assets.tasks.clones import Clones, clones_at_one_time, read_clones
from nsl_assets.tasks.file_inspection import FileInspection
from nsl_assets.tasks.findings import Finding, pair_findings, some, split_findings, split_sizes
from nsl_assets.tasks.neighbourhood import nearest_cells, read_coordinates, read_sections
from nsl_assets.tasks.pair_settings import ClonalPairs, SpatialPairs
from nsl_assets.tasks.pairing import EARLY, LATE, Probed
from nsl_assets.tasks.reference import require_enough
from nsl_assets.tasks.split import TRAIN

FEW_PAIRS_A_COMPONENT = 20
FARTHER = 1.1
"""Blocks that make partners farther by this factor are pointed out."""


class PairInspection(FileInspection[ClonalPairs | SpatialPairs]):
    """Findings of a task whose auxiliary signal is another cell."""

    def run(self) -> list[Finding]:
        """All findings, in reading order."""
        self.look_at_file()
        settings = self.settings
        if isinstance(settings, ClonalPairs):
            self.attempt("auxiliary", lambda: self._clones(settings))
        plan = self.attempt("split", lambda: plan_cells(self.file, self.settings))
        if plan is None:
            return self.findings
        self._split(plan)
        if isinstance(settings, SpatialPairs):
            self._neighbours(settings, plan)
        self._pairs(plan)
        if settings.paired_auxiliary == "fixed":
            self.attempt("auxiliary", lambda: self._reference(plan))
        return self.findings

    def _clones(self, settings: ClonalPairs) -> None:
        clones = read_clones(self.file, settings).take(self.kept)
        self.add(clone_findings(clones, settings))

    def _split(self, plan: CellPlan) -> None:
        if isinstance(self.settings, ClonalPairs):
            self.add([split_sizes(plan.roles, plan.n_groups)])
        else:
            self.add(split_findings(plan.roles, plan.n_groups, self.settings))
        if self.settings.probe_overlap:
            message = "all cells are probed, those that models train on included, as published: information is inflated"
            self.add([Finding("warning", "split", message)])

    def _pairs(self, plan: CellPlan) -> None:
        pairing = read_pairing(self.file, self.settings, plan)
        if pairing is None:
            return
        rows = np.flatnonzero(plan.is_probed)
        pairs = pairing.draw(Probed(rows, plan.names[rows], plan.group_codes()[rows]), seed=0, level=1.0)
        what = "pairs are probed, one of each clone" if isinstance(self.settings, ClonalPairs) else "pairs are probed"
        self.add(pair_findings(pairs.rows.size, what))
        n_components = self.settings.n_reference_components
        if self.settings.paired_auxiliary == "fixed" and pairs.rows.size < FEW_PAIRS_A_COMPONENT * n_components:
            message = (
                f"{n_components} components of the partner are many for {pairs.rows.size:,} pairs: with fewer of them"
                " (--reference-components) less is asked, and that is measured better"
            )
            self.add([Finding("warning", "pairs", message)])

    def _reference(self, plan: CellPlan) -> None:
        n_genes = self.file.matrix(self.settings.layer).shape[1]
        require_enough(n_genes, int(np.count_nonzero(plan.roles == TRAIN)), self.settings.n_reference_components)

    def _neighbours(self, settings: SpatialPairs, plan: CellPlan) -> None:
        places = read_coordinates(self.file, settings)[plan.kept]
        sections = read_sections(self.file, settings)[plan.kept]
        probed = np.flatnonzero(plan.is_probed)
        among_probed = probed_neighbours(self.file, settings, plan)[probed]
        among_all = nearest_cells(places, sections, plan.names, settings.n_neighbours)[probed]
        distance, unhindered = (_median_distance(places, probed, rows) for rows in (among_probed, among_all))
        message = (
            f"{settings.coordinates}: {places.shape[1]} columns, {np.unique(sections.astype(str)).size} section(s),"
            f" {plan.n_groups:,} blocks; the partner is one of the {settings.n_neighbours} nearest of the block, at a"
            f" median distance of {distance:.3g} ({unhindered:.3g} if blocks had no borders)"
        )
        self.add([Finding("ok", "auxiliary", message)])
        if distance > FARTHER * unhindered:
            message = f"blocks make partners {distance / unhindered - 1:.0%} farther: fewer n_blocks have fewer borders"
            self.add([Finding("warning", "auxiliary", message)])
        n_candidates = np.count_nonzero(among_probed >= 0, axis=1)
        short = plan.names[probed[n_candidates < settings.n_neighbours]]
        if short.size:
            message = (
                f"{short.size:,} probe cells have fewer than {settings.n_neighbours} others in their block,"
                f" {np.count_nonzero(n_candidates == 0):,} have none and no partner: {some(short.tolist())}. Fewer"
                " n_blocks make larger blocks"
            )
            self.add([Finding("warning", "pairs", message)])


def clone_findings(clones: Clones, settings: ClonalPairs) -> Iterator[Finding]:
    """How many clones there are, at which times, and how many of them say nothing."""
    names, sizes = np.unique(clones.names[clones.is_clone].astype(str), return_counts=True)
    early, late = (int(np.count_nonzero(clones.is_clone & (clones.times == time))) for time in (EARLY, LATE))
    one_time = list(clones_at_one_time(clones))
    largest = f", the largest {names[np.argmax(sizes)]} with {sizes.max():,}" if sizes.size else ""
    message = (
        f"{settings.clone}: {names.size:,} clones in {sizes.sum():,} cells{largest}; {early:,} cells early"
        f" ({', '.join(settings.early)}), {late:,} late ({', '.join(settings.late)});"
        f" {names.size - len(one_time):,} clones have both"
    )
    yield Finding("ok", "auxiliary", message)
    if one_time:
        message = f"{len(one_time):,} clones lack early or late cells: they train, none is probed: {some(one_time)}"
        yield Finding("note", "auxiliary", message)
    n_without = int(np.count_nonzero(~clones.is_clone))
    if n_without:
        yield Finding("note", "auxiliary", f"{n_without:,} cells have no clone: they train, none is probed")


def _median_distance(places: np.ndarray, rows: np.ndarray, neighbours: np.ndarray) -> float:
    """Over all pairs of a cell and one of its neighbours."""
    distances = np.sqrt(((places[rows][:, None] - places[neighbours]) ** 2).sum(axis=2))[neighbours >= 0]
    return float(np.median(distances)) if distances.size else float("nan")
