"""Benchmarks b1 and b2: binomial thinning to a tenth, against scanpy's `downsample_counts(counts_per_cell=...)`.

The reference data have 50,000 cells (`--cells 50000`); fewer give the same ratios sooner. The peer draws a fixed
number of molecules a cell without replacement, ours keeps each molecule with the same probability: both leave the
same mean depth, which is checked. b1 is the kernel in memory, CPU seconds on one thread and wall seconds on two.
b2 goes on to zarr and counts wall seconds: the peer thins in memory and writes; ours does the same, and once more
from store to store as the platform runs it, so that ours alone also reads and decompresses.
"""

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scanpy
from anndata import AnnData
from scipy.sparse import csr_array, csr_matrix, vstack

from nsl_assets.noise import thin, write_noised
from nsl_assets.randomness import identity_keys
from nsl_assets.tasks import CountStore, write_counts

LEVEL = 0.1
ROUNDS = 5
BLOCK_CELLS = 1_000
DEPTH_TOLERANCE = 0.005
GATES = {"b1 thin": 7.0, "b1 thin, 2 threads": 13.0, "b2 thin and write": 8.0}

Clock = Callable[[], float]
Timed = Callable[[], tuple[float, float]]  # seconds, UMIs left


def negative_binomial_counts(n_cells: int, n_genes: int) -> csr_array:
    """About 1,300 of 20,000 genes and 2,500 UMIs per cell; 70 % of the nonzero counts are 1, 98 % at most 8."""
    rng = np.random.default_rng(0)
    mean = rng.lognormal(0.0, 1.8, n_genes)
    mean *= 2_500 * n_genes / 20_000 / mean.sum()
    blocks = []
    for start in range(0, n_cells, BLOCK_CELLS):
        rate = rng.standard_gamma(0.5, (min(BLOCK_CELLS, n_cells - start), n_genes), dtype=np.float32)
        blocks.append(csr_array(rng.poisson(rate * (mean / 0.5)).astype(np.uint32)))
    counts = csr_array(vstack(blocks, format="csr"))
    narrow = (counts.data, counts.indices.astype(np.int32), counts.indptr.astype(np.int32))
    return csr_array(narrow, shape=counts.shape)


