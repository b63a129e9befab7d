"""The ledger's rows: every SQL statement on waiters, requests and leases, in a caller's transaction."""

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Final

from nsl_resources.admission.needs import Device, Lease, Need, Request
from nsl_resources.admission.processes import Process

STALE_S: Final = 10.0
CALL_AGAIN_S: Final = 0.5
Identity = tuple[int, str]
"""A process: its id and its start."""
Budget = tuple[int, int]
"""Memory (MiB) and cores of a device that leases may hold."""
_SEPARATOR: Final = ","  # in lists of device ids, which hold none: CUDA_VISIBLE_DEVICES separates them by it


@dataclass(frozen=True)
class Ask:
    """A need that joins the line."""

    key: str
    need: Need
    label: str
    since_s: float
    expected_s: float | None = None


def holders_and_waiters(connection: sqlite3.Connection) -> set[Identity]:
    """The processes that hold leases or wait."""
    found = connection.execute("SELECT pid, start FROM lease UNION SELECT pid, start FROM waiter")
    return {(pid, start) for pid, start in found}


def reap(connection: sqlite3.Connection, dead: Collection[Identity], now_s: float) -> None:
    """Removes the leases of dead holders, dead waiters with their requests, and waiters that fell silent."""
    connection.executemany("DELETE FROM lease WHERE pid = ? AND start = ?", dead)
    connection.executemany("DELETE FROM waiter WHERE pid = ? AND start = ?", dead)
    n_silent = connection.execute(
        "DELETE FROM waiter WHERE seen_s < ? AND id NOT IN (SELECT waiter FROM request UNION SELECT waiter FROM lease)",
        [now_s - STALE_S],
    ).rowcount
    if dead or n_silent:
        connection.execute("DELETE FROM request WHERE waiter NOT IN (SELECT id FROM waiter)")


def leases(connection: sqlite3.Connection) -> list[Lease]:
    """All leases, oldest first."""
    return [_lease(row) for row in connection.execute("SELECT * FROM lease ORDER BY rowid")]


def _lease(row: sqlite3.Row) -> Lease:
    gpus = tuple(row["gpus"].split(_SEPARATOR)) if row["gpus"] else ()
    need = Need(row["memory_mib"], row["cores"], len(gpus), row["gpu_memory_mib"])
    return Lease(row["id"], need, gpus, row["pid"], row["start"], row["label"], row["since_s"])


def requests(connection: sqlite3.Connection, now_s: float) -> list[Request]:
    """The requests of waiters that were heard of lately."""
    found = connection.execute(
        "SELECT request.*, slots, budgets FROM request JOIN waiter ON waiter.id = request.waiter "
        "WHERE slots > 0 AND seen_s >= ?",
        [now_s - STALE_S],
    ).fetchall()
    return [_request(row, _devices(row["budgets"])) for row in found]


def _request(row: sqlite3.Row, devices: frozenset[str]) -> Request:
    need = Need(row["memory_mib"], row["cores"], row["n_gpus"], row["gpu_memory_mib"])
    return Request(
        row["id"], row["waiter"], need, row["since_s"], row["blocked_since_s"], row["slots"], devices, row["label"],
        row["expected_s"],
    )  # fmt: skip


def introduce(connection: sqlite3.Connection, waiter: str, process: Process, devices: Iterable[Device]) -> None:
    """Notes a waiter that is not known, or not any more, and the budgets with which it was set up."""
    if connection.execute("SELECT 1 FROM waiter WHERE id = ?", [waiter]).fetchone():
        return
    budgets = json.dumps({device.id: (device.budget_mib, device.cores) for device in devices})
    connection.execute(
        "INSERT INTO waiter (id, pid, start, budgets, slots, seen_s) VALUES (?, ?, ?, ?, 0, 0)",
        [waiter, process.pid, process.start, budgets],
    )


def see(connection: sqlite3.Connection, waiter: str, slots: int, now_s: float) -> None:
    """Notes that the waiter is there and how many workers it can start."""
    connection.execute("UPDATE waiter SET slots = ?, seen_s = ?, called_s = NULL WHERE id = ?", [slots, now_s, waiter])


def fill_slots(connection: sqlite3.Connection, waiter: str, n_taken: int) -> None:
    """Notes that the waiter can start so many workers less."""
    connection.execute("UPDATE waiter SET slots = slots - ? WHERE id = ?", [n_taken, waiter])


def call(connection: sqlite3.Connection, waiters: Collection[str], now_s: float) -> list[str]:
    """Those of these waiters that have not been called lately, or have looked since: they are to be woken."""
    marks = ", ".join("?" * len(waiters))
    called = connection.execute(
        f"SELECT id FROM waiter WHERE id IN ({marks}) AND (called_s IS NULL OR called_s < ?)",
        [*waiters, now_s - CALL_AGAIN_S],
    ).fetchall()
    connection.executemany("UPDATE waiter SET called_s = ? WHERE id = ?", [(now_s, waiter) for (waiter,) in called])
    return [waiter for (waiter,) in called]


