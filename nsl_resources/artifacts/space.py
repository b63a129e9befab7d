"""Free space and permissions of the storage folder, as errors that a user can act on."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsl_assets.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_FULL_TEXTS = tuple(os.strerror(code) for code in _FULL)


def free_bytes(path: Path) -> int:
    """Bytes that may still be written below a path, which need not exist yet."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def as_mib(size_bytes: int) -> str:
    """A size for messages."""
    return f"{size_bytes / 2**20:,.1f} MiB"


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn errors of writing below a folder (full, over quota, read-only, no folder) into StorageError."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise full_error(folder) from error
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise unwritable_error(folder, error) from error
        raise


@contextmanager
def full_storage_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk into StorageError, whatever exception a library wraps it in; leave the rest alone."""
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise full_error(folder) from error
        raise


def is_full(error: BaseException | None) -> bool:
    """Whether this error, or one that it was raised from, says that the disk or the quota is exhausted."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def full_error(folder: Path) -> StorageError:
    """The message for a full disk."""
    return StorageError(
        f"The storage folder {folder} is full: {as_mib(free_bytes(folder))} are free, and writing needs "
        "more. Nothing half-written was left. Free some space, or move the storage (NSL_STORAGE), and run "
        "again: what is finished is kept."
    )


def unwritable_error(folder: Path, error: OSError) -> StorageError:
    """The message for a folder that cannot be written to."""
    return StorageError(
        f"The storage folder {folder} cannot be written to ({error.strerror}): a folder with write "
        "permission is needed. Change its permissions, or name another storage folder."
    )


def require_writable(folder: Path, needed_bytes: int = 0) -> None:
    """Check by writing that a folder exists or can be made, takes files, and has the needed bytes free.

    Raises:
        StorageError: it is not writable, or has less than ``needed_bytes`` free; states both numbers.
    """
    probe = folder / f".writable-{os.getpid()}-{os.urandom(4).hex()}"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    free = free_bytes(folder)
    if free < needed_bytes:
        raise StorageError(
            f"The storage folder {folder} has {as_mib(free)} free, but {as_mib(needed_bytes)} are needed. "
            "Free space, name another storage folder, or keep fewer models."
        )
