"""What every task of an AnnData file reads from it: cells that take part, groups, counts, total UMIs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.randomness import identity_keys, keyed_order
from nsl_assets.tasks.base_settings import FileTask
from nsl_assets.tasks.h5ad import H5adFile

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from nsl_assets.tasks.matrix import Matrix


def kept_cells(cell_names: npt.NDArray[Any], settings: FileTask) -> npt.NDArray[np.bool_]:
    """Which cells of the file take part, (n_cells,): all, or `max_cells` chosen by identity."""
    kept = np.ones(cell_names.size, dtype=bool)
    if settings.max_cells is not None and settings.max_cells < cell_names.size:
        kept[keyed_order(identity_keys(cell_names), "max_cells", settings.split_seed)[settings.max_cells :]] = False
    return kept


def count_blocks(matrix: Matrix, kept: npt.NDArray[np.bool_]) -> Iterator[csr_array]:
    """Checked counts of the cells that take part, in the order of the file."""
    bounds = matrix.block_bounds()
    for (start, stop), block in zip(bounds, matrix.count_blocks(bounds), strict=True):
        mask = kept[start:stop]
        yield block if mask.all() else block[np.flatnonzero(mask)]


def read_groups(file: H5adFile, key: str, cell_names: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Group names (n_cells,). A cell without a group is a group of its own."""
    column = file.obs(key)
    alone = column.isna().to_numpy()
    names = column.astype(object).astype(str).to_numpy(dtype=object)
    return np.where(alone, "cell " + cell_names, names)


def check_names(names: npt.NDArray[Any], what: str, attribute: str) -> None:
    """Raises InputError where a name of a cell or gene occurs twice."""
    repeated = [(name, n) for name, n in Counter(names).items() if n > 1]
    if repeated:
        raise InputError(
            f"{what} name {repeated[0][0]!r} occurs {repeated[0][1]} times ({len(repeated):,} name(s) are "
            f"repeated): names identify {what.lower()}s. Run adata.{attribute}_names_make_unique() and save."
        )


def suggestion(file: H5adFile, layer: str | None) -> str:
    """Where else in the file counts are, as advice after `layer` turned out to hold none."""
    others = [name for name in file.matrix_names if name != layer]
    holding = [name or "X" for name in others if _holds_counts(file, name)]
    if holding == ["X"]:
        return "X holds counts: leave the layer out."
    if holding:
        return f"Layer {holding[0]!r} holds counts: name it with --layer {holding[0]}."
    return "No layer of this file holds counts: start from the output of the counting pipeline."


def _holds_counts(file: H5adFile, layer: str | None) -> bool:
    try:
        return file.matrix(layer).holds_counts()
    except InputError:  # an empty or damaged layer is no place to send the user to
        return False


def read_total_umis(file: H5adFile, column: str) -> npt.NDArray[np.float64]:
    """UMIs of every cell over all genes, (n_cells,). Raises InputError, naming the cell, where one is unknown."""
    import pandas as pd

    values = pd.to_numeric(file.obs(column.partition(":")[2]), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if bad.size:
        raise InputError(
            f"{column} holds no number of UMIs for cell {file.cell_names()[bad[0]]} ({bad.size:,} such cell(s)): every"
            " cell needs its total."
        )
    return values
