"""Waiting in line for leases, and the leases in our hands.

Waiting is by polling: when a lease ends somewhere (the bell), and with growing pauses otherwise. A poll is one
transaction of about a millisecond that reaps the leases of dead processes, lets the policy decide over the
requests of *all* waiters, and takes what it grants to the caller. What it grants to others waits for their own
poll; who has not polled for ten seconds is passed over until it does, so that a stopped process holds up nobody.
"""

import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nsl_resources.admission import processes, rows, storage
from nsl_resources.admission.needs import AdmissionTimeoutError, Lease, Need, Probe, Reading
from nsl_resources.admission.policy import Ageing, check, decide
from nsl_resources.admission.rooms import Room, node
from nsl_resources.admission.visible import environment_of

BELL_S: Final = 0.025
"""How often a waiter listens for the bell."""
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_REPORT_EVERY_S: Final = 10.0


@dataclass(frozen=True)
class Wait:
    """Why a worker still waits: what is left of the node, and what programs that are not ours use of it.

    `gpus` are those that it may use, none if it needs none.
    """

    label: str
    need: Need
    host: Room
    gpus: tuple[Room, ...]
    waited_s: float

    def __str__(self) -> str:
        host, device = self.host, self.host.device
        return (
            f"{self.label} has waited {self.waited_s:.0f} s for {self.need}: free are "
            f"{max(0, host.free_mib):,} MiB and {max(0, host.free_cores)} cores of "
            f"{Need(device.budget_mib, device.cores)}; other programs use {host.foreign_mib:,} MiB"
            + "".join(f"; {_describe_gpu(room)}" for room in self.gpus)
        )


def _describe_gpu(room: Room) -> str:
    return (
        f"{room.device.id} has {max(0, room.free_mib):,} of {room.device.budget_mib:,} MiB free, "
        f"other programs use {room.foreign_mib:,} MiB"
    )


class WaitingLine:
    """The needs of one waiter, which may be many; `poll` takes what is granted. Not for several threads."""

    def __init__(self, path: Path, probe: Probe, ageing: Ageing) -> None:
        self._path, self._probe, self._ageing = path, probe, ageing
        self.bell = storage.Bell(path)
        self._id = uuid.uuid4().hex
        self._asked: dict[str, rows.Ask] = {}
        self._unsent: list[rows.Ask] = []

    def ask(self, key: str, need: Need, label: str) -> None:
        """Joins the line, at the next poll; `key` names the need to this waiter.

        Raises:
            AdmissionError: the need exceeds the whole budget.
        """
        check(need, self._probe.devices(), label)
        self._asked[key] = rows.Ask(key, need, label, time.monotonic())
        self._unsent.append(self._asked[key])

    def poll(self, slots: int = 1) -> "dict[str, HeldLease]":
        """Takes what is granted now, `slots` leases at most. Keys that are not in the result still wait."""
        readings = self._readings()
        now_s = time.monotonic()
        me = processes.myself()
        with storage.transaction(self._path) as connection:
            rows.reap(connection, now_s)
            rows.see(connection, self._id, me, slots, now_s)
            rows.note_budgets(connection, self._id, (reading.device for reading in readings))
            rows.join(connection, self._id, self._unsent)
            readings = shared_readings(connection, readings)
            waiting, leases = rows.requests(connection, now_s), rows.leases(connection)
            decision = decide(waiting, leases, readings, now_s, self._ageing)
            rows.note_blocked(connection, decision.blocked, now_s)
            taken = [rows.take(connection, self._id, grant, me, now_s) for grant in decision.grants.items()]
        self._unsent.clear()
        granted = {key: HeldLease(self._path, lease) for key, lease in filter(None, taken)}
        for key in granted:
            del self._asked[key]
        return granted

    def wait(
        self, key: str, timeout: float | None = None, on_wait: Callable[[Wait], None] | None = None
    ) -> "HeldLease":
        """Polls until `key`, the only need of this line, is granted; see `Ledger.acquire`."""
        pauses = backoff()
        report_s = start_s = time.monotonic()
        while not (granted := self.poll()):
            now_s = time.monotonic()
            if on_wait is not None and now_s >= report_s:
                on_wait(self.describe(key))
                report_s = now_s + _REPORT_EVERY_S
            if timeout is not None and now_s - start_s >= timeout:
                raise AdmissionTimeoutError(f"{self.describe(key)}. Gave up after {timeout:g} s.")
            self._sleep(next(pauses))
        return granted[key]

    def _sleep(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0 and not self.bell.has_rung():
            time.sleep(min(left_s, BELL_S))

    def describe(self, key: str) -> Wait:
        """What `key` waits for, and what there is."""
        ask = self._asked[key]
        left = node(self._readings(), live_leases(self._path))
        gpus = left.gpus if ask.need.n_gpus else ()
        return Wait(ask.label, ask.need, left.host, gpus, time.monotonic() - ask.since_s)

    def close(self) -> None:
        """Leaves the line and gives back every lease taken through it."""
        with storage.transaction(self._path) as connection:
            rows.leave(connection, self._id)
        self.bell.ring()
        self._asked.clear()

    def _readings(self) -> list[Reading]:
        return measure(self._probe, live_leases(self._path))


class HeldLease:
    """A lease in our hands: release it, or use it as a context manager. Releasing twice is harmless."""

    def __init__(self, path: Path, lease: Lease) -> None:
        self._path = path
        self.lease = lease

    @property
    def devices(self) -> tuple[str, ...]:
        """The ids of the granted GPUs, none for a worker without."""
        return self.lease.gpus

    @property
    def environment(self) -> dict[str, str]:
        """What shows a worker its GPUs, and no others."""
        return environment_of(self.lease.gpus)

    def hand_to(self, pid: int) -> None:
        """Lets the lease live as long as that process; nothing happens if it has already ended."""
        holder = processes.find(pid)
        if holder is not None:
            with storage.transaction(self._path) as connection:
                rows.hand_over(connection, self.lease.id, holder)

    def release(self) -> None:
        """Gives the share back."""
        with storage.transaction(self._path) as connection:
            rows.release(connection, self.lease.id)
        storage.Bell(self._path).ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def backoff() -> Iterator[float]:
    """Pauses between polls: 20 ms, growing by half to 500 ms, less a random part so that nobody marches in step."""
    chance = random.Random()
    pause_s = _FIRST_PAUSE_S
    while True:
        yield pause_s * chance.uniform(0.7, 1.0)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)


def measure(probe: Probe, leases: Iterable[Lease]) -> list[Reading]:
    """The use of every device, by everybody and by the holders of leases."""
    holders = {lease.pid for lease in leases}
    return [Reading(d, probe.used_mib(d), probe.used_by_mib(d, holders)) for d in probe.devices()]


def shared_readings(connection: sqlite3.Connection, readings: Sequence[Reading]) -> list[Reading]:
    """What binds all waiters: the smallest budgets, and GPUs that only others see, which their leases fill."""
    bound = rows.smallest_budgets(connection, [reading.device for reading in readings])
    own = [replace(reading, device=device) for reading, device in zip(readings, bound, strict=True)]
    others = rows.other_devices(connection, (r.device.id for r in readings))
    return own + [Reading(device, used_mib=0) for device in others]


def live_leases(path: Path) -> list[Lease]:
    """All leases of the node whose holders live, of every process."""
    with storage.transaction(path) as connection:
        rows.reap(connection, time.monotonic())
        return rows.leases(connection)
