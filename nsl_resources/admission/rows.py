"""The ledger's rows: every SQL statement on waiters, budgets, requests and leases, in a caller's transaction."""

import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Final

from nsl_resources.admission import processes
from nsl_resources.admission.needs import GPU, Device, Lease, Need, Request
from nsl_resources.admission.processes import Process

STALE_S: Final = 10.0
_SEPARATOR: Final = ","  # in lists of device ids, which hold none: CUDA_VISIBLE_DEVICES separates them by it


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
    return [_lease(row) for row in connection.execute("SELECT * FROM lease ORDER BY rowid")]


def _lease(row: sqlite3.Row) -> Lease:
    gpus = tuple(row["gpus"].split(_SEPARATOR)) if row["gpus"] else ()
    need = Need(row["memory_mib"], row["cores"], len(gpus), row["gpu_memory_mib"])
    return Lease(row["id"], need, gpus, row["pid"], row["start"], row["label"], row["since_s"])


def requests(connection: sqlite3.Connection, now_s: float) -> list[Request]:
    """The requests of waiters that were heard of lately."""
    rows = connection.execute(
        "SELECT request.*, slots, "
        "(SELECT group_concat(device, ?) FROM budget WHERE budget.waiter = request.waiter) AS devices "
        "FROM request JOIN waiter ON waiter.id = request.waiter WHERE slots > 0 AND seen_s >= ?",
        [_SEPARATOR, now_s - STALE_S],
    )
    return [_request(row) for row in rows]


def _request(row: sqlite3.Row) -> Request:
    need = Need(row["memory_mib"], row["cores"], row["n_gpus"], row["gpu_memory_mib"])
    devices = frozenset(row["devices"].split(_SEPARATOR))
    return Request(
        row["id"], row["waiter"], need, row["since_s"], row["blocked_since_s"], row["slots"], devices, row["label"]
    )


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
        "INSERT INTO request (waiter, key, memory_mib, cores, n_gpus, gpu_memory_mib, label, since_s) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(waiter, ask.key, *astuple(ask.need), ask.label, ask.since_s) for ask in asks],
    )


def note_blocked(connection: sqlite3.Connection, blocked: Iterable[int], now_s: float) -> None:
    """Starts the clock of requests that head their line and do not fit."""
    connection.executemany(
        "UPDATE request SET blocked_since_s = ? WHERE id = ? AND blocked_since_s IS NULL",
        [(now_s, request) for request in blocked],
    )


def other_devices(connection: sqlite3.Connection, known: Iterable[str]) -> list[Device]:
    """GPUs that this process does not see and others do: nothing but their smallest budget is known."""
    rows = connection.execute("SELECT device, min(memory_mib) FROM budget GROUP BY device ORDER BY device")
    seen = set(known)
    return [Device(GPU, name, mib, 0, mib, 0) for name, mib in rows if name not in seen]


def smallest_budgets(connection: sqlite3.Connection, devices: Iterable[Device]) -> list[Device]:
    """Each device with the smallest budget of those who wait or hold leases now."""
    rows = connection.execute(
        "SELECT device, min(memory_mib), min(cores) FROM budget "
        "WHERE waiter IN (SELECT waiter FROM request UNION SELECT waiter FROM lease) GROUP BY device"
    )
    least = {name: (memory_mib, cores) for name, memory_mib, cores in rows}
    return [_within(device, *least.get(device.id, (device.budget_mib, device.cores))) for device in devices]


def _within(device: Device, memory_mib: int, cores: int) -> Device:
    return replace(device, budget_mib=min(device.budget_mib, memory_mib), cores=min(device.cores, cores))


def take(
    connection: sqlite3.Connection, waiter: str, grant: tuple[int, tuple[str, ...]], holder: Process, now_s: float
) -> tuple[str, Lease] | None:
    """Turns a granted request of this waiter into a lease: (key, lease). None if the request is somebody else's."""
    request, gpus = grant
    row = connection.execute("SELECT * FROM request WHERE id = ? AND waiter = ?", [request, waiter]).fetchone()
    if row is None:
        return None
    need = Need(row["memory_mib"], row["cores"], row["n_gpus"], row["gpu_memory_mib"])
    lease = Lease(uuid.uuid4().hex, need, gpus, holder.pid, holder.start, row["label"], now_s)
    connection.execute(
        "INSERT INTO lease (id, waiter, memory_mib, cores, gpu_memory_mib, gpus, pid, start, label, since_s) "
        "VALUES (:id, :waiter, :memory_mib, :cores, :gpu_memory_mib, :gpus, :pid, :start, :label, :since_s)",
        {**vars(lease), **vars(need), "waiter": waiter, "gpus": _SEPARATOR.join(gpus)},
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
