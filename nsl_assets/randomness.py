"""Keyed randomness: every draw follows from named keys, never from global state, order or chunking."""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Key = str | int | float


def key_digest(*keys: Key, size: int = 8) -> bytes:
    """Digest of typed keys; 1, 1.0 and "1" are different keys. Returns ``size`` bytes."""
    digest = hashlib.blake2b(digest_size=size)
    for key in keys:
        text = f"{type(key).__name__}:{key!r}".encode()
        digest.update(len(text).to_bytes(4, "little"))
        digest.update(text)
    return digest.digest()


def integer_seed(*keys: Key) -> int:
    """A seed below 2^63 that follows from the keys, for libraries that take one integer."""
    return int.from_bytes(key_digest(*keys), "little") >> 1


def generator(*keys: Key) -> np.random.Generator:
    """A NumPy generator whose stream follows from the keys alone."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key_digest(*keys, size=16), "little")))


def identity_keys(names: Iterable[str]) -> npt.NDArray[np.uint64]:
    """One 64-bit key per name, shape (n_names,): the same name has the same key in every file and order."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def keyed_order(identities: npt.NDArray[np.uint64], *keys: Key) -> npt.NDArray[np.intp]:
    """A random order of items that depends on each item's identity, not on its position.

    Returns the positions (n_items,) sorted by a keyed 64-bit mix of the identity. Removing an item leaves
    the order of the others unchanged, so prefixes are nested subsets.
    """
    mixed = identities ^ np.uint64(int.from_bytes(key_digest(*keys), "little"))
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.lexsort((identities, mixed ^ (mixed >> np.uint64(31))))
