"""Who is in the ledger and still lives. Processes are looked at here, while nobody waits for the ledger."""

from dataclasses import dataclass
from pathlib import Path

from nsl_resources.admission import processes, rows, storage
from nsl_resources.admission.needs import Lease


@dataclass(frozen=True)
class Census:
    """A look at the processes of a ledger.

    Attributes:
        leases: those whose holders lived, oldest first.
        dead: holders and waiters that had ended. It stays true: their ids with their starts never come again.
    """

    leases: list[Lease]
    dead: frozenset[rows.Identity]


def take_census(path: Path) -> Census:
    """Reads who is in the ledger, and then looks who of them lives."""
    with storage.transaction(path) as connection:
        leases, known = rows.leases(connection), rows.holders_and_waiters(connection)
    dead = frozenset(one for one in known if not processes.is_running(*one))
    return Census([lease for lease in leases if (lease.pid, lease.start) not in dead], dead)
