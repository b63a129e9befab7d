"""What the studies that are known need of the storage, and what can go.

An artifact is needed where the chain of hashes of some cell of the grid of some study holds it. Trained models are
needed as far as `keep_models` of their study says.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from nsl_assets.chain import Link, links
from nsl_assets.errors import NslError, StorageError
from nsl_assets.grid import is_measured
from nsl_assets.identity import CellHashes, cell_hashes
from nsl_assets.study import GridCell, Study
from nsl_resources.artifacts import KINDS, Artifacts, folder_bytes
from nsl_resources.results import Results, Spare

UNKNOWN = "no known study asks for it"
SHARED_KINDS = ("data", "auxiliary", "noised")
"""Kinds that no row tells the study of, or that a study needs before its first row."""

MeasuredCell = tuple[GridCell, CellHashes]


@dataclass(frozen=True)
class Removable:
    """Something in the storage that nobody needs."""

    kind: str
    """A kind of artifact, or what else it is."""
    reason: str
    size_bytes: int
    remove: Callable[[], None] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Needs:
    """What the known studies need of the artifacts."""

    links: frozenset[Link]
    spared: Mapping[Link, str]
    """Models that a known study has made and does not keep, with the reason."""
    unreadable: Mapping[str, str]
    """Studies whose data cannot be read, so that their chains are not known, with the reason."""
    recorded: frozenset[str]
    """Hashes that the rows of those studies name."""

    def reason_to_remove(self, link: Link) -> str:
        """Why an artifact can go; empty where it cannot."""
        kind, digest = link
        if link in self.links or digest in self.recorded or (self.unreadable and kind in SHARED_KINDS):
            return ""
        return self.spared.get(link, UNKNOWN)


def needs_of(studies: Mapping[str, Study], artifacts: Artifacts, results: Results) -> Needs:
    """What these studies need of the stored artifacts. Reads the source files of their tasks."""
    needed: set[Link] = set()
    spared: dict[Link, str] = {}
    unreadable: dict[str, str] = {}
    recorded: set[str] = set()
    started = _started_studies(results)
    for name, study in studies.items():
        cells, problems = _hashed_cells(study)
        if problems and name in started:
            unreadable[name] = "\n".join(problems)
            recorded |= results.recorded_artifacts(name)
        left_out = _models_left_out(name, study, cells, artifacts)
        spared |= left_out
        needed |= {link for _, hashes in cells for link in links(hashes)} - left_out.keys()
    return Needs(frozenset(needed), spared, unreadable, frozenset(recorded))


def _started_studies(results: Results) -> frozenset[str]:
    """Studies whose source was made once: no other has anything in the storage."""
    try:
        return frozenset(str(row["study"]) for row in results.query("select distinct study from study"))
    except StorageError:  # nothing was published yet
        return frozenset()


def _hashed_cells(study: Study) -> tuple[list[MeasuredCell], list[str]]:
    """All cells of the grid with their hashes, and why those of some tasks are not known."""
    cells: list[MeasuredCell] = []
    problems = {}
    for cell in study.cells():
        if cell.task in problems:
            continue
        try:
            cells.append((cell, cell_hashes(study, cell)))
        except (NslError, OSError) as error:
            problems[cell.task] = str(error)
    return cells, list(problems.values())


def _models_left_out(name: str, study: Study, cells: list[MeasuredCell], artifacts: Artifacts) -> dict[Link, str]:
    """The models of a study that its `keep_models` does not keep."""
    if study.keep_models == "none":
        waiting = {
            one.model for _, hashes in cells for one in hashes.probed() if not _is_embedded(one.embedding, artifacts)
        }
        made = {one.model for _, hashes in cells for one in hashes.measured()} - waiting
        return {("model", digest): f'study {name}: keep_models = "none"' for digest in made}
    if study.keep_models == "all":
        return {}
    curves: dict[tuple[str, str], list[MeasuredCell]] = defaultdict(list)
    for cell, hashes in cells:
        curves[cell.task, cell.model].append((cell, hashes))
    left_out: dict[Link, str] = {}
    for measured in curves.values():
        if all(is_measured(hashes, artifacts) for _, hashes in measured):
            left_out |= _all_but_the_best(name, study, measured, artifacts)
    return left_out


def _is_embedded(embedding: str, artifacts: Artifacts) -> bool:
    return artifacts.is_complete("embedding", embedding)


def _all_but_the_best(name: str, study: Study, measured: list[MeasuredCell], artifacts: Artifacts) -> dict[Link, str]:
    """Models of one task that are not at the training size and noise level of the highest mean headline value."""
    bits: dict[tuple[int, float], list[float]] = defaultdict(list)
    for cell, hashes in measured:
        digest = hashes.trained.measurement[study.probing.headline]
        bits[cell.n_cells, cell.level].append(_value_bits(digest, artifacts))
    best = max(bits, key=lambda point: (np.mean(bits[point]), point))
    kept = {hashes.trained.model for cell, hashes in measured if (cell.n_cells, cell.level) == best}
    all_models = {model.model for _, hashes in measured for model in hashes.measured()}
    cell = measured[0][0]
    reason = f"study {name} keeps the best models: {cell.task} {cell.model} n={best[0]} q={best[1]:g}"
    return {("model", digest): reason for digest in all_models - kept}


def _value_bits(digest: str, artifacts: Artifacts) -> float:
    stored = artifacts.path("measurement", digest) / "measurement.json"
    return float(json.loads(stored.read_text())["estimate"]["value_bits"])


def removable(needs: Needs, artifacts: Artifacts, results: Results, *, of_study: str | None = None) -> list[Removable]:
    """What can go. With a study: only artifacts that its rows name.

    Artifacts in use by a living process stay; hold `Artifacts.removal_lock` to be sure of that until they are gone.
    """
    found = list(_artifacts(needs, artifacts, None if of_study is None else results.recorded_artifacts(of_study)))
    if of_study is not None:
        return found
    found += [_folder("temporary", "left by a process that was killed", path) for path in artifacts.left_behind()]
    found += [_folder("damaged", "set aside, made again where it is needed", one.folder) for one in artifacts.damaged()]
    found += [_file("database", "a later publication took its place", path) for path in results.old_databases()]
    return found


def _artifacts(needs: Needs, artifacts: Artifacts, only: frozenset[str] | None) -> Iterator[Removable]:
    used = artifacts.used_hashes()
    for kind in KINDS:
        for digest in artifacts.hashes(kind):
            reason = needs.reason_to_remove((kind, digest))
            if reason and digest not in used and (only is None or digest in only):
                size = folder_bytes(artifacts.path(kind, digest))
                yield Removable(kind, reason, size, partial(artifacts.discard, kind, digest))


def landed_summary(spare: Iterable[Spare]) -> list[Removable]:
    """Landed files that a compaction removes, for a list of what can go; they are removed by `Results.compact`."""
    found = []
    for one in spare:
        found += [
            _file("landed rows", f"{one.table.name}: later rows took their place", path) for path in one.superseded
        ]
        found += [_file("landed rows", f"{one.table.name}: merged into one file", path) for path in one.merged]
    return found


def _file(kind: str, reason: str, path: Path) -> Removable:
    return Removable(kind, reason, path.stat().st_size, partial(path.unlink, missing_ok=True))


def _folder(kind: str, reason: str, path: Path) -> Removable:
    return Removable(kind, reason, folder_bytes(path), partial(remove_folder, path))


def remove_folder(path: Path) -> None:
    """Remove a folder that another process may be removing too."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
