"""The manifest of an artifact: what it is, which files belong to it, and how to tell a damaged one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from nsl_assets.errors import StorageError
from nsl_resources.artifacts.atomic import atomic_write_text, sync
from nsl_resources.artifacts.hashing import Json

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
DIGESTED_BYTES = 2**30
"""An artifact up to this size is compared by content when it is used; a larger one by the sizes of its files."""

MISSING = "missing"
NOT_LISTED = "not in the manifest"
CHANGED = "content changed: its digest is not the recorded one"


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    name: str
    """Path inside the artifact, with forward slashes."""
    size_bytes: int
    blake2b: str
    """Digest of the content, 64 hexadecimal characters."""


@dataclass(frozen=True)
class BadFile:
    """A file that is not what the manifest says."""

    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


def seal(
    folder: Path, *, kind: str, content_hash: str, identity: Mapping[str, Json], versions: Mapping[str, str]
) -> None:
    """Write the manifest of a folder whose files are complete, and force all of it to the disk."""
    files = [_entry(folder, name) for name in file_names(folder)]
    if not files:
        raise StorageError(f"The artifact {kind}/{content_hash} holds no file: nothing was written into {folder}.")
    manifest = {
        "format": MANIFEST_FORMAT,
        "kind": kind,
        "hash": content_hash,
        "identity": identity,
        "created_at": datetime.now(UTC).isoformat(timespec="microseconds"),
        "library_versions": dict(versions),
        "files": [asdict(entry) for entry in files],
    }
    atomic_write_text(folder / MANIFEST, json.dumps(manifest, indent=2, allow_nan=False) + "\n")
    _sync_tree(folder)


def _entry(folder: Path, name: str) -> FileEntry:
    path = folder / name
    if name == MANIFEST or path.is_symlink():
        raise StorageError(
            f"An artifact holds '{name}', which is {'a link' if path.is_symlink() else 'a reserved name'}: "
            "only regular files of other names can be kept. Write a copy under another name."
        )
    return FileEntry(name, path.stat().st_size, digest(path))


def file_names(folder: Path) -> list[str]:
    """All files below a folder, links included, as sorted relative paths."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def digest(path: Path) -> str:
    """blake2b digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished artifact.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(
            f"There is no finished artifact at {folder} (no {MANIFEST}). Run the step that makes it."
        ) from None
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if manifest.get("format") != MANIFEST_FORMAT:
        raise _damaged(path, f"format {manifest.get('format')!r} instead of {MANIFEST_FORMAT}")
    return manifest


def _damaged(path: Path, problem: str) -> StorageError:
    return StorageError(f"{path} cannot be used: {problem}. Remove the folder {path.parent}; it will be made again.")


def bad_files(folder: Path, manifest: Mapping[str, Any], *, deep: bool) -> Iterator[BadFile]:
    """Files that are missing, of another size, with another content (``deep``), or not in the manifest."""
    entries = {entry["name"]: entry for entry in manifest["files"]}
    for name, entry in entries.items():
        problem = _problem(folder / name, entry, deep=deep)
        if problem:
            yield BadFile(name, problem)
    for name in file_names(folder):
        if name not in entries and name != MANIFEST:
            yield BadFile(name, NOT_LISTED)


def damage(folder: Path) -> tuple[BadFile, ...]:
    """What is wrong with the files that a finished artifact should have, as far as it can be told without long reading.

    The size of every file is compared; contents too, unless the artifact is larger than DIGESTED_BYTES. A content is
    read once a process, as long as size and time of change stay the same. Files that do not belong there do no harm.
    """
    try:
        manifest = read_manifest(folder)
        entries = manifest["files"]
        is_small = sum(entry["size_bytes"] for entry in entries) <= DIGESTED_BYTES
    except (StorageError, KeyError, TypeError) as error:
        return (BadFile(MANIFEST, str(error)),)
    found = ((entry["name"], _problem_in_use(folder / entry["name"], entry, is_small)) for entry in entries)
    return tuple(BadFile(name, problem) for name, problem in found if problem)


def _problem_in_use(path: Path, entry: Mapping[str, Any], is_digested: bool) -> str | None:
    try:
        problem = _problem(path, entry, deep=False)
        if problem or not is_digested:
            return problem
        status = path.stat()
        is_same = _remembered_digest(path, status.st_size, status.st_mtime_ns) == entry["blake2b"]
    except FileNotFoundError:
        return MISSING  # another process removes the artifact right now
    return None if is_same else CHANGED


@lru_cache(maxsize=65_536)
def _remembered_digest(path: Path, _size: int, _changed_ns: int) -> str:
    return digest(path)


def _problem(path: Path, entry: Mapping[str, Any], *, deep: bool) -> str | None:
    if not path.is_file():
        return MISSING
    size = path.stat().st_size
    if size != entry["size_bytes"]:
        return f"{size} bytes instead of {entry['size_bytes']}"
    if deep and digest(path) != entry["blake2b"]:
        return CHANGED
    return None
