"""Thinning from store to store, and the depth that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.noise.levels import require_level
from nsl_assets.noise.thinning import thin
from nsl_assets.randomness import identity_keys
from nsl_assets.tasks import BLOCK_ROWS, CountStore, write_counts

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ENTRIES_PER_BLOCK: Final = 4 * 1024 * 1024
"""Counts read and thinned at a time: bounds the memory (about 32 MiB read, as much at most kept)."""


@dataclass(frozen=True)
class Depth:
    """How deeply some cells are sequenced."""

    umis_per_cell: float
    """Mean over all cells, those without a count included."""
    n_cells: int
    n_nonempty_cells: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values, by field name."""
        return asdict(self)


def write_noised(
    source: CountStore,
    path: Path,
    *,
    level: float,
    seed: int,
    cell_names: Iterable[str],
    gene_names: Iterable[str],
    rows_per_block: int | None = None,
    n_threads: int = 1,
    chunk_entries: int | None = None,
) -> CountStore:
    """Thin all cells of a store into a new store at `path`; see `thin`. Memory is bounded by a few blocks.

    `rows_per_block`, `n_threads` and `chunk_entries` decide memory and speed, never a value.

    Raises InputError for names that are not one each or not unique, and for whatever `thin` refuses.
    """
    require_level(level)
    cell_keys = _unique_keys(cell_names, source.shape[0], "cell")
    gene_keys = _unique_keys(gene_names, source.shape[1], "gene")

    def thin_block(rows: slice) -> csr_array:
        return thin(
            source.rows(rows.start, rows.stop),
            level=level,
            seed=seed,
            cell_keys=cell_keys[rows],
            gene_keys=gene_keys,
            n_threads=n_threads,
        )

    rows = _row_blocks(source, rows_per_block)
    blocks = _one_ahead(thin_block, rows) if n_threads > 1 else map(thin_block, rows)
    if chunk_entries is None:
        return write_counts(path, blocks, source.shape[1])
    return write_counts(path, blocks, source.shape[1], chunk_entries=chunk_entries)


def realised_depth(store: CountStore, rows: npt.NDArray[np.intp]) -> Depth:
    """Mean UMIs per cell of the given rows, empty cells included: the x axis of the noise law.

    Raises InputError where no rows are given.
    """
    if rows.size == 0:
        raise InputError("The depth of no cells was asked for: at least one row is needed.")
    umis = np.concatenate(
        [
            store.take(rows[start : start + BLOCK_ROWS]).sum(axis=1, dtype=np.int64)
            for start in range(0, rows.size, BLOCK_ROWS)
        ]
    )
    return Depth(float(umis.sum() / umis.size), n_cells=int(umis.size), n_nonempty_cells=int((umis > 0).sum()))


def _unique_keys(names: Iterable[str], n_expected: int, what: str) -> npt.NDArray[np.uint64]:
    keys = identity_keys(names)
    if keys.size != n_expected:
        raise InputError(f"{keys.size} {what} names were given; the store has {n_expected} {what}s.")
    if np.unique(keys).size != keys.size:
        raise InputError(
            f"Some {what} names appear more than once, so their noise would not be independent: make them unique, "
            "for example with AnnData's `obs_names_make_unique` and `var_names_make_unique`."
        )
    return keys


def _row_blocks(source: CountStore, rows_per_block: int | None) -> Iterator[slice]:
    n_cells = source.shape[0]
    step = rows_per_block or max(1, ENTRIES_PER_BLOCK * n_cells // max(source.n_nonzero, 1))
    return (slice(start, min(start + step, n_cells)) for start in range(0, n_cells, step))


def _one_ahead(work: Callable[[slice], csr_array], rows: Iterator[slice]) -> Iterator[csr_array]:
    """The results of `work` in order; the next one is under way while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for block in rows:
            following = pool.submit(work, block)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
