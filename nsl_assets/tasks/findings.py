"""What a reader should know about counts, auxiliary and split before anything runs, one line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.association import variance_explained
from nsl_assets.tasks.auxiliary import Auxiliary
from nsl_assets.tasks.base_settings import SplitSettings
from nsl_assets.tasks.depth_summary import summarise_depth
from nsl_assets.tasks.settings import H5adTask
from nsl_assets.tasks.split import PROBE, TRAIN, VALIDATION

FEWEST_PAIRS: Final = 50
FEW_PAIRS: Final = 500
CONFOUNDED: Final = 0.5
FEW_CELLS_PER_CLASS: Final = 10
LIKELY_ALL_GENES: Final = 8000
_LIKELY_UNKNOWN: Final = re.compile(
    r"unknown|unassigned|unlabell?ed|undefined|ambiguous|doublets?|na|n/a|nan|none|\?", re.IGNORECASE
)


@dataclass(frozen=True)
class Finding:
    """One line of a check. With an "error" the task cannot run; a "warning" should be read before it does."""

    level: Literal["ok", "note", "warning", "error"]
    topic: str
    message: str


def depth_findings(umis: npt.NDArray[Any], n_genes: int, *, is_total_known: bool = False) -> Iterator[Finding]:
    """UMIs per cell, empty cells, and whether the genes look like a selection."""
    depth = summarise_depth(umis)
    yield Finding("ok", "depth", str(depth))
    if depth.empty_fraction:
        level: Literal["note", "warning"] = "warning" if depth.empty_fraction > 0.01 else "note"
        message = f"{depth.empty_fraction:.2%} of the cells have no UMI at all; they are kept"
        yield Finding(level, "depth", message)
    if n_genes < LIKELY_ALL_GENES and not is_total_known:
        message = (
            f"only {n_genes:,} genes: if they are a panel or a selection, UMIs per cell count these genes "
            "only, and advice in sequencing reads needs the total UMIs per cell (--total-umis)"
        )
        yield Finding("note", "depth", message)


def auxiliary_findings(auxiliary: Auxiliary, settings: H5adTask) -> Iterator[Finding]:
    """What the auxiliary is, and what may be wrong with it."""
    n_known = int(np.count_nonzero(auxiliary.is_observed))
    known = f"known in {n_known:,} of {auxiliary.values.shape[0]:,} cells"
    if auxiliary.kind == "categorical":
        yield from _class_findings(auxiliary, settings, known)
    else:
        columns = some(auxiliary.names)
        message = f"{settings.auxiliary}: continuous, {len(auxiliary.names)} column(s): {columns}; {known}"
        yield Finding("ok", "auxiliary", message)
    if settings.auxiliary.startswith("obsm:X_"):
        message = (
            f"{settings.auxiliary} is named like an embedding: computed from the same counts, it says "
            "nothing about the cells that the counts did not"
        )
        yield Finding("warning", "auxiliary", message)


def _class_findings(auxiliary: Auxiliary, settings: H5adTask, known: str) -> Iterator[Finding]:
    sizes = np.bincount(auxiliary.values[auxiliary.is_observed], minlength=len(auxiliary.names))
    by_size = [f"{auxiliary.names[i]} {sizes[i]:,}" for i in np.argsort(-sizes, kind="stable")]
    message = (
        f"{settings.auxiliary}: {len(by_size)} classes, {known}, entropy {entropy_bits(sizes):.2f} bits "
        f"(no model can exceed it): {some(by_size)}"
    )
    yield Finding("ok", "auxiliary", message)
    unknown = [name for name in auxiliary.names if _LIKELY_UNKNOWN.fullmatch(name)]
    if unknown:
        message = (
            f"class {unknown[0]!r} is measured like any other. If it means that the class is not known: "
            f"unknown_labels = {unknown!r}"
        )
        yield Finding("warning", "auxiliary", message)
    yield from _class_size_findings(auxiliary, sizes)


def _class_size_findings(auxiliary: Auxiliary, sizes: npt.NDArray[Any]) -> Iterator[Finding]:
    small = sizes < FEW_CELLS_PER_CLASS
    if small.sum() > small.size / 2:
        message = (
            f"{small.sum():,} of {small.size:,} classes have fewer than {FEW_CELLS_PER_CLASS} cells: that is "
            "too few to learn a class from. Merge classes, or choose another auxiliary"
        )
        yield Finding("warning", "auxiliary", message)
    elif (sizes == 1).any():
        alone = [auxiliary.names[i] for i in np.flatnonzero(sizes == 1)]
        yield Finding("note", "auxiliary", f"{len(alone)} class(es) with a single cell: {some(alone)}")


def split_findings(roles: npt.NDArray[np.int8], n_groups: int | None, settings: SplitSettings) -> Iterator[Finding]:
    """How many cells train, validate and probe, and whether groups kept that from what was asked."""
    yield split_sizes(roles, n_groups)
    probe = int(np.count_nonzero(roles == PROBE))
    if abs(probe / roles.size - settings.probe_fraction) > 0.1:
        message = (
            f"the probe holds {probe / roles.size:.0%} of the cells, {settings.probe_fraction:.0%} were "
            "asked for: the groups are few or large. Another split_seed draws others"
        )
        yield Finding("warning", "split", message)


def split_sizes(roles: npt.NDArray[np.int8], n_groups: int | None) -> Finding:
    """How many cells train, validate and probe."""
    train, validation, probe = (int(np.count_nonzero(roles == role)) for role in (TRAIN, VALIDATION, PROBE))
    whole = f", {n_groups:,} groups kept whole" if n_groups is not None else ""
    message = f"{train:,} cells to train on, {validation:,} to validate, {probe:,} to probe{whole}"
    return Finding("ok", "split", message)


MEASURE_MORE: Final = "Measure a larger share of the cells (--probe-fraction), or more cells"


def pair_findings(
    n_pairs: int, what: str = "probe cells have a known auxiliary", remedy: str = MEASURE_MORE
) -> Iterator[Finding]:
    """Whether there are enough pairs in the probe. `n_pairs` counts them, `what` follows the number."""
    found = f"{n_pairs:,} {what}"
    if n_pairs < FEWEST_PAIRS:
        message = f"{found}; at least {FEWEST_PAIRS} are needed, {FEW_PAIRS} are advised. {remedy}"
        yield Finding("error", "pairs", message)
    elif n_pairs < FEW_PAIRS:
        message = (
            f"{found}: from fewer than {FEW_PAIRS}, estimates tend to be low and their intervals are wide, so that the"
            f" law and its advice may remain open. {remedy}"
        )
        yield Finding("warning", "pairs", message)
    else:
        yield Finding("ok", "pairs", found)


def class_coverage_findings(auxiliary: Auxiliary, roles: npt.NDArray[np.int8]) -> Iterator[Finding]:
    """Classes that the probe does not hold: they are not measured, and with a single one nothing can be."""
    if auxiliary.kind != "categorical":
        return
    in_probe = set(auxiliary.values[auxiliary.is_observed & (roles == PROBE)].tolist())
    if len(in_probe) == 1:
        only = auxiliary.names[in_probe.pop()]
        message = f"all probe cells are of class {only}: nothing can be measured. Choose other groups or split_seed"
        yield Finding("error", "pairs", message)
        return
    present = sorted(set(auxiliary.values[auxiliary.is_observed].tolist()) - in_probe)
    if present:
        absent = some([auxiliary.names[code] for code in present])
        message = f"{len(present)} class(es) have no cell in the probe and are not measured: {absent}"
        yield Finding("warning", "pairs", message)


def library_size_findings(auxiliary: Auxiliary, umis: npt.NDArray[Any]) -> Iterator[Finding]:
    """Says where the library size goes with the auxiliary."""
    known = auxiliary.is_observed & (umis > 0)
    if np.count_nonzero(known) < FEWEST_PAIRS:
        return
    share, what = _shared_with(np.log(umis[known]), auxiliary.take(known))
    if share > CONFOUNDED:
        message = (
            f"{what} {share:.0%} of the variance of log UMIs per cell: so much can be known without looking "
            "at any gene. Cell types do differ in size, but so do batches"
        )
        yield Finding("warning" if share > 0.8 else "note", "confounding", message)


def _shared_with(log_umis: npt.NDArray[Any], auxiliary: Auxiliary) -> tuple[float, str]:
    if auxiliary.kind == "categorical":
        codes = np.unique(auxiliary.values, return_inverse=True)[1]
        return variance_explained(log_umis, codes), "the classes explain"
    varies = np.flatnonzero(auxiliary.values.std(axis=0) > 0)
    shares = [np.corrcoef(log_umis, auxiliary.values[:, i])[0, 1] ** 2 for i in varies]
    if not shares or np.ptp(log_umis) == 0:
        return 0.0, ""
    best = int(np.argmax(shares))
    return float(shares[best]), f"{auxiliary.names[varies[best]]} shares"


def batch_findings(
    column: str, n_levels: int, strength: float, auxiliary: Auxiliary, settings: H5adTask
) -> Iterator[Finding]:
    """What a technical column with `n_levels` values means for this task."""
    measure = "Cramér's V" if auxiliary.kind == "categorical" else "share of variance"
    found = f"obs:{column} ({n_levels} values) and the auxiliary: {measure} {strength:.2f}"
    advice = f". --group {column} keeps its cells together in the split" if settings.group is None else ""
    if strength > CONFOUNDED:
        message = f"{found}; what is measured may be the batch and not the biology{advice}"
        yield Finding("warning", "confounding", message)
    elif settings.group is None:
        yield Finding("note", "group", found + advice)


def entropy_bits(sizes: npt.NDArray[Any]) -> float:
    """Entropy in bits of classes of these sizes."""
    p = sizes[sizes > 0] / sizes.sum()
    return float(-(p * np.log2(p)).sum())


def some(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
