"""Eleven million nuclei of mouse embryos from gastrula to birth (Qiu et al. 2024), as CELLxGENE distributes them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nsl_assets.datasets.counts_file import writing
from nsl_assets.datasets.definition import DataSet, Work
from nsl_assets.datasets.progress import Advance
from nsl_assets.datasets.source_file import Address, SourceFile
from nsl_assets.datasets.source_h5ad import SourceH5ad, open_source_h5ad
from nsl_assets.randomness import identity_keys, keyed_order
from nsl_assets.settings import Settings

COUNTS: Final = "a5a85963-8004-41a1-8eb5-ca65266d89c3.h5ad"
_DAY: Final = "author_day"
_EMBRYO: Final = "donor_id"
_ALSO_KEPT: Final = ("author_experimental_id", "author_cell_type", "cell_type", "author_major_cell_cluster")


class EmbryoOptions(Settings):
    """How many cells are taken."""

    max_cells: int | None = Field(None, ge=1)
    """Take so many cells, chosen by identity, of all embryos and days alike; nothing for all 11 million."""


def make(work: Work) -> None:
    """Write counts in X and author_day, embryo and cell type in obs; memory does not grow with the cells' counts."""
    path = work.sources.path(COUNTS)
    with open_source_h5ad(path) as source:
        work.require_shape(source.n_cells, source.gene_names.size, path)
        obs = source.obs((_DAY, _EMBRYO), _ALSO_KEPT).rename(columns={_EMBRYO: "embryo"})
        kept = _chosen(source, work.options.max_cells)
        with writing(work.output, source.gene_names) as file:
            for start, block in source.blocks():
                file.append(block[np.flatnonzero(kept[start : start + block.shape[0]])])
                work.report(Advance("writing counts", start + block.shape[0], source.n_cells, "cells"))
            file.finish(obs[kept].set_axis(source.cell_names[kept]), provenance=work.provenance)


def _chosen(source: SourceH5ad, max_cells: int | None) -> npt.NDArray[np.bool_]:
    """Which cells are taken, (n_cells,)."""
    kept = np.ones(source.n_cells, dtype=bool)
    if max_cells is not None and max_cells < source.n_cells:
        kept[keyed_order(identity_keys(map(str, source.cell_names)), "embryo max_cells")[max_cells:]] = False
    return kept


EMBRYO: Final = DataSet(
    name="embryo",
    title="Mouse embryos from gastrula to birth, 43 stages (Qiu et al. 2024)",
    signal="stage of the embryo, obs:author_day (groups: obs:embryo)",
    n_cells=11_441_407,
    n_genes=None,
    licence="CC BY 4.0 (CELLxGENE Discover)",
    citation="Qiu et al., Nature 626, 1084 (2024), doi:10.1038/s41586-024-07069-w",
    files=(
        SourceFile(
            name=COUNTS,
            page="https://cellxgene.cziscience.com/collections/45d5d2c3-bc28-4814-aed6-0bb6f0e11c82",
            size="not stated; plan for 100 GB",
            addresses=(
                Address(
                    f"https://datasets.cellxgene.cziscience.com/{COUNTS}",
                    "the public code of the paper's authors",
                ),
            ),
        ),
    ),
    options=EmbryoOptions,
    make=make,
)
