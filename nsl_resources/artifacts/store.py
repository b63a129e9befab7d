"""Artifacts by kind and content hash: found, created whole, verified, discarded."""

import contextlib
import errno
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import temporary
from nsl_resources.artifacts.atomic import sync
from nsl_resources.artifacts.hashing import HASH_LENGTH, Json, is_hash
from nsl_resources.artifacts.manifest import MANIFEST, BadFile, bad_files, read_manifest, seal
from nsl_resources.artifacts.space import full_storage_errors, require_writable, storage_errors

Kind = Literal["data", "auxiliary", "noised", "model", "embedding", "measurement"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True)
class DiskUsage:
    """What the artifacts of one kind take."""

    n_artifacts: int
    size_bytes: int
    temporary_bytes: int
    """In folders that are being written or removed, or were left by a killed process."""


class Artifacts:
    """The artifacts of one storage folder. Any number of processes may use it at once; nothing is locked."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def path(self, kind: Kind, content_hash: str) -> Path:
        """Where an artifact is, or will be. Its existence is `is_complete`."""
        if kind not in KINDS:
            raise StorageError(f"'{kind}' is no kind of artifact; there are: {', '.join(KINDS)}.")
        if not is_hash(content_hash):
            raise StorageError(
                f"'{content_hash}' is no content hash: {HASH_LENGTH} characters 0-9, a-f are expected, "
                "as content_hash() makes them."
            )
        return self._kind_folder(kind) / content_hash

    def is_complete(self, kind: Kind, content_hash: str) -> bool:
        """Whether an artifact was finished. Its files are not looked at: that is `verify`."""
        return (self.path(kind, content_hash) / MANIFEST).is_file()

    def manifest(self, kind: Kind, content_hash: str) -> dict[str, Any]:
        """Identity, files with sizes and digests, time (UTC) and library versions of a finished artifact."""
        return read_manifest(self.path(kind, content_hash))

    def hashes(self, kind: Kind) -> list[str]:
        """The finished artifacts of a kind, sorted."""
        return sorted(path.parent.name for path in self._kind_folder(kind).glob(f"[!.]*/{MANIFEST}"))

    @contextlib.contextmanager
    def create(
        self,
        kind: Kind,
        content_hash: str,
        identity: Mapping[str, Json],
        *,
        library_versions: Mapping[str, str] | None = None,
    ) -> Iterator[Path]:
        """Give an empty folder to write into; when the block ends well, it becomes the artifact.

        When the block fails, or its process dies, nothing becomes visible. When another process finishes the
        same artifact first, theirs is kept.

        Raises:
            StorageError: the storage is full or unwritable, or the block wrote no file, a link or a manifest.
        """
        target = self.path(kind, content_hash)
        folder = self._temporary_folder(temporary.CREATING, target)
        with _removed_at_the_end(folder), full_storage_errors(self.root):
            yield folder
            seal(
                folder,
                kind=kind,
                content_hash=content_hash,
                identity=identity,
                versions=library_versions or {},
            )
            self._move_into_place(folder, target)

    def verify(self, kind: Kind, content_hash: str, *, deep: bool = False) -> tuple[BadFile, ...]:
        """Files that differ from the manifest, by name: in size, with ``deep`` also in content."""
        folder = self.path(kind, content_hash)
        return tuple(bad_files(folder, read_manifest(folder), deep=deep))

    def discard(self, kind: Kind, content_hash: str) -> None:
        """Remove an artifact; it disappears at once and whole. Nothing happens where there is none."""
        target = self.path(kind, content_hash)
        grave = target.with_name(temporary.temporary_name(temporary.DISCARDED, target.name))
        with contextlib.suppress(FileNotFoundError), storage_errors(self.root):
            target.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give an empty folder for files that are needed only while this process works; removed at the end."""
        folder = self._temporary_folder(temporary.CREATING, self._scratch_folder() / "scratch")
        with _removed_at_the_end(folder), full_storage_errors(self.root):
            yield folder

    def sweep_temporary(self) -> tuple[Path, ...]:
        """Remove what killed processes left half-written, and their scratch folders; returns what was removed."""
        folders = [*(self._kind_folder(kind) for kind in KINDS), self._scratch_folder()]
        return tuple(path for folder in folders for path in temporary.sweep(folder))

    def disk_usage(self) -> dict[Kind, DiskUsage]:
        """Bytes and numbers of artifacts, by kind."""
        return {kind: self._kind_usage(kind) for kind in KINDS}

    def require_writable(self, needed_bytes: int = 0) -> None:
        """StorageError unless storage takes files and has ``needed_bytes`` free; ask before work begins."""
        require_writable(self.root, needed_bytes)

    def _kind_folder(self, kind: Kind) -> Path:
        return self.root / "artifacts" / kind

    def _scratch_folder(self) -> Path:
        return self.root / "artifacts" / "scratch"

    def _temporary_folder(self, purpose: str, target: Path) -> Path:
        folder = target.with_name(temporary.temporary_name(purpose, target.name))
        with storage_errors(self.root):
            folder.mkdir(parents=True)
        return folder

    def _move_into_place(self, folder: Path, target: Path) -> None:
        while not _renamed(folder, target):
            if (target / MANIFEST).is_file():
                return  # another process was first: same hash, same content
            self.discard(_kind_of(target), target.name)
        sync(target.parent)

    def _kind_usage(self, kind: Kind) -> DiskUsage:
        folders = [path for path in self._kind_folder(kind).glob("*") if path.is_dir()]
        sizes = {path: _size_bytes(path) for path in folders}
        finished = [path for path in folders if is_hash(path.name)]
        finished_bytes = sum(sizes[path] for path in finished)
        return DiskUsage(len(finished), finished_bytes, sum(sizes.values()) - finished_bytes)


def _renamed(folder: Path, target: Path) -> bool:
    """Rename a folder; False when a folder with content is already there."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _kind_of(target: Path) -> Kind:
    return next(kind for kind in KINDS if kind == target.parent.name)


@contextlib.contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
