"""The compiled loops: ranking the genes of cells, hiding tokens, counting digits of expression values.

All of them are in this one file: numba's cache on disk notices a change of the file that holds a function, not of
the files of the functions that it calls.
"""

# ruff: noqa: PLR0917 - compiled functions take their arguments by position

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.compiling import compiled

U64 = np.uint64
Words = npt.NDArray[np.uint64]

_LOW: Final = U64(0xFFFFFFFF)
_32: Final = U64(32)
_BUCKET_SHIFT: Final = np.uint32(17)  # 64 buckets for each doubling of the score
_N_BUCKETS: Final = 1 << 15
_FEW: Final = 24  # keys that insertion sorts fastest
_INCREMENT, _FACTOR_1, _FACTOR_2 = U64(0x9E3779B97F4A7C15), U64(0xBF58476D1CE4E5B9), U64(0x94D049BB133111EB)
_HIDDEN, _REPLACED = 0.8, 0.9  # of the tokens to be predicted: hidden below .8, replaced below .9, else left


@compiled
def count_digits(
    genes: npt.NDArray[np.int32],
    values: npt.NDArray[np.uint32],
    prefixes: npt.NDArray[np.uint32],
    shift: int,
    counts: npt.NDArray[np.int64],
) -> None:
    """Count, for each gene and both of its prefixes (2, n_genes), the next eight bits of values that begin with it.

    ``counts`` (2, n_genes, 256) is added to; ``shift`` is the place of the eight bits from the right.
    """
    settled = U64(shift + 8)
    for i in range(genes.size):
        gene, value = genes[i], U64(values[i])
        digit = (value >> U64(shift)) & U64(255)
        for side in range(2):
            if value >> settled == U64(prefixes[side, gene]) >> settled:
                counts[side, gene, digit] += 1


@compiled
def rank_rows(
    counts: npt.NDArray[np.uint32],
    genes: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    inverse_medians: npt.NDArray[np.float64],
    tokens: npt.NDArray[np.uint32],
    limit: int,
    ranked: npt.NDArray[np.uint32],
    lengths: npt.NDArray[np.int64],
) -> int:
    """Tokens of consecutive rows by falling count / median, ties by rising token; returns how many there are.

    Row r is counts[starts[r]:starts[r + 1]]. Genes with an inverse median of 0 are left out; at most ``limit``
    tokens of a row go to the front of ``ranked``, their number to ``lengths`` (n_rows,).
    """
    longest = 0
    for row in range(lengths.size):
        longest = max(longest, starts[row + 1] - starts[row])
    buffers = np.empty(longest, np.uint32), np.empty(longest, np.int64), np.empty(longest, np.uint64)
    buckets = np.zeros(_N_BUCKETS, np.int64)
    n_ranked = 0
    for row in range(lengths.size):
        entries = slice(starts[row], starts[row + 1])
        bits = buffers[0][: starts[row + 1] - starts[row]]
        _score(counts[entries], genes[entries], inverse_medians, bits.view(np.float32))
        lengths[row] = _rank(bits, genes[entries], tokens, limit, buckets, buffers[1], buffers[2])
        for i in range(lengths[row]):
            ranked[n_ranked + i] = np.uint32(_LOW - (buffers[2][i] & _LOW))
        n_ranked += lengths[row]
    return n_ranked


@compiled
def _score(
    counts: npt.NDArray[np.uint32],
    genes: npt.NDArray[np.int32],
    inverse_medians: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float32],
) -> None:
    """count / median of each entry; alone in its loop, so that it vectorises."""
    for i in range(counts.size):
        scores[i] = np.float32(counts[i] * inverse_medians[np.uint32(genes[i])])


@compiled
def _rank(
    bits: npt.NDArray[np.uint32],
    genes: npt.NDArray[np.int32],
    tokens: npt.NDArray[np.uint32],
    limit: int,
    buckets: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    chosen: Words,
) -> int:
    """Put score and token of the highest scores, falling, to the front of ``chosen``; returns how many they are.

    Positive floats are ordered as their bits are. Scores fall into buckets by their first bits; the buckets that
    hold the highest ones are sorted each. ``buckets`` is zeros before and after; scores of 0 are left out.
    """
    highest, lowest = 0, _N_BUCKETS
    for i in range(bits.size):
        bucket = int(bits[i] >> _BUCKET_SHIFT)
        buckets[np.uint32(bucket)] += 1
        highest, lowest = max(highest, bucket), min(lowest, bucket)
    cutoff, n_chosen = highest + 1, 0
    while cutoff > max(lowest, 1) and n_chosen < limit:  # from here on a bucket holds where its scores begin
        cutoff -= 1
        n_here = buckets[np.uint32(cutoff)]
        buckets[np.uint32(cutoff)] = n_chosen
        n_chosen += n_here
    n_places = U64(0)
    for i in range(bits.size):  # without a branch to mispredict
        places[n_places] = i
        n_places += U64(int(bits[i] >> _BUCKET_SHIFT) >= cutoff)
    for k in range(n_chosen):
        place = U64(places[k])
        bucket_of_place = bits[place] >> _BUCKET_SHIFT
        chosen[U64(buckets[bucket_of_place])] = U64(bits[place]) << _32 | (_LOW - U64(tokens[np.uint32(genes[place])]))
        buckets[bucket_of_place] += 1
    begin = 0
    for bucket in range(highest, cutoff - 1, -1):
        end = buckets[np.uint32(bucket)]
        if end - begin > 1:
            _sort_falling(chosen[begin:end])
        begin = max(begin, end)
    for bucket in range(lowest, highest + 1):
        buckets[np.uint32(bucket)] = 0
    return min(n_chosen, limit)


@compiled
def _sort_falling(keys: Words) -> None:
    if keys.size > _FEW:
        keys[:] = np.sort(keys)[::-1]
        return
    for i in range(1, keys.size):
        key, j = keys[i], i
        while j > 0 and keys[j - 1] < key:
            keys[j] = keys[j - 1]
            j -= 1
        keys[j] = key


@compiled
def _mixed(word: U64) -> U64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    word = (word ^ (word >> U64(30))) * _FACTOR_1
    word = (word ^ (word >> U64(27))) * _FACTOR_2
    return word ^ (word >> U64(31))


@compiled
def _unit(word: U64) -> float:
    """A number from 0 up to but without 1."""
    return float(word >> U64(11)) * 2.0**-53


@compiled
def hide_tokens(
    rows: npt.NDArray[np.int64],
    cell_keys: Words,
    key: U64,
    fraction: float,
    is_gene: npt.NDArray[np.bool_],
    gene_tokens: npt.NDArray[np.int64],
    mask: int,
    labels: npt.NDArray[np.int64],
) -> None:
    """Choose tokens to be predicted and hide them in place, each from a stream of its cell's and the draw's key.

    ``rows`` and ``labels`` are (n_cells, length). A label is the token that was there, or -100 where nothing is to
    be predicted. Only genes are chosen, and replaced only by genes.
    """
    for row in range(rows.shape[0]):
        stream = _mixed(cell_keys[row] ^ key)
        for place in range(rows.shape[1]):
            labels[row, place] = -100
            token = rows[row, place]
            stream += _INCREMENT
            word = _mixed(stream)
            if not is_gene[token] or _unit(word) >= fraction:
                continue
            labels[row, place] = token
            word = _mixed(word + _INCREMENT)
            if _unit(word) < _HIDDEN:
                rows[row, place] = mask
            elif _unit(word) < _REPLACED:
                word = _mixed(word + _INCREMENT)
                rows[row, place] = gene_tokens[word % U64(gene_tokens.size)]
