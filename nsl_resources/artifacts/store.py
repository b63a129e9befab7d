"""Artifacts by kind and content hash: found, created whole, verified, discarded."""

import contextlib
import errno
import json
import logging
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import temporary
from nsl_resources.artifacts.atomic import atomic_write_text, sync
from nsl_resources.artifacts.hashing import HASH_LENGTH, Json, is_hash
from nsl_resources.artifacts.manifest import MANIFEST, NOT_LISTED, BadFile, bad_files, damage, read_manifest, seal
from nsl_resources.artifacts.space import full_storage_errors, require_writable, storage_errors

Kind = Literal["data", "auxiliary", "noised", "model", "embedding", "measurement"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DAMAGE_NOTE: Final = "damage.json"
USED_HASHES: Final = "hashes.json"
LOCK_TIMEOUT_S: Final = 600.0
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class DiskUsage:
    """What the artifacts of one kind take."""

    n_artifacts: int
    size_bytes: int
    temporary_bytes: int
    """In folders that are being written or removed, or were left by a killed process."""


@dataclass(frozen=True)
class SetAside:
    """A damaged artifact that was moved out of the way, so that it is made again."""

    kind: Kind
    hash: str
    folder: Path
    """Where it is now."""
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.hash} was damaged ({'; '.join(self.problems)})"


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
        """Whether an artifact was finished and can be used; one that is damaged cannot, and is made again.

        Sizes of all files are compared with the manifest, and contents too, once a process, unless the artifact is
        larger than `manifest.DIGESTED_BYTES`. The damaged one stays until its successor is there, see `create`.
        """
        folder = self.path(kind, content_hash)
        if not (folder / MANIFEST).is_file():
            return False
        problems = damage(folder)
        if problems:
            _LOG.warning("%s is damaged and will be made again: %s", folder, "; ".join(map(str, problems)))
        return not problems

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
        same artifact first, theirs is kept. A damaged one that is in the way is set aside.

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

    def set_aside(self, kind: Kind, content_hash: str) -> SetAside | None:
        """Move an artifact out of the way if it is damaged, after reading all of it; what was wrong is noted inside.

        None where it is sound, or was moved or removed by another process.
        """
        folder = self.path(kind, content_hash)
        problems = tuple(map(str, self._all_problems(folder)))
        if not problems:
            return None
        target = self._damaged_folder() / f"{kind}-{content_hash}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError), storage_errors(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            note = {"problems": problems, "set_aside_at": datetime.now(UTC).isoformat(timespec="seconds")}
            atomic_write_text(folder / DAMAGE_NOTE, json.dumps(note))
            folder.rename(target)
            _LOG.warning("%s is damaged (%s) and was moved to %s", folder, "; ".join(problems), target)
            return SetAside(kind, content_hash, target, problems)
        return None

    def _all_problems(self, folder: Path) -> tuple[BadFile, ...]:
        if not (folder / MANIFEST).is_file():
            return ()
        # The manifest itself may be damaged: then nothing can be compared with it.
        return damage(folder) or tuple(
            bad for bad in bad_files(folder, read_manifest(folder), deep=True) if bad.problem != NOT_LISTED
        )

    def damaged(self) -> tuple[SetAside, ...]:
        """The artifacts that were set aside, sorted by kind and hash."""
        found = (_read_damaged(folder) for folder in sorted(self._damaged_folder().glob("*-*-*")))
        return tuple(one for one in found if one is not None)

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

    @contextlib.contextmanager
    def in_use(self, hashes: Iterable[str]) -> Iterator[None]:
        """Protect artifacts of these hashes, stored already or still to be made, while this process is in the block.

        Whoever removes artifacts that no study needs holds `removal_lock` and leaves those of `used_hashes` alone.
        """
        folder = self._temporary_folder(temporary.USING, self._use_folder() / "run")
        with _removed_at_the_end(folder):
            with self.removal_lock():
                atomic_write_text(folder / USED_HASHES, json.dumps(sorted(hashes)))
            yield

    def used_hashes(self) -> frozenset[str]:
        """Hashes that a living process has declared `in_use`, on whatever host."""
        used: set[str] = set()
        for folder in temporary.of_the_living(self._use_folder()):
            with contextlib.suppress(FileNotFoundError):  # its process is ending
                used.update(json.loads((folder / USED_HASHES).read_text(encoding="utf-8")))
        return frozenset(used)

    @contextlib.contextmanager
    def removal_lock(self) -> Iterator[None]:
        """While it is held, no process can declare further artifacts to be in use; a killed holder frees it.

        Raises:
            StorageError: another process has held it for ten minutes, or the storage is unwritable.
        """
        from filelock import FileLock, Timeout

        path = self.root / "artifacts" / "removal.lock"
        with storage_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path, timeout=LOCK_TIMEOUT_S, mode=0o666)
            try:
                lock.acquire()
            except Timeout:
                raise StorageError(
                    f"Another process has been removing artifacts for {LOCK_TIMEOUT_S:.0f} s (lock {path}). Look for"
                    " a hanging `nsl gc`, end it and run again."
                ) from None
        try:
            yield
        finally:
            lock.release()

    def left_behind(self) -> tuple[Path, ...]:
        """Folders that killed processes left: half-written or half-removed artifacts, scratch, marks of use."""
        return tuple(path for folder in self._temporary_parents() for path in temporary.of_the_dead(folder))

    def sweep_temporary(self) -> tuple[Path, ...]:
        """Remove what killed processes left behind; returns what was removed."""
        return tuple(path for folder in self._temporary_parents() for path in temporary.sweep(folder))

    def _temporary_parents(self) -> list[Path]:
        return [*(self._kind_folder(kind) for kind in KINDS), self._scratch_folder(), self._use_folder()]

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

    def _damaged_folder(self) -> Path:
        return self.root / "artifacts" / "damaged"

    def _use_folder(self) -> Path:
        return self.root / "artifacts" / "in_use"

    def _temporary_folder(self, purpose: str, target: Path) -> Path:
        folder = target.with_name(temporary.temporary_name(purpose, target.name))
        with storage_errors(self.root):
            folder.mkdir(parents=True)
        return folder

    def _move_into_place(self, folder: Path, target: Path) -> None:
        while not _renamed(folder, target):
            kind = _kind_of(target)
            if self.is_complete(kind, target.name):
                return  # another process was first: same hash, same content
            if self.set_aside(kind, target.name) is None:
                self.discard(kind, target.name)
        sync(target.parent)

    def _kind_usage(self, kind: Kind) -> DiskUsage:
        folders = [path for path in self._kind_folder(kind).glob("*") if path.is_dir()]
        sizes = {path: folder_bytes(path) for path in folders}
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


def _read_damaged(folder: Path) -> SetAside | None:
    """None where another process removes it right now."""
    kind, content_hash, _ = folder.name.split("-")
    with contextlib.suppress(FileNotFoundError):
        note = json.loads((folder / DAMAGE_NOTE).read_text(encoding="utf-8"))
        return SetAside(next(one for one in KINDS if one == kind), content_hash, folder, tuple(note["problems"]))
    return None


@contextlib.contextmanager
def _removed_at_the_end(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder, which others may be writing or removing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
