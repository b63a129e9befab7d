"""Blood cells with 224 surface proteins (Hao et al. 2021), as scvi-tools distributes and filters them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.datasets.counts_file import writing
from nsl_assets.datasets.definition import DataSet, Work
from nsl_assets.datasets.progress import Advance
from nsl_assets.datasets.source_file import Address, SourceFile
from nsl_assets.datasets.source_h5ad import SourceH5ad, open_source_h5ad
from nsl_assets.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

COUNTS: Final = "pbmc_seurat_v4.h5ad"
PROTEINS: Final = "protein_counts"
_CELL_TYPE: Final = "celltype.l2"
_ALSO_KEPT: Final = ("donor", "time", "lane", "orig.ident", "celltype.l1", "celltype.l3", "Phase")
_LOG_PROTEINS: Final = (7.6, 10.3)
_FEWEST_PROTEINS: Final = 150
_MOST_MITOCHONDRIAL_PERCENT: Final = 12
_APART: Final = ("Notch", "TCR")


class PbmcOptions(Settings):
    """How the cells and proteins are chosen; the defaults are those of `scvi.data.pbmc_seurat_v4_cite_seq`."""

    apply_filters: bool = True
    """Leave out doublets, cells with few or very many protein counts, and those with 12 % mitochondrial counts."""

    aggregate_proteins: bool = True
    """Add the counts of antibodies against the same protein (such as CD3-1 and CD3-2)."""


def make(work: Work) -> None:
    """Write the chosen cells: counts in X, proteins in ``obsm["protein_counts"]``, donor and cell types in obs."""
    path = work.sources.path(COUNTS)
    with open_source_h5ad(path) as source:
        work.require_shape(source.n_cells, source.gene_names.size, path)
        proteins = source.obsm(PROTEINS)
        if work.options.aggregate_proteins:
            proteins = aggregated(proteins)
        obs = source.obs((_CELL_TYPE,), _ALSO_KEPT)
        kept = np.ones(source.n_cells, dtype=bool)
        if work.options.apply_filters:
            kept = _passing(proteins, obs[_CELL_TYPE]) & (_mitochondrial_percent(source) < _MOST_MITOCHONDRIAL_PERCENT)
        with writing(work.output, source.gene_names) as file:
            for start, block in source.blocks():
                file.append(block[np.flatnonzero(kept[start : start + block.shape[0]])])
                work.report(Advance("writing counts", start + block.shape[0], source.n_cells, "cells"))
            file.finish(
                obs[kept].set_axis(source.cell_names[kept]),
                {PROTEINS: proteins[kept].set_axis(source.cell_names[kept])},
                provenance=work.provenance | {"n_left_out": int(np.count_nonzero(~kept))},
            )


def aggregated(proteins: pd.DataFrame) -> pd.DataFrame:
    """Counts per protein: columns ROOT-1 and ROOT-2 are added as ROOT, except Notch and TCR, which are families."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in map(str, proteins.columns):
        root, last = name.split("-")[0], name.split("-")[-1]
        pair = [f"{root}-1", f"{root}-2"]
        if last in ("1", "2") and root not in _APART and set(pair) <= set(proteins.columns):
            columns[root] = proteins[pair].sum(axis=1)
        else:
            columns[name] = proteins[name]
    return pd.DataFrame(columns, index=proteins.index)


def _passing(proteins: pd.DataFrame, cell_type: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Cells whose proteins are in the range of single cells and that are not called doublets, (n_cells,)."""
    totals = proteins.sum(axis=1).to_numpy(np.float64)
    logs = np.log(np.maximum(totals, 1))
    is_single = (cell_type.astype(str) != "Doublet").to_numpy()
    n_detected = (proteins > 0).sum(axis=1).to_numpy()
    low, high = _LOG_PROTEINS
    return np.asarray((logs > low) & (logs < high) & (n_detected > _FEWEST_PROTEINS) & is_single, dtype=bool)


def _mitochondrial_percent(source: SourceH5ad) -> npt.NDArray[np.float64]:
    """Percentage of counts in genes MT-*, (n_cells,); 0 for a cell without counts."""
    is_mitochondrial = np.array([str(name).startswith("MT-") for name in source.gene_names])
    percent = np.zeros(source.n_cells)
    for start, block in source.blocks():
        totals = np.asarray(block.sum(axis=1))
        mitochondrial = np.asarray(block[:, np.flatnonzero(is_mitochondrial)].sum(axis=1))
        percent[start : start + totals.size] = 100 * mitochondrial / np.maximum(totals, 1)
    return percent


PBMC_CITESEQ: Final = DataSet(
    name="pbmc_citeseq",
    title="Human blood cells by CITE-seq (Hao et al. 2021)",
    signal="surface proteins, obsm:protein_counts",
    n_cells=161_764,
    n_genes=20_729,
    licence="none stated with the file; the study is open at GEO GSE164378",
    citation="Hao et al., Cell 184, 3573 (2021), doi:10.1016/j.cell.2021.04.048",
    files=(
        SourceFile(
            name=COUNTS,
            page="https://docs.scvi-tools.org/en/stable/api/reference/scvi.data.pbmc_seurat_v4_cite_seq.html",
            size="not stated",
            addresses=(
                Address(
                    "https://exampledata.scverse.org/scvi-tools/pbmc_seurat_v4.h5ad",
                    "scvi-tools 1.4.2, scvi/data/_built_in_data/_cite_seq.py",
                ),
                Address(
                    "https://scverse-exampledata.s3.eu-west-1.amazonaws.com/anndata/pbmc_seurat_v4.h5ad",
                    "tutorials of anndata, which state its SHA-256",
                    "c3b0100a6ce27beb64eff53692e09f98da2a58cfdfea08d15ff204f834b41396",
                ),
            ),
        ),
    ),
    options=PbmcOptions,
    make=make,
)
