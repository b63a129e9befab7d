"""Clonally barcoded blood progenitors in culture (LARRY, Weinreb et al. 2020): counts out of normalised values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nsl_assets.datasets.counts_file import writing
from nsl_assets.datasets.definition import DataSet, Work
from nsl_assets.datasets.inversion import Inverted, rounded, truncated
from nsl_assets.datasets.progress import Advance
from nsl_assets.datasets.source_file import Address, SourceFile
from nsl_assets.errors import InputError
from nsl_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

COUNTS: Final = "stateFate_inVitro_normed_counts.mtx.gz"
GENES: Final = "stateFate_inVitro_gene_names.txt.gz"
CLONES: Final = "stateFate_inVitro_clone_matrix.mtx.gz"
CELLS: Final = "stateFate_inVitro_metadata.txt.gz"
_COLUMNS: Final = {
    "Library": "library",
    "Cell barcode": "barcode",
    "Time point": "day",
    "Starting population": "starting_population",
    "Cell type annotation": "cell_type",
    "Well": "well",
}
_BLOCK_CELLS: Final = 4096
_KLEIN_LAB: Final = "https://kleintools.hms.harvard.edu/paper_websites/state_fate2020/"
_GEO: Final = "https://ftp.ncbi.nlm.nih.gov/geo/samples/GSM4185nnn/GSM4185642/suppl/GSM4185642_"
_PAGE: Final = "https://github.com/AllonKleinLab/paper-data"


class LarryOptions(Settings):
    """How normalised values become counts again."""

    inversion: Literal["rounded", "truncated"] = "rounded"
    """"rounded": by the unit that makes all values of a cell whole, and checked. "truncated" (published): over the
    smallest value of the cell, decimals cut off."""

    tolerance: float = Field(0.1, gt=0, lt=0.5)
    """Largest distance of a value from a whole number, in counts, that is taken for lost digits; for "rounded"."""


def make(work: Work) -> None:
    """Write counts in X and day, clone (missing where there is none), cell type and well in obs."""
    cells = _read_cells(work.sources.path(CELLS))
    genes = _read_genes(work.sources.path(GENES))
    values = _read_matrix(work.sources.path(COUNTS), len(cells), genes.size)
    work.require_shape(len(cells), genes.size, work.sources.path(COUNTS))
    cells["clone"], n_in_several = _clones(_read_matrix(work.sources.path(CLONES), len(cells), None))
    largest_residual, n_above_one = 0.0, 0
    with writing(work.output, genes) as file:
        for start in range(0, len(cells), _BLOCK_CELLS):
            block = values[start : start + _BLOCK_CELLS]
            if work.options.inversion == "truncated":
                file.append(truncated(block))
            else:
                inverted = _inverted(block, cells.index[start:].to_numpy(), genes, work)
                largest_residual = max(largest_residual, float(inverted.residual.max(initial=0)))
                n_above_one += int(np.count_nonzero(inverted.smallest > 1))
                file.append(inverted.counts)
            work.report(Advance("recovering counts", start + block.shape[0], len(cells), "cells"))
        found: dict[str, float] = {"n_cells_in_several_clones": n_in_several}
        if work.options.inversion == "rounded":
            found |= {"largest_residual": largest_residual, "n_cells_whose_smallest_count_is_above_1": n_above_one}
        file.finish(cells, provenance=work.provenance | found)


def _inverted(block: csr_array, names: npt.NDArray[Any], genes: npt.NDArray[Any], work: Work) -> Inverted:
    inverted = rounded(block, work.options.tolerance)
    far = np.flatnonzero(inverted.residual > work.options.tolerance)
    if far.size:
        row = int(far[np.argmax(inverted.residual[far])])
        span = slice(block.indptr[row], block.indptr[row + 1])
        counts, values = inverted.counts.data[span], block.data[span]
        unit = float(counts @ values) / float(counts @ counts)
        worst = int(np.argmax(np.abs(values / unit - counts)))
        gene = genes[block.indices[span][worst]]
        raise InputError(
            f"{work.sources.path(COUNTS)}: the values of cell {names[row]} are no multiples of one number: gene {gene}"
            f" would have {values[worst] / unit:.3f} counts ({far.size:,} such cell(s) in this block). These are no"
            " normalised counts, or they were rounded further; `tolerance` allows more."
        )
    return inverted


def _read_cells(path: Path) -> pd.DataFrame:
    """Table of the cells, named LIBRARY:BARCODE."""
    import pandas as pd
    from anndata.utils import make_index_unique

    table = _read_table(path, header=0)
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    cells = table[list(_COLUMNS)].rename(columns=_COLUMNS)
    days = pd.to_numeric(cells["day"], errors="coerce")
    if days.isna().any():
        row = int(np.argmax(days.isna().to_numpy()))
        raise InputError(
            f"{path}: the time point of record {row + 1:,} is {cells['day'].iloc[row]!r}: a day is needed."
        )
    names = cells["library"].astype(str) + ":" + cells["barcode"].astype(str)
    cells["day"] = days.astype(np.float64)
    for name in ("library", "starting_population", "cell_type", "well"):
        cells[name] = cells[name].astype(str).astype("category")
    return cells.drop(columns="barcode").set_axis(make_index_unique(pd.Index(names.tolist())))


def _read_genes(path: Path) -> npt.NDArray[Any]:
    return _read_table(path, header=None).iloc[:, 0].astype(str).to_numpy(dtype=object)


def _read_table(path: Path, header: int | None) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, sep="\t", header=header, dtype=str, keep_default_na=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a table with tabs ({error}). Download it again.") from error


def _read_matrix(path: Path, n_cells: int, n_columns: int | None) -> csr_array:
    """A Matrix Market file with cells in rows. Raises InputError where it is cut short or of another shape."""
    from scipy.io import mmread
    from scipy.sparse import csr_array

    try:
        matrix = mmread(path, spmatrix=False)
    except (OSError, EOFError, ValueError, OverflowError) as error:
        raise InputError(f"{path} cannot be read as Matrix Market ({error}). Download it again.") from error
    expected = (n_cells, matrix.shape[1] if n_columns is None else n_columns)
    if matrix.shape != expected:
        raise InputError(
            f"{path} is {matrix.shape[0]:,} x {matrix.shape[1]:,}; {CELLS} and {GENES} describe"
            f" {n_cells:,} cells{'' if n_columns is None else f' and {n_columns:,} genes'}. Download all files again."
        )
    rows = csr_array(matrix)
    rows.eliminate_zeros()
    if not np.isfinite(rows.data).all() or (rows.nnz and rows.data.min() < 0):
        entry = int(np.argmax(~np.isfinite(rows.data) | (rows.data < 0)))
        cell = int(np.searchsorted(rows.indptr, entry, side="right"))
        raise InputError(f"{path} holds {rows.data[entry]:g} in row {cell:,}: values of 0 or more are needed.")
    return rows


def _clones(membership: csr_array) -> tuple[pd.Categorical[Any], int]:
    """The clone of each cell as text, missing where it has none or several; and how many have several."""
    import pandas as pd

    n_clones = np.diff(membership.indptr)
    is_known = n_clones == 1
    codes = np.full(n_clones.size, -1, np.int64)
    codes[is_known] = membership.indices[membership.indptr[:-1][is_known]]
    names = [str(clone) for clone in range(membership.shape[1])]
    clones = pd.Categorical.from_codes(codes, categories=pd.Index(names))
    return clones.remove_unused_categories(), int(np.count_nonzero(n_clones > 1))


def _file(name: str, size: str) -> SourceFile:
    return SourceFile(
        name=name,
        page=_PAGE,
        size=size,
        addresses=(
            Address(_KLEIN_LAB + name, "AllonKleinLab/paper-data, and loaders that name the same address"),
            Address(_GEO + name, "supplementary files of GEO sample GSM4185642, series GSE140802"),
        ),
        other_names=(f"GSM4185642_{name}",),
    )


LARRY: Final = DataSet(
    name="larry",
    title="Mouse blood progenitors with clonal barcodes, in vitro (Weinreb et al. 2020)",
    signal="a later cell of the same clone: obs:clone, obs:day",
    n_cells=130_887,
    n_genes=25_289,
    licence="none stated with the files; the study is open at GEO GSE140802",
    citation="Weinreb et al., Science 367, eaaw3381 (2020), doi:10.1126/science.aaw3381",
    files=tuple(_file(name, "not stated") for name in (COUNTS, GENES, CLONES, CELLS)),
    options=LarryOptions,
    make=make,
)
