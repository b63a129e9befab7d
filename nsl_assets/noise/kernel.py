"""The compiled thinning kernel: counter-based random words, and binomial draws from them.

Everything that numba compiles for thinning is in this one file: numba's cache on disk notices a change of the
file that holds a function, not of the files of the functions that it calls.
"""

# ruff: noqa: PLR0917 - compiled functions take their arguments by position

from math import exp, floor, lgamma, log, log1p, pi, sqrt
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from nsl_assets.compiling import compiled, inlined

U64 = np.uint64
Words = npt.NDArray[np.uint64]

_LOW: Final = U64(0xFFFFFFFF)
_32: Final = U64(32)
_MULTIPLIER_0, _MULTIPLIER_1 = U64(0xD2511F53), U64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = U64(0x9E3779B9), U64(0xBB67AE85)
_BLOCK_ENTRIES: Final = 1024  # words of one pass: 8 KiB, stays in the first-level cache
_TABLED: Final = 64
_AT_ONCE: Final = 8
_INVERSION_BELOW: Final = 10.0  # expected molecules below which the search from zero is short
_INVERSION_LIMIT: Final = 110  # P(X > 110) < 1e-70 where fewer than 10 molecules are expected


@inlined
def _round(x0: U64, x1: U64, x2: U64, x3: U64, key0: U64, key1: U64) -> tuple[U64, U64, U64, U64]:
    """One Philox round on words held in the low halves of 64-bit integers; high halves are left unclean."""
    product0 = _MULTIPLIER_0 * (x0 & _LOW)
    product1 = _MULTIPLIER_1 * (x2 & _LOW)
    return (product1 >> _32) ^ x1 ^ key0, product1, (product0 >> _32) ^ x3 ^ key1, product0


@inlined
def philox4x32(x0: U64, x1: U64, x2: U64, x3: U64, key0: U64, key1: U64) -> tuple[U64, U64, U64, U64]:
    """Philox4x32-10 of Salmon et al., SC 2011: four counter words and two key words give four random words.

    All are 32-bit words in 64-bit integers. The rounds are written out so that callers' loops vectorise.
    """
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0, key1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + _WEYL_0, key1 + _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(2) * _WEYL_0, key1 + U64(2) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(3) * _WEYL_0, key1 + U64(3) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(4) * _WEYL_0, key1 + U64(4) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(5) * _WEYL_0, key1 + U64(5) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(6) * _WEYL_0, key1 + U64(6) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(7) * _WEYL_0, key1 + U64(7) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(8) * _WEYL_0, key1 + U64(8) * _WEYL_1)
    x0, x1, x2, x3 = _round(x0, x1, x2, x3, key0 + U64(9) * _WEYL_0, key1 + U64(9) * _WEYL_1)
    return x0 & _LOW, x1 & _LOW, x2 & _LOW, x3 & _LOW


@inlined
def random_words(cell_key: U64, gene_key: U64, key: U64, block: U64) -> tuple[U64, U64]:
    """Two 64-bit words of one cell, gene and block; block 0 serves small counts, the others large ones.

    The four counter words are the cell's and the gene's key, low halves first: what depends on the cell alone
    is then computed once a row. The block has no room there and is added to the first key word.
    """
    x0, x1, x2, x3 = philox4x32(
        cell_key & _LOW, gene_key & _LOW, cell_key >> _32, gene_key >> _32, (key + block) & _LOW, key >> _32
    )
    return x0 << _32 | x1, x2 << _32 | x3


@compiled
def _look_up(gene_keys: Words, genes: npt.NDArray[np.int32], words: Words) -> None:
    for i in range(genes.size):
        words[i] = gene_keys[np.uint32(genes[i])]


@compiled
def randomise(words: Words, cell_key: U64, key: U64) -> None:
    """Turn gene keys into the random words of one cell. Alone in its loop, so that it vectorises."""
    for i in range(words.size):
        words[i] = random_words(cell_key, words[i], key, U64(0))[0]


@compiled
def _survivors(words: Words, counts: npt.NDArray[np.uint32], none_kept: Words, places: npt.NDArray[np.int32]) -> int:
    """List the places where a molecule may be left, without a branch to mispredict; returns their number."""
    n = U64(0)
    for i in range(counts.size):
        places[n] = i
        n += U64(words[i] > none_kept[min(counts[i], np.uint32(_TABLED + 1))])
    return int(n)


@compiled
def _tabled_draw(count: int, word: U64, thresholds: Words) -> int:
    """Number of thresholds below the word: eight compared at once, without a branch, as most counts need no more."""
    kept = 0
    for k in range(_AT_ONCE):
        kept += int(word > thresholds[U64(count), k])
    while kept >= _AT_ONCE and kept < count and word > thresholds[count, kept]:
        kept += 1
    return kept


@compiled
def unit(word: U64) -> float:
    """A number strictly between 0 and 1 from the upper 52 bits; one bit more would round up to 1."""
    return (float(word >> U64(12)) + 0.5) * 2.0**-52


@compiled
def _inversion(n: int, p: float, uniform: float) -> int:
    """Binomial draw by search from zero; for n p < 10."""
    mass, odds, kept = exp(n * log1p(-p)), p / (1.0 - p), 0
    while uniform > mass and kept < min(n, _INVERSION_LIMIT):
        uniform -= mass
        kept += 1
        mass *= odds * (n - kept + 1) / kept
    return kept


