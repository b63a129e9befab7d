"""The ledger's rows: every SQL statement on waiters, budgets, requests and leases, in a caller's transaction."""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from nsl_resources.admission import processes
from nsl_resources.admission.needs import Device, Lease, Need, Request
from nsl_resources.admission.processes import Process

STALE_S: Final = 10.0


@dataclass(frozen=True)
class Ask:
    """A need that joins the line."""

    key: str
    need: Need
    label: str
    since_s: float


def reap(connection: sqlite3.Connection, now_s: float) -> None:
    """Removes the leases of dead holders, dead waiters with their requests, and waiters that fell silent."""
    for table in ("lease", "waiter"):
        rows = connection.execute(f"SELECT DISTINCT pid, start FROM {table}").fetchall()
        dead = [(pid, start) for pid, start in rows if not processes.is_running(pid, start)]
        connection.executemany(f"DELETE FROM {table} WHERE pid = ? AND start = ?", dead)
    connection.execute("DELETE FROM request WHERE waiter NOT IN (SELECT id FROM waiter)")
    connection.execute(
        "DELETE FROM waiter WHERE seen_s < ? AND id NOT IN (SELECT waiter FROM request UNION SELECT waiter FROM lease)",
        [now_s - STALE_S],
    )
    connection.execute("DELETE FROM budget WHERE waiter NOT IN (SELECT id FROM waiter)")


def leases(connection: sqlite3.Connection) -> list[Lease]:
    """All leases, oldest first."""
    rows = connection.execute("SELECT id, device, memory_mib, cores, pid, start, label FROM lease ORDER BY rowid")
    return [Lease(**dict(row)) for row in rows]


def requests(connection: sqlite3.Connection, now_s: float) -> list[Request]:
    """The requests of waiters that were heard of lately."""
    rows = connection.execute(
        "SELECT request.*, slots FROM request JOIN waiter ON waiter.id = request.waiter "
        "WHERE slots > 0 AND seen_s >= ?",
        [now_s - STALE_S],
    )
    return [_request(row) for row in rows]


def _request(row: sqlite3.Row) -> Request:
    need = Need(row["memory_mib"], row["cores"], row["kind"])
    return Request(row["id"], row["waiter"], need, row["since_s"], row["blocked_since_s"], row["slots"])


def see(connection: sqlite3.Connection, waiter: str, process: Process, slots: int, now_s: float) -> None:
    """Notes that the waiter is there and how many workers it can start."""
    connection.execute(
        "INSERT OR REPLACE INTO waiter (id, pid, start, slots, seen_s) VALUES (?, ?, ?, ?, ?)",
        [waiter, process.pid, process.start, slots, now_s],
    )


def note_budgets(connection: sqlite3.Connection, waiter: str, devices: Iterable[Device]) -> None:
    """Notes the budgets with which the waiter was set up."""
    connection.executemany(
        "INSERT OR REPLACE INTO budget (waiter, device, memory_mib, cores) VALUES (?, ?, ?, ?)",
        [(waiter, device.id, device.budget_mib, device.cores) for device in devices],
    )


def join(connection: sqlite3.Connection, waiter: str, asks: Iterable[Ask]) -> None:
    """Puts needs into the line."""
    connection.executemany(
        "INSERT INTO request (waiter, key, kind, memory_mib, cores, label, since_s) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(waiter, a.key, a.need.kind, a.need.memory_mib, a.need.cores, a.label, a.since_s) for a in asks],
    )


def note_blocked(connection: sqlite3.Connection, blocked: Iterable[int], now_s: float) -> None:
    """Starts the clock of requests that head their kind and do not fit."""
    connection.executemany(
        "UPDATE request SET blocked_since_s = ? WHERE id = ? AND blocked_since_s IS NULL",
        [(now_s, request) for request in blocked],
    )


def smallest_budget(connection: sqlite3.Connection, device: Device) -> Device:
    """The device with the smallest budget of those who wait or hold leases now."""
    memory_mib, cores = connection.execute(
        "SELECT min(memory_mib), min(cores) FROM budget WHERE device = ? "
        "AND waiter IN (SELECT waiter FROM request UNION SELECT waiter FROM lease)",
        [device.id],
    ).fetchone()
    if memory_mib is None:
        return device
    return replace(device, budget_mib=min(device.budget_mib, memory_mib), cores=min(device.cores, cores))


def take(
    connection: sqlite3.Connection, waiter: str, request: int, device: str, holder: Process
) -> tuple[str, Lease] | None:
    """Turns a request of this waiter into a lease: (key, lease). None if the request is somebody else's."""
    row = connection.execute("SELECT * FROM request WHERE id = ? AND waiter = ?", [request, waiter]).fetchone()
    if row is None:
        return None
    lease = Lease(uuid.uuid4().hex, device, row["memory_mib"], row["cores"], holder.pid, holder.start, row["label"])
    connection.execute(
        "INSERT INTO lease (id, device, memory_mib, cores, pid, start, label, waiter) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [*vars(lease).values(), waiter],
    )
    connection.execute("DELETE FROM request WHERE id = ?", [request])
    return row["key"], lease


def hand_over(connection: sqlite3.Connection, lease: str, holder: Process) -> None:
    """Lets the lease live as long as another process."""
    connection.execute("UPDATE lease SET pid = ?, start = ? WHERE id = ?", [holder.pid, holder.start, lease])


def release(connection: sqlite3.Connection, lease: str) -> None:
    """Ends a lease."""
    connection.execute("DELETE FROM lease WHERE id = ?", [lease])


def leave(connection: sqlite3.Connection, waiter: str) -> None:
    """Removes everything of a waiter: requests, leases, budgets."""
    for table in ("request", "lease", "budget"):
        connection.execute(f"DELETE FROM {table} WHERE waiter = ?", [waiter])
    connection.execute("DELETE FROM waiter WHERE id = ?", [waiter])