class Bench:
    """The same counts for both sides."""

    def __init__(self, n_cells: int, n_genes: int, folder: Path) -> None:
        self.counts = negative_binomial_counts(n_cells, n_genes)
        self.names = [[f"{kind}{i}" for i in range(n)] for kind, n in zip("cg", (n_cells, n_genes), strict=True)]
        self.keys = [identity_keys(names) for names in self.names]
        self.umis = self.counts.sum(axis=1)
        self.folder = folder
        self.clock: Clock = time.perf_counter
        self.store = write_counts(folder / "source.zarr", self.blocks(), n_genes)

    def timed(self, work: Callable[[], None]) -> float:
        """Seconds by the clock of the comparison."""
        start = self.clock()
        work()
        return self.clock() - start

    def blocks(self) -> Iterator[csr_array]:
        """The counts as a study reads them, some cells at a time."""
        starts = self.counts.indptr
        for first in range(0, self.counts.shape[0], 4 * BLOCK_CELLS):
            indptr = starts[first : first + 4 * BLOCK_CELLS + 1]
            entries = slice(indptr[0], indptr[-1])
            block = csr_array(
                (self.counts.data[entries], self.counts.indices[entries], indptr - indptr[0]),
                shape=(indptr.size - 1, self.counts.shape[1]),
            )
            block.has_canonical_format = True
            yield block

    def thinned(self, counts: csr_array, cell_keys: npt.NDArray[np.uint64], n_threads: int) -> csr_array:
        """Ours."""
        return thin(counts, level=LEVEL, seed=0, cell_keys=cell_keys, gene_keys=self.keys[1], n_threads=n_threads)

    def thinned_blocks(self, n_threads: int) -> Iterator[csr_array]:
        """Ours, some cells at a time."""
        for i, block in enumerate(self.blocks()):
            keys = self.keys[0][i * 4 * BLOCK_CELLS :][: block.shape[0]]
            yield self.thinned(block, keys, n_threads)

    def peer_thinned(self) -> tuple[AnnData, Callable[[], None]]:
        """A fresh copy, since the peer works in place, and the work to be timed."""
        cells = AnnData(csr_matrix(self.counts, dtype=np.int32, copy=True))
        wanted = np.maximum(1, np.rint(self.umis * LEVEL)).astype(np.int64)
        return cells, lambda: scanpy.pp.downsample_counts(cells, counts_per_cell=wanted)

    def peer_kernel(self) -> tuple[float, float]:
        """Seconds and UMIs left of the peer, in memory."""
        cells, work = self.peer_thinned()
        return self.timed(work), float(cells.X.sum())

    def our_kernel(self, n_threads: int) -> tuple[float, float]:
        """Seconds and UMIs left of ours, in memory."""
        left: list[csr_array] = []
        seconds = self.timed(lambda: left.append(self.thinned(self.counts, self.keys[0], n_threads)))
        return seconds, float(left[0].sum())

    def peer_to_disk(self) -> tuple[float, float]:
        """Seconds and UMIs left of the peer, from memory to zarr."""
        cells, work = self.peer_thinned()
        path = self.folder / "peer.zarr"

        def thin_and_write() -> None:
            work()
            cells.write_zarr(path)

        return self.timed(thin_and_write), float(cells.X.sum())

    def ours_to_disk(self, n_threads: int) -> tuple[float, float]:
        """Seconds and UMIs left of ours, from memory to zarr."""
        path = self.folder / "ours.zarr"
        return self._to_disk(lambda: write_counts(path, self.thinned_blocks(n_threads), self.counts.shape[1]))

    def ours_store_to_store(self, n_threads: int) -> tuple[float, float]:
        """Seconds and UMIs left of ours, from zarr to zarr."""
        return self._to_disk(
            lambda: write_noised(
                self.store,
                self.folder / "noised.zarr",
                level=LEVEL,
                seed=0,
                cell_names=self.names[0],
                gene_names=self.names[1],
                n_threads=n_threads,
            )
        )

    def _to_disk(self, work: Callable[[], CountStore]) -> tuple[float, float]:
        stores: list[CountStore] = []
        seconds = self.timed(lambda: stores.append(work()))
        return seconds, float(stores[0].rows(0, stores[0].shape[0]).sum())


def compare(name: str, bench: Bench, clock: Clock, peer: Timed, ours: Timed) -> bool:
    """Print one line; whether the gate, if there is one, is passed."""
    bench.clock = clock
    pairs = [(peer(), ours()) for _ in range(ROUNDS + 1)][1:]  # the first round compiles
    peer_rate, our_rate = (bench.counts.nnz / statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
    peer_depth, our_depth = (pairs[0][side][1] / bench.counts.shape[0] for side in (0, 1))
    if abs(our_depth / peer_depth - 1) > DEPTH_TOLERANCE:
        raise SystemExit(f"{name}: {our_depth:.1f} UMIs per cell are left, the peer leaves {peer_depth:.1f}")
    ratio = our_rate / peer_rate
    print(
        f"{name}: ratio {ratio:.1f} (peer {peer_rate / 1e6:.1f}, ours {our_rate / 1e6:.1f} M entries/s; "
        f"{peer_depth:.1f} and {our_depth:.1f} UMIs per cell left)",
        flush=True,
    )
    return ratio >= GATES.get(name, 0.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--genes", type=int, default=20_000)
    parser.add_argument("--cpu", action="store_true", help="CPU seconds throughout: for a busy machine")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peer's own
    cpu = time.process_time
    wall = cpu if options.cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.cells, options.genes, Path(folder))
        kernel, to_disk = bench.peer_kernel, bench.peer_to_disk
        passed = [
            compare("b1 thin", bench, cpu, kernel, lambda: bench.our_kernel(1)),
            compare("b1 thin, 2 threads", bench, wall, kernel, lambda: bench.our_kernel(2)),
            compare("b2 thin and write", bench, wall, to_disk, lambda: bench.ours_to_disk(2)),
            compare("b2 store to store", bench, wall, to_disk, lambda: bench.ours_store_to_store(2)),
        ]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
