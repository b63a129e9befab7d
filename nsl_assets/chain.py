"""The artifacts of one cell of the grid, and what was found damaged of them while they were used."""

from nsl_assets.identity import CellHashes
from nsl_resources.artifacts import Artifacts, Kind

Link = tuple[Kind, str]
"""Kind and content hash of one artifact."""


def links(hashes: CellHashes) -> tuple[Link, ...]:
    """Every artifact of a cell of the grid, each after those that it is made from."""
    chain: list[Link] = [("data", hashes.data), ("auxiliary", hashes.auxiliary), ("noised", hashes.noised)]
    chain += [("noised", crossed.noised) for crossed in hashes.crossed]
    for model in hashes.probed():
        chain += [("model", model.model), ("embedding", model.embedding)]
        chain += [("measurement", digest) for digest in model.measurement.values()]
    return tuple(dict.fromkeys(chain))


class Damage:
    """Artifacts that were set aside since this object was made, by whatever process."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._before = frozenset(one.folder for one in artifacts.damaged())
        self._read: set[Link] = set()

    def read_all(self, hashes: CellHashes) -> None:
        """Read every artifact of a cell of the grid whose worker failed, and set the damaged ones aside.

        Workers share artifacts and often fail for one and the same reason: each is read once.
        """
        unread = [link for link in links(hashes) if link not in self._read]
        self._read.update(unread)
        for kind, digest in unread:
            self._artifacts.set_aside(kind, digest)

    def text(self, hashes: CellHashes) -> str:
        """What was set aside of this cell of the grid, in words; empty where nothing was."""
        chain = set(links(hashes))
        found = [one for one in self._artifacts.damaged() if one.folder not in self._before]
        return "; ".join(str(one) for one in found if (one.kind, one.hash) in chain)
