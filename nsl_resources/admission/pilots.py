"""Who goes first among workers whose memory nobody has measured yet: those of the smallest size.

A formula that errs by half keeps half of each GPU idle, or fails every worker of its model. What the first one uses
corrects the predictions for all others, and the smallest tells it soonest.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A worker on a GPU. `kind`: workers that agree in it differ by size alone. `size`: grows with its time."""

    name: str
    kind: Hashable
    size: float


def pilots(candidates: Iterable[Candidate]) -> dict[str, str]:
    """Who has to wait -> the pilot that has to end before: of each kind the first of the smallest size.

    Others of the smallest size wait for nobody: alone, workers of one size would lose more time than they gain.
    """
    by_kind: dict[Hashable, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_kind[candidate.kind].append(candidate)
    waits_for: dict[str, str] = {}
    for alike in by_kind.values():
        pilot = min(alike, key=lambda one: one.size)
        waits_for |= {one.name: pilot.name for one in alike if one.size > pilot.size}
    return waits_for
