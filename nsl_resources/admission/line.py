"""Waiting in line for leases, and the leases in our hands.

A poll first looks at processes and devices. Then, in one transaction of about a millisecond, it removes what dead
processes left, lets the policy decide over the requests of *all* waiters, and takes what it grants to the caller. Those
to whom it grants something too are woken for polls of their own. Who has not polled for ten seconds is passed over
until it does, so that a stopped process holds up nobody.

A lease that ends wakes one waiter, which decides for all. If that one dies, or if nobody tells of an end, the others
find out: everybody also polls after a pause, which is the longer the more there are.
"""

import random
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from nsl_resources.admission import processes, rows, storage
from nsl_resources.admission.census import take_census
from nsl_resources.admission.doorbell import Doorbell, ring
from nsl_resources.admission.needs import GPU, AdmissionTimeoutError, Device, Lease, Need, Probe, Reading, Request
from nsl_resources.admission.policy import Ageing, check, decide
from nsl_resources.admission.rooms import Room, node
from nsl_resources.admission.visible import environment_of

_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.5
_POLLS_PER_S: Final = 25.0
_LONGEST_IN_A_CROWD_S: Final = rows.STALE_S / 2
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
    """The needs of one waiter, which may be many; `poll` takes what is granted. Not for several threads.

    Attributes:
        pause_s: how long to wait for the doorbell before the next poll.
    """

    def __init__(self, path: Path, probe: Probe, ageing: Ageing) -> None:
        self._path, self._probe, self._ageing = path, probe, ageing
        self.pause_s = 0.0
        self._pauses = Pauses()
        self._doorbell: Doorbell | None = None
        self._id = uuid.uuid4().hex
        self._asked: dict[str, rows.Ask] = {}
        self._unsent: dict[str, rows.Ask] = {}
        self._changed: dict[str, rows.Ask] = {}

    @property
    def doorbell(self) -> Doorbell:
        """Rung when there may be something for this line."""
        if self._doorbell is None:
            self._doorbell = Doorbell(self._id)
        return self._doorbell

    def ask(self, key: str, need: Need, label: str, expected_s: float | None = None) -> None:
        """Joins the line, at the next poll; `key` names the need to this waiter, `expected_s` is how long it will run.

        Who stands in line with this key already keeps its age, and asks for this need from now on.

        Raises:
            AdmissionError: the need exceeds the whole budget.
        """
        check(need, self._probe.devices(), label)
        before = self._asked.get(key)
        ask = rows.Ask(key, need, label, time.monotonic() if before is None else before.since_s, expected_s)
        is_in_line = before is not None and key not in self._unsent
        (self._changed if is_in_line else self._unsent)[key] = ask
        self._asked[key] = ask

    def withdraw(self, key: str) -> None:
        """Leaves the line with one need, at once: it holds up nobody any more."""
        for asks in (self._asked, self._unsent, self._changed):
            asks.pop(key, None)
        with storage.transaction(self._path) as connection:
            rows.withdraw(connection, self._id, key)
            others = rows.last_seen(connection)
        wake_one(others)

    def poll(self, slots: int = 1) -> "dict[str, HeldLease]":
        """Takes what is granted now, `slots` leases at most. Keys that are not in the result still wait."""
        self.doorbell.hush()
        census = take_census(self._path)
        readings, me = measure(self._probe, census.leases), processes.myself()
        now_s = time.monotonic()
        with storage.transaction(self._path) as connection:
            rows.reap(connection, census.dead, now_s)
            rows.introduce(connection, self._id, me, (reading.device for reading in readings))
            rows.see(connection, self._id, slots, now_s)
            rows.join(connection, self._id, self._unsent.values())
            rows.change(connection, self._id, self._changed.values())
            granted = self._decide(connection, readings, now_s)
            mine = [(request, gpus) for request, gpus in granted if request.waiter == self._id]
            taken = dict(rows.take(connection, request, gpus, me, now_s) for request, gpus in mine)
            rows.fill_slots(connection, self._id, len(taken))
            others = rows.call(connection, {request.waiter for request, _ in granted} - {self._id}, now_s)
            n_waiters = rows.n_waiters(connection)
        for waiter in others:
            ring(waiter)
        self._unsent.clear()
        self._changed.clear()
        self._asked = {key: ask for key, ask in self._asked.items() if key not in taken}
        self.pause_s = self._pauses.next_s(n_waiters, is_first=bool(taken))
        return {key: HeldLease(self._path, lease) for key, lease in taken.items()}

    def _decide(
        self, connection: sqlite3.Connection, readings: Sequence[Reading], now_s: float
    ) -> list[tuple[Request, tuple[str, ...]]]:
        """What is granted now and to whom, over the requests of all; notes who heads a line without fitting."""
        waiting, leases = rows.requests(connection, now_s), rows.leases(connection)
        decision = decide(waiting, leases, shared_readings(connection, readings), now_s, self._ageing)
        rows.note_blocked(connection, decision.blocked, now_s)
        return [(request, decision.grants[request.id]) for request in waiting if request.id in decision.grants]

    def wait(
        self, key: str, timeout: float | None = None, on_wait: Callable[[Wait], None] | None = None
    ) -> "HeldLease":
        """Polls until `key`, the only need of this line, is granted; see `Ledger.acquire`."""
        report_s = start_s = time.monotonic()
        while not (granted := self.poll()):
            now_s = time.monotonic()
            if on_wait is not None and now_s >= report_s:
                on_wait(self.describe(key))
                report_s = now_s + _REPORT_EVERY_S
            if timeout is not None and now_s - start_s >= timeout:
                raise AdmissionTimeoutError(f"{self.describe(key)}. Gave up after {timeout:g} s.")
            self.doorbell.sleep(self.pause_s)
        return granted[key]

    def describe(self, key: str) -> Wait:
        """What `key` waits for, and what there is."""
        ask = self._asked[key]
        leases = take_census(self._path).leases
        left = node(measure(self._probe, leases), leases)
        gpus = left.gpus if ask.need.n_gpus else ()
        return Wait(ask.label, ask.need, left.host, gpus, time.monotonic() - ask.since_s)

    def close(self) -> None:
        """Leaves the line and gives back every lease taken through it."""
        self.stop_waiting()
        with storage.transaction(self._path) as connection:
            rows.leave(connection, self._id)
            others = rows.last_seen(connection)
        wake_one(others)
        self._asked.clear()

    def stop_waiting(self) -> None:
        """Polls no more; the leases stay."""
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None


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
            others = rows.last_seen(connection)
        wake_one(others)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Pauses:
    """Pauses between polls: 20 ms, growing by half to 500 ms, less a random part so that nobody marches in step.

    In a crowd they are longer: all together poll 25 times a second or somewhat more, and each often enough to be seen.
    """

    def __init__(self) -> None:
        self._chance = random.Random()
        self._pause_s = _FIRST_PAUSE_S

    def next_s(self, n_waiters: int, *, is_first: bool) -> float:
        """The pause after a poll, the first again after something was granted."""
        now_s = _FIRST_PAUSE_S if is_first else self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, 1.5 * now_s)
        in_a_crowd_s = min(n_waiters / _POLLS_PER_S, _LONGEST_IN_A_CROWD_S)
        return max(now_s, in_a_crowd_s) * self._chance.uniform(0.7, 1.0)


