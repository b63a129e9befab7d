"""Processes of this host: who is alive, who descends from whom, how much memory they hold.

On Linux straight from `/proc`: one small file a process. A start time from there counts clock ticks since boot,
so that it identifies a process also after the wall clock was set (psutil's does not). Elsewhere psutil serves.
"""

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

IS_LINUX: Final = sys.platform == "linux"
_ENDED_STATES: Final = frozenset({b"Z", b"X", b"x"})  # a zombie holds no memory: for us it has ended
_FIRST_PID_NAMESPACE: Final = 0xEFFFFFFC  # fixed in the kernel: PROC_PID_INIT_INO
_MIB: Final = 2**20


@dataclass(frozen=True)
class Process:
    """A running process. `pid` and `start` together are unique on this host."""

    pid: int
    parent: int
    start: str
    memory_mib: float


def find(pid: int) -> Process | None:
    """The running process of this id; None if there is none, or only a zombie."""
    return _find_in_proc(pid) if IS_LINUX else _find_by_psutil(pid)


def is_running(pid: int, start: str) -> bool:
    """Whether the very process that had this id and this start is still running."""
    process = find(pid)
    return process is not None and process.start == start


def exists(pid: int) -> bool:
    """Whether this id is in use, by a process of any user, also where `/proc` hides those of others."""
    import psutil

    return psutil.pid_exists(pid)


def nearest(pid: int, roots: Collection[int]) -> int | None:
    """The process itself or its nearest ancestor that is one of the roots; None if there is none."""
    passed: set[int] = set()
    while pid not in roots:
        passed.add(pid)
        process = find(pid)
        if process is None or process.parent in passed:
            return None
        pid = process.parent
    return pid


def pid_namespace() -> int:
    """The namespace inside which ids of processes mean something to this process."""
    return Path("/proc/self/ns/pid").stat().st_ino if IS_LINUX else 0


def is_first_pid_namespace() -> bool:
    """Whether process ids here are those of the kernel itself. Inside a container they usually are not."""
    return not IS_LINUX or pid_namespace() == _FIRST_PID_NAMESPACE


def myself() -> Process:
    """This process."""
    process = find(os.getpid())
    assert process is not None
    return process


def snapshot() -> dict[int, Process]:
    """All processes that this user can see, by id."""
    found = (find(pid) for pid in _process_ids())
    return {process.pid: process for process in found if process is not None}


def trees(processes: Mapping[int, Process], roots: Collection[int]) -> dict[int, list[Process]]:
    """The processes of each root's tree, roots included; a process belongs to its nearest root only."""
    owner: dict[int, int | None] = {}

    def owner_of(pid: int) -> int | None:
        path: list[int] = []
        while pid not in owner and pid not in roots and pid in processes and pid not in path:
            path.append(pid)
            pid = processes[pid].parent
        result = pid if pid in roots else owner.get(pid)
        owner.update(dict.fromkeys(path, result))
        return result

    grouped: dict[int, list[Process]] = {root: [] for root in roots}
    for process in processes.values():
        root = owner_of(process.pid)
        if root is not None:
            grouped[root].append(process)
    return grouped


@cache
def boot_id() -> str:
    """Eight characters that change with every boot."""
    path = Path("/proc/sys/kernel/random/boot_id")
    if path.exists():
        return path.read_text()[:8]
    import psutil

    return f"{int(psutil.boot_time()) & 0xFFFFFFFF:08x}"


@cache
def _page_mib() -> float:
    return os.sysconf("SC_PAGE_SIZE") / _MIB


def _process_ids() -> list[int]:
    if IS_LINUX:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208  (ten times faster)
    import psutil

    return psutil.pids()


def _find_in_proc(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  (called for every process of the host)
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name in parentheses may hold spaces and parentheses
    if fields[0] in _ENDED_STATES:
        return None
    return Process(pid, int(fields[1]), f"{boot_id()}:{fields[19].decode()}", int(fields[21]) * _page_mib())


def _find_by_psutil(pid: int) -> Process | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        start = f"{boot_id()}:{process.create_time():.2f}"
        return Process(pid, process.ppid(), start, process.memory_info().rss / _MIB)
    except psutil.Error:
        return None
