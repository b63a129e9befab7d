"""The random words: Philox4x32-10 against its published answers and against plain Python integers."""

import numpy as np
import pytest
from scipy import special

from nsl_assets.noise import kernel

MASK = 0xFFFFFFFF

# Random123, tests/kat_vectors, the lines "philox4x32 10": counter, key, answer.
KNOWN_ANSWERS = [
    (
        (0, 0, 0, 0),
        (0, 0),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (MASK, MASK, MASK, MASK),
        (MASK, MASK),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Salmon et al. 2011, as the paper states it, in integers of any size."""
    (x0, x1, x2, x3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (p1 >> 32) ^ x1 ^ k0, p1 & MASK, (p0 >> 32) ^ x3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return x0, x1, x2, x3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_published_answers(counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]) -> None:
    assert tuple(map(int, kernel.philox4x32(*map(np.uint64, counter + key)))) == answer
    assert philox(counter, key) == answer


def test_words_of_a_block_are_philox_of_the_keys() -> None:
    genes = np.random.default_rng(0).integers(0, 2**64, 1003, dtype=np.uint64)
    cell, key = 0x0123456789ABCDEF, 0xFEDCBA9876543210
    words = genes.copy()
    kernel.randomise(words, np.uint64(cell), np.uint64(key))
    for gene, word in zip(genes.tolist(), words.tolist(), strict=True):
        counter = (cell & MASK, gene & MASK, cell >> 32, gene >> 32)
        first, second, *_ = philox(counter, (key & MASK, key >> 32))
        assert word == first << 32 | second


def test_later_blocks_differ_and_wrap_in_the_first_key_word() -> None:
    key = 0x00000001_FFFFFFFF
    words = kernel.random_words(np.uint64(5), np.uint64(6), np.uint64(key), np.uint64(1))
    x = philox((5, 6, 0, 0), (0, 1))
    assert tuple(map(int, words)) == (x[0] << 32 | x[1], x[2] << 32 | x[3])


def test_uniforms_lie_strictly_between_zero_and_one() -> None:
    lowest, highest = (float(kernel.unit(np.uint64(word))) for word in (0, 2**64 - 1))
    assert 0.0 < lowest < 1e-15
    assert 1.0 - 1e-15 < highest < 1.0


def test_factorials_of_the_rejection_sampler() -> None:
    """Stirling's remainder against scipy's log-gamma, on both sides of the change of formula at 10."""
    k = np.array([0.0, 1, 5, 9, 10, 11, 40, 1_000])
    expected = special.gammaln(k + 1) - ((k + 0.5) * np.log(k + 1) - (k + 1) + 0.5 * np.log(2 * np.pi))
    found = [kernel.stirling_rest(value) for value in k.tolist()]
    np.testing.assert_allclose(found, expected, atol=2e-12)
