"""Where a table lies: a file and, where it holds more than one table, the place in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsl_assets.errors import InputError

FORMS: Final = "FILE.npy, FILE.csv, FILE.parquet, FILE.csv:COLUMN[,COLUMN], FILE.h5ad:obsm:KEY or FILE.h5ad:obs:COLUMN"
_ADDRESS: Final = re.compile(r"(?P<path>.+?\.(?:npy|csv|parquet|h5ad))(?::(?P<place>.+))?", re.DOTALL)
_MOST_LISTED: Final = 20


@dataclass(frozen=True)
class Address:
    """A file and the place of a table in it.

    Attributes
    ----------
    path
        The file.
    place
        "obsm:KEY" or "obs:COLUMN" of an .h5ad; "COLUMN" or "COLUMN,COLUMN" of a .csv or .parquet; None: the whole.
    """

    path: Path
    place: str | None = None

    @classmethod
    def parse(cls, text: str) -> Address:
        """Split "FILE:PLACE". Raises InputError where the text has none of the forms."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise InputError(f"{text} is no table that can be read. Give {FORMS}.")
        address = cls(Path(found["path"]).expanduser(), found["place"])
        if address.path.suffix == ".h5ad":
            address.h5ad_place()
        if address.path.suffix == ".npy" and address.place is not None:
            raise InputError(f"{text} names a column, but columns of a .npy have no names. Give {address.path}.")
        return address

    def __str__(self) -> str:
        return str(self.path) if self.place is None else f"{self.path}:{self.place}"

    def h5ad_place(self) -> tuple[str, str]:
        """("obsm", KEY) or ("obs", COLUMN) of an .h5ad. Raises InputError for any other place."""
        where, _, key = (self.place or "").partition(":")
        if where not in ("obs", "obsm") or not key:
            raise InputError(f"{self} names no table of the file: give {self.path}:obsm:KEY or {self.path}:obs:COLUMN.")
        return where, key

    def chosen(self, columns: Sequence[str]) -> list[str]:
        """The columns of a .csv or .parquet that the place names, all without one. Raises InputError where missing."""
        if self.place is None:
            return list(columns)
        names = [self.place] if self.place in columns else [name.strip() for name in self.place.split(",")]
        for name in names:
            if name not in columns:
                raise missing(self.path, f"column {name!r}", "columns", columns)
        return list(dict.fromkeys(names))


def missing(path: Path, what: str, kind: str, present: Sequence[str]) -> InputError:
    """The error that something is not in a file, with what there is."""
    more = f" and {len(present) - _MOST_LISTED} more" if len(present) > _MOST_LISTED else ""
    return InputError(f"{path} has no {what}. Its {kind}: {', '.join(present[:_MOST_LISTED]) or 'none'}{more}.")
