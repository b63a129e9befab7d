"""Temporary folders that name the process they belong to, so that those of dead processes can be removed."""

import contextlib
import hashlib
import platform
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

CREATING = ".creating"
DISCARDED = ".discarded"
USING = ".using"
OTHER_HOST_AGE_S = 7 * 24 * 3600.0
"""A temporary folder of another host, whose processes cannot be seen, is dead when unchanged for so long."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from a later one with the same number."""

    host: str
    """Digest of host name and process-number space (containers of one host have their own numbers)."""
    pid: int
    started_ticks: int
    """Start of the process after that of the host (1/100 s): setting the clock does not change it."""


def this_process() -> Owner:
    """The owner of what this process writes now (after a fork: the child)."""
    process = psutil.Process()
    return Owner(_host(), process.pid, _started_ticks(process))


def _host() -> str:
    namespace = Path("/proc/self/ns/pid")
    number_space = namespace.stat().st_ino if namespace.exists() else 0
    return hashlib.blake2b(f"{platform.node()}/{number_space}".encode(), digest_size=5).hexdigest()


def _started_ticks(process: psutil.Process) -> int:
    return round((process.create_time() - psutil.boot_time()) * 100)


def is_running(owner: Owner) -> bool | None:
    """Whether a process of this host lives; None for another host, where that cannot be known."""
    if owner.host != _host():
        return None
    try:
        process = psutil.Process(owner.pid)
        return process.status() != psutil.STATUS_ZOMBIE and _started_ticks(process) == owner.started_ticks
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # another user's process: its folder is not ours to judge


def temporary_name(purpose: str, name: str) -> str:
    """A fresh name for a temporary folder of this process."""
    owner = this_process()
    return f"{purpose}-{name}-{owner.host}-{owner.pid}-{owner.started_ticks}-{secrets.token_hex(4)}"


def owner_of(folder: Path) -> Owner | None:
    """The process that a temporary folder belongs to; None where the name is not one of ours."""
    parts = folder.name.split("-")
    if len(parts) != 6 or parts[0] not in (CREATING, DISCARDED, USING) or not (parts[3] + parts[4]).isdigit():
        return None
    return Owner(host=parts[2], pid=int(parts[3]), started_ticks=int(parts[4]))


def of_the_dead(parent: Path) -> Iterator[Path]:
    """The temporary folders of dead processes in one folder."""
    return (folder for folder, is_dead in _judged(parent) if is_dead)


def of_the_living(parent: Path) -> Iterator[Path]:
    """The temporary folders of processes that live, or may live, in one folder."""
    return (folder for folder, is_dead in _judged(parent) if not is_dead)


def _judged(parent: Path) -> Iterator[tuple[Path, bool]]:
    for folder in sorted(parent.glob(".*-*")):
        owner = owner_of(folder)
        if owner is not None:
            yield folder, _is_dead(owner, folder)


def sweep(parent: Path) -> Iterator[Path]:
    """Remove the temporary folders of dead processes in one folder; yields what was removed."""
    for folder in of_the_dead(parent):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            yield folder


def _is_dead(owner: Owner, folder: Path) -> bool:
    running = is_running(owner)
    if running is None:
        return time.time() - _last_change_s(folder) > OTHER_HOST_AGE_S
    return not running


def _last_change_s(folder: Path) -> float:
    times = [time.time()]
    with contextlib.suppress(FileNotFoundError):  # its process may be renaming or removing it right now
        times = [path.stat().st_mtime for path in (folder, *folder.rglob("*"))]
    return max(times)
