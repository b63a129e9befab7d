"""A server on loopback that can misbehave as real ones do, and small files of the formats of the public data sets."""

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nsl_assets.datasets.source_file import Address, SourceFile


@dataclass
class Page:
    """What the server does with one address."""

    content: bytes
    takes_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers breaks off."""
    status: int = 200
    redirect: str | None = None
    says_length: bool = True
    tag: str | None = '"v1"'
    range_offset: int = 0
    """Bytes by which an answer to a range is off."""


@dataclass
class Server:
    """Pages by path, and the ranges that were asked for."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def serve(self, path: str, content: bytes, **behaviour: Any) -> None:
        """Serve content from now on; see `Page` for the behaviour."""
        self.pages[path] = Page(content, **behaviour)

    def address(self, path: str, sha256: str | None = None) -> Address:
        return Address(f"{self.url}/{path}", "a test", sha256)

    def source(self, path: str, *, sha256: str | None = None, name: str | None = None) -> SourceFile:
        return SourceFile(name or path, "http://page", "tiny", (self.address(path, sha256),))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server; nothing goes through a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running: Server

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, asked = self.path.lstrip("/"), self.headers.get("Range")
            running.requests.append((path, asked))
            page = running.pages.get(path)
            if page is None or page.status >= 400:
                self.send_error(404 if page is None else page.status)
            elif page.redirect is not None:
                self.send_response(302)
                self.send_header("Location", page.redirect)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self._send(page, asked)

        def _send(self, page: Page, asked: str | None) -> None:
            start = 0
            if asked and page.takes_ranges and self.headers.get("If-Range") in (None, page.tag):
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            body = page.content[start + page.range_offset if start else 0 :]
            self.send_response(206 if start else 200)
            if start:
                total = len(page.content)
                self.send_header("Content-Range", f"bytes {start + page.range_offset}-{total - 1}/{total}")
            if page.tag:
                self.send_header("ETag", page.tag)
            if page.says_length:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body[: page.cuts.pop(0)] if page.cuts else body)
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        running = Server(f"http://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        listening.shutdown()
        thread.join()


@pytest.fixture
def content() -> bytes:
    """Two MiB of a gzip file that compress to nothing smaller."""
    return gzip.compress(b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(65_536)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def nothing_left() -> Callable[[Path], None]:
    """Checks that a folder holds no half-written files."""

    def check(folder: Path) -> None:
        assert [path.name for path in folder.iterdir() if path.suffix in (".tmp", ".part", ".json")] == []

    return check
