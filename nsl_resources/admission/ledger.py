"""The ledger of leases that all processes of a node share.

Two processes with different budgets: while both wait or hold leases, the smaller memory and the smaller number
of cores bind both.
"""

import time
from collections.abc import Callable
from pathlib import Path

from nsl_resources.admission import rows, storage
from nsl_resources.admission.census import take_census
from nsl_resources.admission.host import HostProbe
from nsl_resources.admission.line import HeldLease, Wait, WaitingLine, wake_one
from nsl_resources.admission.needs import Lease, Need, Probe
from nsl_resources.admission.policy import Ageing, check
from nsl_resources.admission.snapshot import Snapshot, take_snapshot


class Ledger:
    """The leases of this node. Cheap to make; every process makes its own on the same file.

    Args:
        probe: the devices and their use; by default the host with all its memory but the headroom.
        path: the SQLite file, by default `nsl_resources.gpu.default_ledger_path()`.
        ageing: how waiting turns into rank.
    """

    def __init__(self, probe: Probe | None = None, path: Path | None = None, *, ageing: Ageing | None = None) -> None:
        self.path = path or storage.default_ledger_path()
        self.probe: Probe = probe or HostProbe()
        self.ageing = ageing or Ageing()
        storage.prepare(self.path)

    def check(self, need: Need, label: str) -> None:
        """Raises AdmissionError if the need exceeds the whole budget."""
        check(need, self.probe.devices(), label)

    def leases(self) -> list[Lease]:
        """All live leases of the node, of every process."""
        return take_census(self.path).leases

    def reap(self) -> list[Lease]:
        """Gives back what dead processes hold; returns those leases. Every poll of a waiter does so too, in silence."""
        dead = take_census(self.path).dead
        if not dead:
            return []
        with storage.transaction(self.path) as connection:
            before = rows.leases(connection)
            rows.reap(connection, dead, time.monotonic())
            waiters = rows.last_seen(connection)
        wake_one(waiters)
        return [lease for lease in before if (lease.pid, lease.start) in dead]

    def snapshot(self) -> Snapshot:
        """The node as it is now: devices, leases, and who waits for what. It changes nothing but reaping the dead."""
        return take_snapshot(self.path, self.probe, self.ageing)

    def line(self) -> WaitingLine:
        """A place to wait with several needs at once; close it when done."""
        return WaitingLine(self.path, self.probe, self.ageing)

    def try_acquire(self, need: Need, label: str) -> HeldLease | None:
        """A lease now, or None: also when the room is there but is kept for somebody who waits.

        Raises:
            AdmissionError: the need exceeds the whole budget.
        """
        return self._acquire(need, label, lambda line: line.poll().get(label))

    def acquire(
        self,
        need: Need,
        label: str,
        timeout: float | None = None,
        on_wait: Callable[[Wait], None] | None = None,
    ) -> HeldLease:
        """Waits for a lease; use it as a context manager.

        Args:
            need: what to reserve.
            label: who asks, for messages and observers.
            timeout: seconds to wait at most.
            on_wait: called when waiting begins, then every ten seconds.

        Raises:
            AdmissionError: the need exceeds the whole budget.
            AdmissionTimeoutError: no lease within the timeout.
        """
        lease = self._acquire(need, label, lambda line: line.wait(label, timeout, on_wait))
        assert lease is not None
        return lease

    def _acquire(self, need: Need, label: str, take: Callable[[WaitingLine], HeldLease | None]) -> HeldLease | None:
        line = self.line()
        lease: HeldLease | None = None
        try:
            line.ask(label, need, label)
            lease = take(line)
        finally:
            if lease is None:
                line.close()
        line.stop_waiting()
        return lease
