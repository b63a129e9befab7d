"""The public copy `results.duckdb`: for the DuckDB shell, notebooks and ATTACH; nothing of ours reads it.

Users may open it read-write, be killed, and leave a `.wal` that fits no later copy. So whatever is not
exactly what we published is kept aside as a database of its own, never deleted, and a fresh copy takes the
name.
"""

import contextlib
import json
import logging
import shutil
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


def public_path(root: Path) -> Path:
    """The public database file."""
    return root / PUBLIC_NAME


def refresh_public(root: Path, generation: Path, *, is_new: bool) -> Path | None:
    """Make the public file a copy of a generation, if that is new or the public file was touched by others.

    Returns where the others' database was kept, if there was one.
    """
    public, ours = public_path(root), _our_stamps(root)
    is_untouched = public.exists() and not _wal(public).exists()
    if is_untouched and not is_new and ours[:1] == [_stamp(public)]:
        return None
    _sweep_temporary(root)
    temporary = temporary_beside(public)
    with removed_on_failure(temporary):
        shutil.copyfile(generation, temporary)
        is_ours = is_untouched and _stamp(public) in ours
        # Both stamps, and before the swap: killed at any moment, the next publisher still knows our file.
        _record_stamps(root, [_stamp(temporary), *([_stamp(public)] if is_ours else [])])
        kept = None if is_ours else _keep_aside(public)
        rename_durably(temporary, public)
    return kept


def _wal(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _stamp(database: Path) -> list[int]:
    """Size and time of change: tells whether others wrote to the file."""
    status = database.stat()
    return [status.st_size, status.st_mtime_ns]


def _stamp_path(root: Path) -> Path:
    return root / "results" / "public.json"


def _our_stamps(root: Path) -> list[object]:
    """The stamp of the copy that was published last, then of the one before."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        stamps = json.loads(_stamp_path(root).read_text(encoding="utf-8"))
        return stamps if isinstance(stamps, list) else []
    return []


def _record_stamps(root: Path, stamps: list[list[int]]) -> None:
    atomic_write_text(_stamp_path(root), json.dumps(stamps))


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
