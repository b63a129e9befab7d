"""A public file that a data set is made from: where it is, and how a file found on disk is accepted as that one.

A file is recognised by its SHA-256. Where the publisher states none, the checksum of the first complete file is noted
in ``NAME.sha256`` beside it (the format of ``sha256sum``), and every later one must agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nsl_assets.datasets.whole_files import replacing
from nsl_assets.errors import InputError
from nsl_assets.files import file_sha256

_BEGINNINGS: Final = {".h5ad": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), ".gz": (b"\x1f\x8b", "a gzip file")}


@dataclass(frozen=True)
class Address:
    """One place that a file can be downloaded from.

    Attributes
    ----------
    url
        Of the file itself.
    found_in
        The public source that names this address.
    sha256
        Of the file at this address, where somebody has published it.
    """

    url: str
    found_in: str
    sha256: str | None = None


@dataclass(frozen=True)
class SourceFile:
    """One public file.

    Attributes
    ----------
    name
        Its name in the folder of the data set.
    page
        Where a person finds it.
    size
        For people, such as "1.5 GB" or "unknown".
    addresses
        Tried in this order. None: the file has to be fetched by hand.
    other_names
        Names under which a file that was put there by hand is found as well.
    """

    name: str
    page: str
    size: str
    addresses: tuple[Address, ...] = ()
    other_names: tuple[str, ...] = ()

    def advice(self, folder: Path) -> str:
        """What a person has to download, and where to put it."""
        where = self.addresses[0].url if self.addresses else self.page
        return f"{self.name} (size: {self.size}) from {where}\n    into {folder}"


@dataclass(frozen=True)
class Accepted:
    """A file on disk that passed its checks."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Sources:
    """The accepted files of a data set, by the names that its definition gives them."""

    files: Mapping[str, Accepted] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where the file of that name is."""
        return self.files[name].path


def accepted(source: SourceFile, folder: Path) -> Accepted | None:
    """The file in that folder, checked; None where there is none.

    Raises InputError where it is a file of another format, or another content than was published or noted. It stays
    where it is.
    """
    path = next((folder / name for name in (source.name, *source.other_names) if (folder / name).is_file()), None)
    if path is None:
        return None
    require_format(path)
    return Accepted(path, _checked_sha256(path, source))


def require_format(path: Path, name: str | None = None) -> None:
    """Raises InputError where a file does not begin like one of its kind, such as a web page in its place.

    ``name`` tells the kind where the file still has another name.
    """
    name = name or path.name
    with path.open("rb") as file:
        start = file.read(512)
    beginning, kind = _BEGINNINGS.get(Path(name).suffix, (b"", "a table of text"))
    is_markup = start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    if is_markup or not start.startswith(beginning) or (not beginning and (not start or b"\0" in start)):
        found = "a web page" if is_markup else f"a file that begins with {start[:8]!r}" if start else "an empty file"
        raise InputError(f"{path} is {found}; {name} must be {kind}. Download it again, and save the file itself.")


def note_sha256(path: Path, sha256: str) -> None:
    """Note the checksum of a file beside it."""
    with replacing(_note(path)) as temporary:
        temporary.write_text(f"{sha256}  {path.name}\n")


def noted_sha256(path: Path) -> str | None:
    """The checksum that was noted for a file; None where there is none. Raises InputError for anything else there."""
    note = _note(path)
    if not note.is_file():
        return None
    found = re.fullmatch(r"([0-9a-f]{64})\s.*", note.read_text(errors="replace"), flags=re.DOTALL)
    if found is None:
        raise InputError(f"{note} must begin with a SHA-256 of 64 digits. Delete it to note the checksum anew.")
    return found[1]


def require_sha256(path: Path, found: str, expected: tuple[str, ...], origin: str) -> None:
    """Raises InputError where a checksum is none of those expected; ``origin`` says who expects them."""
    if expected and found not in expected:
        raise InputError(
            f"{path} has the SHA-256 {found}; {origin} {' or '.join(expected)}: it is another version, or damaged."
            " The file was left as it is: move it away and download it again."
        )


def _checked_sha256(path: Path, source: SourceFile) -> str:
    found = file_sha256(path)
    published = tuple(address.sha256 for address in source.addresses if address.sha256)
    if published and len(published) == len(source.addresses):
        require_sha256(path, found, published, "published is")
    noted = noted_sha256(path)
    if noted is None:
        note_sha256(path, found)
    else:
        advice = f"noted in {_note(path).name} (delete that note to accept a new version) is"
        require_sha256(path, found, (noted,), advice)
    return found


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
