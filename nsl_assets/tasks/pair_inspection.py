"""Checks of tasks of paired cells: clones and their time points, places and neighbours, numbers of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nsl_assets.tasks.cell_plan import CellPlan, plan_cells, probed_neighbours, read_pairing
from nsl_assets.tasks.clones import Clones, clones_at_one_time, read_clones
from nsl_assets.tasks.file_inspection import FileInspection
from nsl_assets.tasks.findings import FEWEST_PAIRS, Finding, pair_findings, some, split_findings, split_sizes
from nsl_assets.tasks.neighbourhood import nearest_cells, read_coordinates, read_sections
from nsl_assets.tasks.pair_settings import ClonalPairs, SpatialPairs
from nsl_assets.tasks.pairing import EARLY, LATE, NEITHER, Probed
from nsl_assets.tasks.reference import require_enough
from nsl_assets.tasks.split import TRAIN
from nsl_assets.tasks.stages import number_in

ONLY_TRAIN = "their cells train the models and are not measured"
MORE_NEIGHBOURS = "Larger blocks (fewer --blocks), a larger --probe-fraction or more cells give more pairs"
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
        if isinstance(self.settings, ClonalPairs):
            self.add(clonal_pair_findings(self.settings, plan, pairs.rows.size))
        else:
            self.add(pair_findings(pairs.rows.size, "pairs of neighbours are measured", MORE_NEIGHBOURS))
        n_components = self.settings.n_reference_components
        if self.settings.paired_auxiliary == "fixed" and pairs.rows.size < FEW_PAIRS_A_COMPONENT * n_components:
            fewer = max(1, pairs.rows.size // FEW_PAIRS_A_COMPONENT)
            message = (
                f"{n_components} principal components of the partner are many for {pairs.rows.size:,} pairs: fewer of"
                f" them (--reference-components {fewer}) ask for less, and that is measured better"
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
            f" median distance of {distance:.3g} ({unhindered:.3g} if blocks had no borders), in the coordinates' units"
        )
        self.add([Finding("ok", "auxiliary", message)])
        if distance > FARTHER * unhindered:
            message = (
                f"blocks make partners {distance / unhindered - 1:.0%} farther: fewer blocks (--blocks, now"
                f" {settings.n_blocks}) have fewer borders"
            )
            self.add([Finding("warning", "auxiliary", message)])
        n_candidates = np.count_nonzero(among_probed >= 0, axis=1)
        short = plan.names[probed[n_candidates < settings.n_neighbours]]
        if short.size:
            message = (
                f"{short.size:,} probe cells have fewer than {settings.n_neighbours} others in their block,"
                f" {np.count_nonzero(n_candidates == 0):,} have none and no partner: {some(short.tolist())}. Fewer"
                f" blocks (--blocks, now {settings.n_blocks}) are larger, unless sections themselves are so small"
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
        message = f"{len(one_time):,} clones lack early or late cells: {ONLY_TRAIN}: {some(one_time)}"
        yield Finding("note", "auxiliary", message)
    n_without = int(np.count_nonzero(~clones.is_clone))
    if n_without:
        message = f"{n_without:,} cells have no clone: they train the models and are not measured"
        yield Finding("note", "auxiliary", message)
    yield from time_findings(clones, settings)


def time_findings(clones: Clones, settings: ClonalPairs) -> Iterator[Finding]:
    """Cells that are neither early nor late, and time points in the wrong order."""
    others = clones.time_points[clones.times == NEITHER]
    if others.size:
        named = some(sorted({name or "unknown" for name in others.tolist()}))
        message = f"{others.size:,} cells are at other time points ({named}): they are in no pair"
        yield Finding("note", "auxiliary", message)
    early, late = ([number_in(time) for time in times] for times in (settings.early, settings.late))
    known_early, known_late = ([n for n in numbers if n is not None] for numbers in (early, late))
    if known_early and known_late and min(known_late) < max(known_early):
        message = (
            f"the late time point {min(known_late):g} comes before the early one {max(known_early):g}: what is measured"
            " is what descendants say of ancestors. Exchange --early and --late if that is not meant"
        )
        yield Finding("warning", "auxiliary", message)


def clonal_pair_findings(settings: ClonalPairs, plan: CellPlan, n_pairs: int) -> Iterator[Finding]:
    """How many clones are measured, of how many that could be, and how to have more."""
    n_clones = plan.n_pairable or n_pairs
    remedy = (
        f"Measure more of the {n_clones:,} clones that have both (--probe-fraction, now {settings.probe_fraction:g})"
    )
    if n_clones < FEWEST_PAIRS:
        remedy = f"Only {n_clones:,} clones have both: name more time points, or take data of more clones"
    what = "pairs are measured, one early and one late cell of each clone that is not trained on"
    yield from pair_findings(n_pairs, what, remedy)


def _median_distance(places: np.ndarray, rows: np.ndarray, neighbours: np.ndarray) -> float:
    """Over all pairs of a cell and one of its neighbours."""
    distances = np.sqrt(((places[rows][:, None] - places[neighbours]) ** 2).sum(axis=2))[neighbours >= 0]
    return float(np.median(distances)) if distances.size else float("nan")
