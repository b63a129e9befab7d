"""Content hashes: the name of an artifact follows from everything that decides its numbers."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

from nsl_assets.errors import StorageError

Json = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None
"""What JSON can hold, without NaN and infinities."""

HASH_LENGTH = 32


def content_hash(kind: str, parts: Mapping[str, Json]) -> str:
    """Hash (32 hexadecimal characters) of what decides an artifact of this kind.

    The same parts in any order give the same hash, and another kind gives another. Parts may hold the hashes
    of other artifacts, which chains them. ``1`` and ``1.0`` are different parts.

    Raises:
        StorageError: a part is no JSON value (NaN, infinite, an object); the message names it.
    """
    digest = hashlib.blake2b(digest_size=HASH_LENGTH // 2)
    digest.update(f"{len(kind)}:{kind}:".encode())
    digest.update(canonical_json(parts).encode())
    return digest.hexdigest()


def is_hash(text: str) -> bool:
    """Whether a text has the form of a content hash."""
    return len(text) == HASH_LENGTH and set(text) <= set("0123456789abcdef")


def canonical_json(value: Json) -> str:
    """One text per value: sorted keys, no blanks, floats in their shortest exact form."""
    return json.dumps(_plain(value, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, where: str) -> Json:
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{position}]") for position, item in enumerate(value)]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise StorageError(
        f"The identity of an artifact holds {value!r} ({type(value).__name__}) at '{where.lstrip('.')}': "
        "text, finite numbers, true/false, null, lists and tables are allowed. Convert or remove it."
    )


def _key(key: object, where: str) -> str:
    if isinstance(key, str):
        return key
    raise StorageError(
        f"The identity of an artifact has the key {key!r} ({type(key).__name__}) at '{where.lstrip('.')}': "
        "keys must be text. Convert it."
    )
