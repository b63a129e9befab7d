"""Files that appear whole or not at all: written under a hidden name, synced, renamed."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

TEMPORARY: Final = ".tmp"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path to write to; it becomes ``path`` when the block ends well and is removed when it fails."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY}")
    try:
        yield temporary
        move_durably(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move_durably(source: Path, target: Path) -> None:
    """Sync a finished file, rename it over ``target`` in the same folder, and sync the folder."""
    _sync(source)
    source.replace(target)
    _sync(target.parent)


@contextlib.contextmanager
def only_process(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keep other processes away from ``path`` for a while; what a killed one left half-written is removed.

    ``on_wait`` is called once where another process has to end first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        for abandoned in path.parent.glob(f".{path.name}.*{TEMPORARY}"):
            abandoned.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
