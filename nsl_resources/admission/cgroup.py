"""What the control groups of this process allow: memory and cores, versions 1 and 2.

A container or a Slurm step sees the whole machine in `/proc/meminfo` and is killed at its own limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MIB: Final = 2**20
_UNLIMITED_BYTES: Final = 2**60  # version 1 writes "no limit" as the largest multiple of the page size
_FILES: Final = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


@dataclass(frozen=True)
class MemoryLimit:
    """One limited control group; `used_mib` leaves out file cache that the kernel would give back."""

    limit_mib: int
    used_mib: int


def memory_limits(root: Path = Path("/")) -> list[MemoryLimit]:
    """The memory limits that bind this process, innermost first. Empty when there is none."""
    found = (_memory_limit(folder, version) for version, folder in _folders(root, "memory"))
    return [limit for limit in found if limit is not None]


def core_limit(root: Path = Path("/")) -> float | None:
    """Cores that the tightest CPU quota allows; None when there is none."""
    quotas = (_core_quota(folder, version) for version, folder in _folders(root, "cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _folders(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process's control group and of those around it."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "" and (root / "sys/fs/cgroup/cgroup.controllers").exists():
            version, top = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, top = 1, root / "sys/fs/cgroup" / controllers
            top = top if top.exists() else root / "sys/fs/cgroup" / controller
        else:
            continue
        inner = top / path.lstrip("/")
        yield from ((version, folder) for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _memory_limit(folder: Path, version: int) -> MemoryLimit | None:
    limit_name, usage_name, cache_name = _FILES[version]
    limit, usage = _number(folder / limit_name), _number(folder / usage_name)
    if limit is None or usage is None or limit >= _UNLIMITED_BYTES:
        return None
    cache = _keyed_number(folder / "memory.stat", cache_name)
    return MemoryLimit(limit // _MIB, max(0, usage - cache) // _MIB)


def _core_quota(folder: Path, version: int) -> float | None:
    if version == 2:
        quota, _, period = (_text(folder / "cpu.max") or "max").partition(" ")
        return int(quota) / int(period) if quota != "max" else None
    quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None  # another version, or another controller: not an error


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def _keyed_number(path: Path, key: str) -> int:
    pairs = (line.split() for line in (_text(path) or "").splitlines())
    return next((int(pair[1]) for pair in pairs if pair[0] == key), 0)
