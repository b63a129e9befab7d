"""Downloads one file over HTTP: resumed after a cut, checked for its length and checksum, and whole or not there.

While a download is under way its bytes are in ``.NAME.part``, and ``.NAME.part.json`` says of which version they are.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from nsl_assets.datasets.progress import Advance, Report
from nsl_assets.datasets.source_file import (
    Accepted,
    Address,
    SourceFile,
    accepted,
    note_sha256,
    noted_sha256,
    require_format,
    require_sha256,
)
from nsl_assets.datasets.whole_files import move_durably, only_process, replacing
from nsl_assets.errors import InputError, NslError, StorageError
from nsl_assets.files import file_sha256

TIMEOUT_S: Final = 60.0
_BLOCK_BYTES: Final = 1 << 20
_MOST_VAIN_ATTEMPTS: Final = 3
_HEADERS: Final = {"User-Agent": "nsl", "Accept-Encoding": "identity"}


class DownloadError(NslError):
    """A file could not be downloaded: no connection, a refusal, or a connection that breaks again and again."""


class _CutError(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class _Version:
    """Which version of a file the bytes in a part are of."""

    url: str
    validator: str | None
    """A strong ETag, or else the date of the last change; None where the server gives neither."""
    size_bytes: int | None


def download(source: SourceFile, folder: Path, report: Report) -> Accepted:
    """Fetch a file from the first of its addresses that has it.

    Raises
    ------
    DownloadError
        No address could deliver it. What came stays, and the next call goes on from there.
    InputError
        What came is not the file: its checksum or format differs. It is kept under ``NAME.refused``.
    StorageError
        There is no room for it.
    """
    failures = []
    for address in source.addresses:
        try:
            return _fetch(source, address, folder, report)
        except DownloadError as error:
            failures.append(f"{address.url}: {error}")
    raise DownloadError("\n".join(failures) or f"{source.name} can only be fetched by hand, from {source.page}.")


def _fetch(source: SourceFile, address: Address, folder: Path, report: Report) -> Accepted:
    target = folder / source.name
    waiting = Advance(f"waiting for another process that downloads {source.name}", 0, None, "bytes")
    with only_process(target, lambda: report(waiting)):
        if another_was_faster := accepted(source, folder):
            return another_was_faster
        part = target.with_name(f".{target.name}.part")
        expected = address.sha256 or noted_sha256(target)
        _complete(part, address, expected, _Reporting(source.name, report))
        return _settle(part, target, expected)


def _settle(part: Path, target: Path, expected: str | None) -> Accepted:
    """Check a complete part and give it its name."""
    sha256 = file_sha256(part)
    try:
        require_format(part, target.name)
        require_sha256(part, sha256, (expected,) if expected else (), "expected is")
    except InputError as error:
        refused = target.with_name(f"{target.name}.refused")
        part.replace(refused)
        raise InputError(str(error).replace(str(part), str(refused))) from None
    finally:
        _version_file(part).unlink(missing_ok=True)
    note_sha256(target, sha256)
    move_durably(part, target)
    return Accepted(target, sha256)


@dataclass(frozen=True)
class _Reporting:
    """Says how far the download of one file has come."""

    name: str
    report: Report

    def say(self, done: int, total: int | None, resumed_from: int) -> None:
        self.report(Advance(self.name, done, total, "bytes", resumed_from))


def _complete(part: Path, address: Address, expected: str | None, reporting: _Reporting) -> None:
    """Transfer until the part is complete: again after a cut, as long as each attempt comes further than the last."""
    furthest, vain = 0, 0
    while True:
        try:
            _transfer(part, address, expected, reporting)
            return
        except _CutError as cut:
            reached = part.stat().st_size if part.exists() else 0
            vain = 0 if reached > furthest else vain + 1
            furthest = max(furthest, reached)
            if vain == _MOST_VAIN_ATTEMPTS:
                raise DownloadError(
                    f"the connection broke after {reached:,} bytes ({cut}). Run the same command again to go on."
                ) from cut


def _transfer(part: Path, address: Address, expected: str | None, reporting: _Reporting) -> None:
    """One request: the rest of the file, or all of it where there is nothing to go on from."""
    begun = _begun(part, address.url)
    start = part.stat().st_size if begun else 0
    if begun and start == begun.size_bytes:
        return
    with _opened(address.url, start, begun, part) as response:
        version, start = _agreed(response, address.url, start, begun)
        if version.size_bytes is None and expected is None and not response.chunked:
            raise DownloadError("the server does not say how long the file is, and no checksum is known to check it")
        _require_room(part, version, start)
        if not start:
            part.unlink(missing_ok=True)  # before its version changes: bytes of two versions must never meet
        _remember(part, version)
        _write(response, part, start, version.size_bytes, reporting)


def _begun(part: Path, url: str) -> _Version | None:
    """Of which version the part is; None where it cannot be gone on with."""
    try:
        version = _Version(**json.loads(_version_file(part).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    is_usable = part.exists() and version.url == url and version.validator and version.size_bytes
    return version if is_usable and part.stat().st_size <= (version.size_bytes or 0) else None


def _opened(url: str, start: int, begun: _Version | None, part: Path) -> http.client.HTTPResponse:
    headers = dict(_HEADERS)
    if start and begun and begun.validator:
        headers |= {"Range": f"bytes={start}-", "If-Range": begun.validator}
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _CutError("the server has no such part any more") from error
        raise DownloadError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"no connection ({error.reason})") from error
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(str(error) or type(error).__name__) from error
    return response


def _agreed(response: http.client.HTTPResponse, url: str, start: int, begun: _Version | None) -> tuple[_Version, int]:
    """The version that the server sends, and the byte that it begins with."""
    headers = response.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"the server sends it {headers['Content-Encoding']}-encoded, although it was asked not to")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and begun:
        span = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        if span and (int(span[1]), int(span[3])) == (start, begun.size_bytes):
            return begun, start
        raise DownloadError(f"the server sent another part ({headers.get('Content-Range')}) than was asked for")
    length = headers.get("Content-Length")
    return _Version(url, _validator(headers), int(length) if length and length.isdigit() else None), 0


def _validator(headers: http.client.HTTPMessage) -> str | None:
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _require_room(part: Path, version: _Version, start: int) -> None:
    needed, free = (version.size_bytes or 0) - start, shutil.disk_usage(part.parent).free
    if needed > free:
        raise StorageError(
            f"{part.parent} has {free:,} bytes free; {needed:,} more are needed. Free space, or name another folder"
            " with NSL_DATA. What was downloaded is kept."
        )


def _remember(part: Path, version: _Version) -> None:
    with replacing(_version_file(part)) as temporary:
        temporary.write_text(json.dumps(asdict(version)))


def _write(
    response: http.client.HTTPResponse, part: Path, start: int, size_bytes: int | None, reporting: _Reporting
) -> None:
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for block in _blocks(response):
            file.write(block)
            done += len(block)
            reporting.say(done, size_bytes, start)
    if size_bytes is not None and done != size_bytes:
        raise _CutError(f"{done:,} of {size_bytes:,} bytes came")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _CutError(str(error) or type(error).__name__) from error
        if not block:
            return
        yield block


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