def n_waiters(connection: sqlite3.Connection) -> int:
    """How many wait for something."""
    (count,) = connection.execute("SELECT count(DISTINCT waiter) FROM request").fetchone()
    return int(count)


def last_seen(connection: sqlite3.Connection) -> list[str]:
    """Some waiters that could start something, those first that looked last: most likely they still listen."""
    found = connection.execute(
        "SELECT id FROM waiter WHERE slots > 0 AND id IN (SELECT waiter FROM request) ORDER BY seen_s DESC LIMIT 8"
    )
    return [waiter for (waiter,) in found.fetchall()]


def join(connection: sqlite3.Connection, waiter: str, asks: Iterable[Ask]) -> None:
    """Puts needs into the line."""
    connection.executemany(
        "INSERT INTO request (waiter, key, memory_mib, cores, n_gpus, gpu_memory_mib, label, since_s, expected_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(waiter, ask.key, *astuple(ask.need), ask.label, ask.since_s, ask.expected_s) for ask in asks],
    )


def change(connection: sqlite3.Connection, waiter: str, asks: Iterable[Ask]) -> None:
    """Changes what is asked for; age and place at the head of a line stay."""
    connection.executemany(
        "UPDATE request SET memory_mib = ?, cores = ?, n_gpus = ?, gpu_memory_mib = ? WHERE waiter = ? AND key = ?",
        [(*astuple(ask.need), waiter, ask.key) for ask in asks],
    )


def withdraw(connection: sqlite3.Connection, waiter: str, key: str) -> None:
    """Takes a need out of the line."""
    connection.execute("DELETE FROM request WHERE waiter = ? AND key = ?", [waiter, key])


def note_blocked(connection: sqlite3.Connection, blocked: Iterable[int], now_s: float) -> None:
    """Starts the clock of requests that head their line and do not fit."""
    connection.executemany(
        "UPDATE request SET blocked_since_s = ? WHERE id = ? AND blocked_since_s IS NULL",
        [(now_s, request) for request in blocked],
    )


def smallest_budgets(connection: sqlite3.Connection) -> dict[str, Budget]:
    """Of each device the smallest memory and number of cores among the budgets of those who wait or hold leases."""
    found = connection.execute(
        "SELECT DISTINCT budgets FROM waiter WHERE id IN (SELECT waiter FROM request UNION SELECT waiter FROM lease)"
    )
    smallest: dict[str, Budget] = {}
    for (text,) in found:
        for device, (memory_mib, cores) in _budgets(text).items():
            least_mib, least_cores = smallest.get(device, (memory_mib, cores))
            smallest[device] = min(memory_mib, least_mib), min(cores, least_cores)
    return smallest


@lru_cache(maxsize=64)
def _budgets(text: str) -> Mapping[str, Budget]:
    """Budgets as the ledger keeps them: few different ones, and the same text in every poll."""
    return {device: (memory_mib, cores) for device, (memory_mib, cores) in json.loads(text).items()}


@lru_cache(maxsize=64)
def _devices(text: str) -> frozenset[str]:
    return frozenset(_budgets(text))


def take(
    connection: sqlite3.Connection, request: Request, gpus: tuple[str, ...], holder: Process, now_s: float
) -> tuple[str, Lease]:
    """Turns a granted request into a lease: (its key, the lease)."""
    lease = Lease(uuid.uuid4().hex, request.need, gpus, holder.pid, holder.start, request.label, now_s)
    connection.execute(
        "INSERT INTO lease (id, waiter, memory_mib, cores, gpu_memory_mib, gpus, pid, start, label, since_s) "
        "VALUES (:id, :waiter, :memory_mib, :cores, :gpu_memory_mib, :gpus, :pid, :start, :label, :since_s)",
        {**vars(lease), **vars(request.need), "waiter": request.waiter, "gpus": _SEPARATOR.join(gpus)},
    )
    (key,) = connection.execute("SELECT key FROM request WHERE id = ?", [request.id]).fetchone()
    connection.execute("DELETE FROM request WHERE id = ?", [request.id])
    return key, lease


def hand_over(connection: sqlite3.Connection, lease: str, holder: Process) -> None:
    """Lets the lease live as long as another process."""
    connection.execute("UPDATE lease SET pid = ?, start = ? WHERE id = ?", [holder.pid, holder.start, lease])


def release(connection: sqlite3.Connection, lease: str) -> None:
    """Ends a lease."""
    connection.execute("DELETE FROM lease WHERE id = ?", [lease])


def leave(connection: sqlite3.Connection, waiter: str) -> None:
    """Removes everything of a waiter: requests, leases, budgets."""
    for table in ("request", "lease"):
        connection.execute(f"DELETE FROM {table} WHERE waiter = ?", [waiter])
    connection.execute("DELETE FROM waiter WHERE id = ?", [waiter])
