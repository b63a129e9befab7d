"""The private database files: each publication makes a new one, readers open the newest.

A file is complete when it appears, read-only and never changed, so that no reader ever waits for a lock.
Old ones are removed after a grace: POSIX lets readers go on with a removed file, the grace is for network
file systems.
"""

import itertools
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from nsl_resources.artifacts.atomic import TEMPORARY_SUFFIX, rename_durably

GRACE_S: Final = 60.0
_NAME: Final = re.compile(r"results-(\d{8})-([0-9a-f]{8})\.duckdb")


@dataclass(frozen=True, order=True)
class Generation:
    """One published state of the database."""

    number: int
    token: str
    """Random, so that no name comes back when the folder was deleted and numbers start again: what remembers
    a state by its name, as DuckDB's cache of open paths does, must never take another one for it."""
    folder: Path

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / f"results-{self.number:08d}-{self.token}.duckdb"

    def next(self) -> Self:
        """A fresh name for the state after this one."""
        return type(self)(self.number + 1, secrets.token_hex(4), self.folder)


def database_folder(root: Path) -> Path:
    """Where the database files are."""
    return root / "results" / "db"


def generations(root: Path) -> list[Generation]:
    """All published states that are still there, oldest first."""
    folder = database_folder(root)
    matches = (_NAME.fullmatch(path.name) for path in folder.glob("results-*.duckdb"))
    return sorted(Generation(int(match[1]), match[2], folder) for match in matches if match)


def newest(root: Path) -> Generation | None:
    """The state that readers open; None before the first publication."""
    return next(reversed(generations(root)), None)


def first(root: Path) -> Generation:
    """The state before any other: it has no file."""
    return Generation(0, "", database_folder(root))


def temporary_database(generation: Generation) -> Path:
    """Where a database is built before it appears as this generation."""
    return generation.path.with_name(f".{generation.path.name}{TEMPORARY_SUFFIX}")


def reveal(temporary: Path, generation: Generation) -> None:
    """Let a finished, closed database appear."""
    temporary.chmod(0o444)
    rename_durably(temporary, generation.path)


def sweep_temporary(root: Path) -> None:
    """Remove what killed publishers left. Only under the publication lock: then nobody is building."""
    for path in database_folder(root).glob(f".*{TEMPORARY_SUFFIX}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def superseded(states: Sequence[Generation], grace_s: float = GRACE_S) -> list[Generation]:
    """Of the states, oldest first, those that were superseded longer ago than the grace."""
    return [old for old, later in itertools.pairwise(states) if time.time() - later.path.stat().st_mtime > grace_s]


def remove_old(root: Path, grace_s: float = GRACE_S) -> None:
    """Remove the states that were superseded longer ago than the grace."""
    for old in superseded(generations(root), grace_s):
        old.path.unlink(missing_ok=True)
