"""Who is paired with whom: the cell that is embedded, and the cell that it should know about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.randomness import identity_keys, keyed_order

NEITHER: Final = 0
EARLY: Final = 1
LATE: Final = 2

Rows = npt.NDArray[np.intp]
PairedAuxiliary = Literal["fixed", "same_model"]

_ARRAY: Final = "pairing.npy"
_DESCRIPTION: Final = "pairing.json"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of a task, each (n_pairs,): the cells that are embedded, and the cells whose signal they should know.

    Where a cell's signal is its own, both are the same.
    """

    rows: Rows
    partners: Rows


@dataclass(frozen=True, eq=False)
class Probed:
    """The cells among which pairs are drawn: rows of the task, names and group codes, each (n_cells,)."""

    rows: Rows
    names: npt.NDArray[Any]
    group: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class ClonalPairing:
    """One random early and one random late cell of every clone that has both, drawn by the seed.

    `times` holds EARLY, LATE or NEITHER of all cells of the task, (n_cells,) int8; groups are clones.
    """

    auxiliary: PairedAuxiliary
    times: npt.NDArray[np.int8]

    def draw(self, probed: Probed, *, seed: int, level: float) -> Pairs:  # noqa: ARG002 - the same at all levels
        """The pairs of one seed. They follow from the identity of the cells, not from their order."""
        order = keyed_order(identity_keys(probed.names), "clonal pair", seed)
        times = self.times[probed.rows]
        early_clones, early = _first_of_each(probed.group, order[times[order] == EARLY])
        late_clones, late = _first_of_each(probed.group, order[times[order] == LATE])
        _, at_early, at_late = np.intersect1d(early_clones, late_clones, assume_unique=True, return_indices=True)
        return Pairs(probed.rows[early[at_early]], probed.rows[late[at_late]])

    def save(self, folder: Path) -> None:
        """Write `pairing.npy` and `pairing.json`."""
        _save(folder, self.times, {"kind": "clonal", "auxiliary": self.auxiliary})


@dataclass(frozen=True, eq=False)
class SpatialPairing:
    """One of the nearest cells, drawn once for good, or at each noise level and seed anew.

    `neighbours` holds rows of the task, (n_cells, n_neighbours) int32, nearest first and -1 where there is none.
    """

    auxiliary: PairedAuxiliary
    neighbours: npt.NDArray[np.int32]
    is_redrawn: bool

    def draw(self, probed: Probed, *, seed: int, level: float) -> Pairs:
        """The pairs of one seed at one noise level. They follow from the identity of the cells, not their order."""
        candidates = self.neighbours[probed.rows]
        n_candidates = np.count_nonzero(candidates >= 0, axis=1)
        drawn = f"{seed} {level!r}" if self.is_redrawn else "once"
        keys = identity_keys(f"neighbour {drawn} {name}" for name in probed.names)
        chosen = (keys % np.maximum(n_candidates, 1).astype(np.uint64)).astype(np.intp)
        paired = np.flatnonzero(n_candidates)
        return Pairs(probed.rows[paired], candidates[paired, chosen[paired]].astype(np.intp))

    def save(self, folder: Path) -> None:
        """Write `pairing.npy` and `pairing.json`."""
        about = {"kind": "spatial", "auxiliary": self.auxiliary, "is_redrawn": self.is_redrawn}
        _save(folder, self.neighbours, about)


Pairing = ClonalPairing | SpatialPairing
"""Ways to pair probed cells."""


def load_pairing(folder: Path) -> Pairing | None:
    """What `save` wrote; None where cells are not paired."""
    if not (folder / _DESCRIPTION).is_file():
        return None
    about = json.loads((folder / _DESCRIPTION).read_text())
    values = np.load(folder / _ARRAY, allow_pickle=False)
    if about["kind"] == "clonal":
        return ClonalPairing(about["auxiliary"], values)
    return SpatialPairing(about["auxiliary"], values, about["is_redrawn"])


def _first_of_each(group: npt.NDArray[np.int32], members: Rows) -> tuple[npt.NDArray[np.int32], Rows]:
    """Groups, ascending, and of each its first member in the order given."""
    groups, places = np.unique(group[members], return_index=True)
    return groups, members[places]


def _save(folder: Path, values: npt.NDArray[Any], about: dict[str, Any]) -> None:
    np.save(folder / _ARRAY, values, allow_pickle=False)
    (folder / _DESCRIPTION).write_text(json.dumps(about))