@compiled
def stirling_rest(k: float) -> float:
    """log k! - [(k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2], to 1e-12."""
    if k < 10:
        return lgamma(k + 1.0) - ((k + 0.5) * log(k + 1.0) - (k + 1.0) + 0.5 * log(2.0 * pi))
    inverse = 1.0 / (k + 1.0)
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))


@compiled
def _log_ratio(k: float, mode: float, n: float, odds: float) -> float:
    """log of Binomial mass at k over that at the mode (Hörmann 1993, step 3.2)."""
    return (
        (mode + 0.5) * log((mode + 1.0) / (odds * (n - mode + 1.0)))
        + (n + 1.0) * log((n - mode + 1.0) / (n - k + 1.0))
        + (k + 0.5) * log(odds * (n - k + 1.0) / (k + 1.0))
        + stirling_rest(mode)
        + stirling_rest(n - mode)
        - stirling_rest(k)
        - stirling_rest(n - k)
    )


@compiled
def _rejection(n: int, p: float, cell_key: U64, gene_key: U64, key: U64) -> int:
    """Binomial draw for n p >= 10 and p <= 1/2: algorithm BTRS, W. Hörmann, J. Stat. Comput. Simul. 46, 1993."""
    spread = sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre, squeeze, alpha = n * p + 0.5, 0.92 - 4.2 / b, (2.83 + 5.1 / b) * spread
    mode, odds, block = floor((n + 1) * p), p / (1.0 - p), U64(0)
    while True:
        block += U64(1)
        first, second = random_words(cell_key, gene_key, key, block)
        u, v = unit(first) - 0.5, unit(second)
        near_edge = 0.5 - abs(u)
        k = floor((2.0 * a / near_edge + b) * u + centre)
        if k < 0 or k > n:
            continue
        if near_edge >= 0.07 and v <= squeeze:
            return int(k)
        if log(v * alpha / (a / (near_edge * near_edge) + b)) <= _log_ratio(k, mode, n, odds):
            return int(k)


@compiled
def _large_draw(count: int, level: float, cell_key: U64, gene_key: U64, key: U64) -> int:
    """Molecules kept of a count that no table holds: the rarer outcome, kept or lost, is drawn."""
    p = min(level, 1.0 - level)
    if count * p < _INVERSION_BELOW:
        drawn = _inversion(count, p, unit(random_words(cell_key, gene_key, key, U64(1))[0]))
    else:
        drawn = _rejection(count, p, cell_key, gene_key, key)
    return drawn if level <= 0.5 else count - drawn


def _array(item: numba.types.Type, n_dimensions: int = 1, *, is_input: bool = True) -> numba.types.Array:
    return numba.types.Array(item, n_dimensions, "C", readonly=is_input)


_COUNTS, _GENES, _PLACES, _KEYS = (_array(item) for item in (numba.uint32, numba.int32, numba.int64, numba.uint64))
_SIGNATURE: Final = numba.int64(
    *(_COUNTS, _GENES, _PLACES, _KEYS, _KEYS, numba.uint64, numba.float64, _array(numba.uint64, 2)),
    *(_array(item, is_input=False) for item in (numba.uint32, numba.int32, numba.int64)),
)
"""Given so that there is one machine code for arrays that may be written to and for those that may not."""


@numba.njit(_SIGNATURE, nogil=True, cache=True)
def thin_rows(
    counts: npt.NDArray[np.uint32],
    genes: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    cell_keys: Words,
    gene_keys: Words,
    key: U64,
    level: float,
    thresholds: Words,
    kept_counts: npt.NDArray[np.uint32],
    kept_genes: npt.NDArray[np.int32],
    kept_lengths: npt.NDArray[np.int64],
) -> int:
    """Thin consecutive rows; returns the number of entries that are left.

    Row r is counts[starts[r]:starts[r + 1]]. Results go to the front of `kept_counts` and `kept_genes`, which
    hold at least as many entries as the rows do, and `kept_lengths` (n_rows,).
    """
    words, places = np.empty(_BLOCK_ENTRIES, np.uint64), np.empty(_BLOCK_ENTRIES, np.int32)
    none_kept = np.zeros(_TABLED + 2, np.uint64)  # the last one, of large counts, lets all pass
    none_kept[: _TABLED + 1] = thresholds[:, 0]
    n_kept = U64(0)  # unsigned, as all indices here: numba need not look for negative ones
    for row in range(kept_lengths.size):
        n_before = n_kept
        for start in range(starts[row], starts[row + 1], _BLOCK_ENTRIES):
            stop = min(start + _BLOCK_ENTRIES, starts[row + 1])
            _look_up(gene_keys, genes[start:stop], words)
            randomise(words[: stop - start], cell_keys[row], key)
            for i in range(_survivors(words, counts[start:stop], none_kept, places)):
                place = U64(places[i])
                entry = U64(start) + place
                count, gene = int(counts[entry]), genes[entry]
                if count <= _TABLED:
                    kept = _tabled_draw(count, words[place], thresholds)
                else:
                    kept = _large_draw(count, level, cell_keys[row], gene_keys[gene], key)
                kept_counts[n_kept], kept_genes[n_kept] = kept, gene
                n_kept += U64(kept > 0)
        kept_lengths[row] = int(n_kept - n_before)
    return int(n_kept)
