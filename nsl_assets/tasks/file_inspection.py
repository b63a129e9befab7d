"""What is checked of every file, whatever its auxiliary signal: content, counts, names, total UMIs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.base_settings import FileTask
from nsl_assets.tasks.findings import Finding, depth_findings
from nsl_assets.tasks.h5ad import H5adFile
from nsl_assets.tasks.h5ad_task import check_names, kept_cells, read_total_umis, suggestion
from nsl_assets.tasks.matrix import Matrix, NotCountsError
from nsl_assets.tasks.total_umis import require_totals

T = TypeVar("T")
SettingsT = TypeVar("SettingsT", bound=FileTask)

MOST_SCANNED_ENTRIES: Final = 100_000_000
"""A larger matrix is looked at in blocks spread over the file; the run itself checks every value."""


class FileInspection(Generic[SettingsT]):
    """Findings of one open file. Each check stands alone; a later one uses what an earlier one could read."""

    def __init__(self, file: H5adFile, settings: SettingsT) -> None:
        self.file, self.settings = file, settings
        self.findings: list[Finding] = []
        self.cell_names = file.cell_names()
        self.kept = kept_cells(self.cell_names, settings)

    def attempt(self, topic: str, check: Callable[[], T]) -> T | None:
        """What the check returns; None, and a finding, where it finds an error."""
        try:
            return check()
        except InputError as error:
            if all(finding.message != str(error) for finding in self.findings):
                self.findings.append(Finding("error", topic, str(error)))
            return None

    def add(self, findings: Iterable[Finding]) -> None:
        """Note findings."""
        self.findings.extend(findings)

    def look_at_file(self) -> npt.NDArray[np.float64] | None:
        """Check content, counts, names and totals. UMIs of the cells that take part, (n_kept,), where all were read."""
        if self.settings.sha256 is not None:
            self.attempt("file", self.settings.content_sha256)
        umis = self.attempt("counts", self._counts)
        self.attempt("names", lambda: check_names(self.cell_names, "Cell", "obs"))
        self.attempt("depth", lambda: self._total_umis(umis))
        return umis

    def _counts(self) -> npt.NDArray[np.float64] | None:
        """UMIs of the cells that take part, (n_kept,), or None where only some blocks were looked at."""
        matrix = self.file.matrix(self.settings.layer)
        self.attempt("names", lambda: check_names(matrix.gene_names, "Gene", "var"))
        bounds = matrix.block_bounds()
        every = max(1, -(-matrix.n_entries // MOST_SCANNED_ENTRIES))
        try:
            umis, largest = _scan(matrix, bounds[::every])
        except NotCountsError as error:
            raise InputError(f"{error} {suggestion(self.file, self.settings.layer)}") from error
        looked_at = ~np.isnan(umis) & self.kept
        self.add([_matrix_finding(matrix, largest, len(bounds[::every]), len(bounds))])
        is_total_known = self.settings.total_umis is not None
        self.add(depth_findings(umis[looked_at], matrix.shape[1], is_total_known=is_total_known))
        return umis[self.kept] if every == 1 else None

    def _total_umis(self, umis: npt.NDArray[np.float64] | None) -> None:
        column = self.settings.total_umis
        if not isinstance(column, str):
            return
        totals = read_total_umis(self.file, column)[self.kept]
        if umis is None or not umis.sum():
            return
        require_totals(totals, umis, self.cell_names[self.kept], column)
        share = umis.sum() / totals.sum()
        message = f"{column}: {totals.mean():,.0f} UMIs per cell over all genes, {share:.1%} of them in these genes"
        self.add([Finding("ok", "depth", message)])


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
