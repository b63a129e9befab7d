"""Whether the nodes see the dispatcher's storage folder: a file that it writes and that each of them reads."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import atomic_write_text

_PREFIX: Final = ".seen-by-nodes-"


@dataclass(frozen=True)
class StorageProbe:
    """A file of the storage folder and the word that stands in it."""

    path: Path
    word: str

    def is_seen(self) -> bool:
        """Whether this host sees the file as it was written."""
        try:
            return self.path.read_text(encoding="utf-8") == self.word
        except OSError:
            return False


@contextmanager
def storage_probe(storage: Path) -> Iterator[StorageProbe]:
    """Writes the file, and removes it in the end.

    Raises:
        StorageError: the storage folder cannot be written.
    """
    probe = StorageProbe(storage.resolve() / f"{_PREFIX}{secrets.token_hex(6)}", secrets.token_hex(16))
    atomic_write_text(probe.path, probe.word)
    try:
        yield probe
    finally:
        probe.path.unlink(missing_ok=True)


def not_shared(storage: Path, nodes: list[str]) -> StorageError:
    """The error about nodes that do not see the storage folder."""
    return StorageError(
        f"the storage folder {storage} is not what {', '.join(sorted(set(nodes)))} sees under that path: workers there"
        " could neither read the data nor store results. Put it on a filesystem that all nodes mount at the same place"
        " (NSL_STORAGE names it)."
    )
