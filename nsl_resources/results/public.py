"""The public copy `results.duckdb`: for the DuckDB shell, notebooks and ATTACH; nothing of ours reads it.

Users may open it read-write, be killed, and leave a `.wal` that fits no later copy. So whatever is not
exactly what we published is kept aside as a database of its own, never deleted, and a fresh copy takes the
name.
"""

import contextlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from nsl_resources.artifacts.atomic import (
    TEMPORARY_SUFFIX,
    atomic_write_text,
    removed_on_failure,
    rename_durably,
    temporary_beside,
)

PUBLIC_NAME: Final = "results.duckdb"
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Record:
    """What we know of the public file."""

    copy_of: str
    """Name of the generation that it is a copy of; empty while that is changing."""
    stamps: tuple[tuple[int, int], ...]
    """Stamps that a file of ours may have."""


def public_path(root: Path) -> Path:
    """The public database file."""
    return root / PUBLIC_NAME


def refresh_public(root: Path, generation: Path) -> Path | None:
    """Make the public file a copy of a generation, unless it is that already, untouched by others.

    Returns where the others' database was kept, if there was one.
    """
    public, record = public_path(root), _read_record(root)
    is_untouched = public.exists() and not _wal(public).exists() and _stamp(public) in record.stamps
    if is_untouched and record == _Record(generation.name, (_stamp(public),)):
        return None
    _sweep_temporary(root)
    temporary = temporary_beside(public)
    with removed_on_failure(temporary):
        shutil.copyfile(generation, temporary)
        stamp = _stamp(temporary)
        # Before the swap, with both stamps: killed at any moment, the next publisher still knows our file.
        _write_record(root, _Record("", (stamp, _stamp(public)) if is_untouched else (stamp,)))
        kept = None if is_untouched else _keep_aside(public)
        rename_durably(temporary, public)
    _write_record(root, _Record(generation.name, (stamp,)))
    return kept


def _wal(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _stamp(database: Path) -> tuple[int, int]:
    """Size and time of change: tells whether others wrote to the file."""
    status = database.stat()
    return status.st_size, status.st_mtime_ns


def _record_path(root: Path) -> Path:
    return root / "results" / "public.json"


def _read_record(root: Path) -> _Record:
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        record = json.loads(_record_path(root).read_text(encoding="utf-8"))
        return _Record(record["copy_of"], tuple((size, time) for size, time in record["stamps"]))
    return _Record("", ())


def _write_record(root: Path, record: _Record) -> None:
    atomic_write_text(_record_path(root), json.dumps(asdict(record)))


def _keep_aside(public: Path) -> Path | None:
    """Keep a database that others wrote to, with its `.wal`, so that DuckDB can still open the pair."""
    if not public.exists() and not _wal(public).exists():
        return None
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = public.with_name(f"{public.stem}.foreign-{moment}{public.suffix}")
    if public.exists():
        _link_or_rename(public, kept)
    if _wal(public).exists():
        _wal(public).rename(_wal(kept))
    _LOG.warning(
        "%s was written to by another program. What it wrote is kept in %s; a fresh copy of the results "
        "took its place. Keep your own tables and views in a database of your own that attaches this one.",
        public,
        kept,
    )
    return kept


def _link_or_rename(public: Path, kept: Path) -> None:
    """Give the file a second name; a file system without links leaves the public name empty for a moment."""
    try:
        kept.hardlink_to(public)
    except OSError:
        public.rename(kept)


def _sweep_temporary(root: Path) -> None:
    for path in root.glob(f".{PUBLIC_NAME}.*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)
