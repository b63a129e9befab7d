"""One section of a mouse brain by MERFISH (Vizgen 2021): counts of 483 genes and the place of each cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.datasets.counts_file import writing
from nsl_assets.datasets.definition import DataSet, Work
from nsl_assets.datasets.progress import Advance
from nsl_assets.datasets.source_file import SourceFile
from nsl_assets.datasets.source_h5ad import require_counts
from nsl_assets.errors import InputError
from nsl_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

COUNTS: Final = "cell_by_gene_S1R1.csv"
CELLS: Final = "cell_metadata_S1R1.csv"
SPATIAL: Final = "spatial"
N_GENES: Final = 483
_BLANK: Final = "blank"
_CENTRE: Final = ["center_x", "center_y"]
_ALSO_KEPT: Final = ("fov", "volume")
_BLOCK_CELLS: Final = 8192


class MerfishOptions(Settings):
    """Which columns count as genes."""

    keep_blanks: bool = False
    """Keep the barcodes that stand for no gene ("Blank-…"), which measure misreading: 649 columns instead of 483."""


def make(work: Work) -> None:
    """Write counts in X and the centre of each cell, in micrometres, in ``obsm["spatial"]``."""
    path = work.sources.path(COUNTS)
    columns = _columns(path)
    is_gene = np.array([not name.lower().startswith(_BLANK) for name in columns])
    if np.count_nonzero(is_gene) != N_GENES:
        raise InputError(
            f"{path} has {np.count_nonzero(is_gene):,} genes besides {np.count_nonzero(~is_gene):,} blanks; the panel"
            f" has {N_GENES}. It is another section, panel or version."
        )
    kept = np.flatnonzero(is_gene | work.options.keep_blanks)
    metadata = _read_metadata(work.sources.path(CELLS))
    genes, names = columns[kept], []
    with writing(work.output, genes) as file:
        for block_names, block in _blocks(path, columns):
            names.append(block_names)
            file.append(block[:, kept])
            work.report(Advance("reading counts", file.n_cells, len(metadata), "cells"))
        cells = np.concatenate(names)
        found = _aligned(metadata, cells, path, work.sources.path(CELLS))
        work.require_shape(len(found), N_GENES, path)
        obs = found[[key for key in _ALSO_KEPT if key in found]]
        file.finish(obs, {SPATIAL: found[_CENTRE].to_numpy(np.float64)}, provenance=work.provenance)


def _columns(path: Path) -> npt.NDArray[Any]:
    """Names of all columns but the first, which names the cell."""
    import pandas as pd

    try:
        return np.array([str(name) for name in pd.read_csv(path, nrows=0).columns[1:]], dtype=object)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}). Download it again.") from error


def _blocks(path: Path, columns: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], csr_array]]:
    """Names and counts of some cells after the other, (n_rows,) and (n_rows, n_columns)."""
    import pandas as pd
    from scipy.sparse import csr_array

    try:
        for table in pd.read_csv(path, index_col=0, dtype={0: str}, chunksize=_BLOCK_CELLS):
            names = table.index.to_numpy(dtype=object)
            values = _numbers(table, path)
            block = csr_array(values)
            require_counts(block, names, columns, str(path))
            yield names, block.astype(np.int64)
    except (OSError, EOFError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}). Download it again.") from error


def _numbers(table: pd.DataFrame, path: Path) -> npt.NDArray[np.float64]:
    import pandas as pd

    numbers = np.asarray(table.apply(pd.to_numeric, errors="coerce"), np.float64)
    bad = np.argwhere(~np.isfinite(numbers))
    if bad.size:
        row, column = bad[0]
        raise InputError(
            f"{path} has no number at cell {table.index[row]}, column {table.columns[column]}: the file is cut short or"
            " damaged. Download it again."
        )
    return numbers


def _read_metadata(path: Path) -> pd.DataFrame:
    """The cells with their coordinates, by name."""
    import pandas as pd

    try:
        table = pd.read_csv(path, index_col=0, dtype={0: str})
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV ({error}). Download it again.") from error
    missing = [name for name in _CENTRE if name not in table]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}; it has {', '.join(map(str, table.columns))}.")
    for name in _CENTRE:
        table[name] = pd.to_numeric(table[name], errors="coerce")
    unplaced = table[_CENTRE].isna().any(axis=1).to_numpy()
    if unplaced.any():
        raise InputError(f"{path} has no place for cell {table.index[int(np.argmax(unplaced))]}. Download it again.")
    return table


def _aligned(metadata: pd.DataFrame, names: npt.NDArray[Any], counts: Path, cells: Path) -> pd.DataFrame:
    """The metadata of the cells in their order. Raises InputError where the two files do not name the same cells."""
    import pandas as pd

    found = pd.Index(names)
    for index, path in ((found, counts), (metadata.index, cells)):
        if not index.is_unique:
            raise InputError(f"{path} names cell {index[index.duplicated()][0]} twice. Download it again.")
    for one, other, path in ((found, metadata.index, cells), (metadata.index, found, counts)):
        alone = one.difference(other)
        if alone.size:
            raise InputError(
                f"{counts} has {found.size:,} cells and {cells} has {len(metadata):,}: cell {alone[0]} is not in"
                f" {path.name}. Both must be of the same section, and whole."
            )
    return metadata.reindex(found)


def _file(name: str) -> SourceFile:
    long_name = f"datasets_mouse_brain_map_BrainReceptorShowcase_Slice1_Replicate1_{name}"
    return SourceFile(
        name=name,
        page="https://info.vizgen.com/mouse-brain-map (a form; folder BrainReceptorShowcase/Slice1/Replicate1)",
        size="not stated",
        other_names=(long_name, f"{name}.gz", f"{long_name}.gz"),
    )


MERFISH: Final = DataSet(
    name="merfish",
    title="Mouse brain by MERFISH, slice 1 of replicate 1 (Vizgen 2021)",
    signal="a neighbouring cell: obsm:spatial",
    n_cells=None,
    n_genes=N_GENES,
    licence="terms of Vizgen's data release, accepted on its download page",
    citation="Vizgen Data Release V1.0, Mouse Brain Receptor Map (2021)",
    files=(_file(COUNTS), _file(CELLS)),
    options=MerfishOptions,
    make=make,
)
