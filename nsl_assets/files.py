"""Files by their content: a hash that is remembered while size and time of change stay the same."""

import hashlib
from functools import lru_cache
from pathlib import Path

from nsl_assets.errors import InputError


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content. Raises InputError where it cannot be read."""
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=1024)
def _sha256(path: Path, _size: int, _changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
