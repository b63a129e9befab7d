"""Files that appear whole or not at all: written under a temporary name, synced, renamed."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from nsl_resources.artifacts.space import storage_errors

TEMPORARY_SUFFIX = ".tmp"


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, also after a power cut.

    Raises:
        StorageError: the folder is full or not writable. Nothing half-written is left.
    """
    temporary = temporary_beside(path)
    with storage_errors(path.parent), removed_on_failure(temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
        rename_durably(temporary, path)


def atomic_write_text(path: Path, content: str) -> None:
    """`atomic_write_bytes` of a text in UTF-8."""
    atomic_write_bytes(path, content.encode())


def temporary_beside(path: Path) -> Path:
    """A fresh hidden name in the same folder, so that a rename to ``path`` stays on one file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")


@contextlib.contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove a temporary file when the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def rename_durably(temporary: Path, path: Path) -> None:
    """Sync a finished file, rename it over ``path``, and sync the folder."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