def wake_one(waiters: Iterable[str]) -> None:
    """Wakes the first waiter that is there; its poll decides for all."""
    any(ring(waiter) for waiter in waiters)


def measure(probe: Probe, leases: Iterable[Lease]) -> list[Reading]:
    """The use of every device, by everybody and by the holders of leases."""
    holders = {lease.pid for lease in leases}
    return [Reading(d, probe.used_mib(d), probe.used_by_mib(d, holders)) for d in probe.devices()]


def shared_readings(connection: sqlite3.Connection, readings: Sequence[Reading]) -> list[Reading]:
    """What binds all waiters: the smallest budgets, and GPUs that only others see, which their leases fill."""
    smallest = rows.smallest_budgets(connection)
    own = [replace(reading, device=_within(reading.device, smallest)) for reading in readings]
    others = smallest.keys() - {reading.device.id for reading in readings}
    return own + [Reading(_unseen_gpu(name, *smallest[name]), used_mib=0) for name in sorted(others)]


def _within(device: Device, budgets: Mapping[str, rows.Budget]) -> Device:
    memory_mib, cores = budgets.get(device.id, (device.budget_mib, device.cores))
    return replace(device, budget_mib=min(device.budget_mib, memory_mib), cores=min(device.cores, cores))


def _unseen_gpu(name: str, memory_mib: int, cores: int) -> Device:
    return Device(GPU, name, total_mib=memory_mib, headroom_mib=0, budget_mib=memory_mib, cores=cores)
