"""Downloads: resumed, checked, whole or not there, whatever the server does."""

import hashlib
import json
import multiprocessing
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from nsl_assets.datasets.download import DownloadError, download
from nsl_assets.datasets.progress import Advance, silent
from nsl_assets.datasets.source_file import Address, SourceFile, accepted
from nsl_assets.errors import InputError, StorageError

NAME = "counts.mtx.gz"


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def address_that_nobody_serves() -> Address:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return Address(f"http://127.0.0.1:{unused.getsockname()[1]}/x", "a test")


def test_a_file_is_downloaded_and_its_checksum_noted(server, content, folder, nothing_left):
    server.serve(NAME, content)
    found = download(server.source(NAME), folder, silent)
    assert found.path.read_bytes() == content
    assert found.sha256 == sha256_of(content)
    assert (folder / f"{NAME}.sha256").read_text() == f"{sha256_of(content)}  {NAME}\n"
    nothing_left(folder)


def test_progress_says_bytes_of_bytes(server, content, folder):
    server.serve(NAME, content)
    said: list[Advance] = []
    download(server.source(NAME), folder, said.append)
    assert said[-1] == Advance(NAME, len(content), len(content), "bytes")
    assert [advance.done for advance in said] == sorted(advance.done for advance in said)


def test_a_cut_in_the_middle_is_gone_on_with_from_there(server, content, folder):
    server.serve(NAME, content, cuts=[1_000_000, 500_000])
    found = download(server.source(NAME), folder, silent)
    assert found.path.read_bytes() == content
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=1500000-"]


def test_the_next_call_goes_on_where_a_broken_one_ended(server, content, folder):
    server.serve(NAME, content, cuts=[900_000, 0, 0, 0])
    with pytest.raises(DownloadError, match="900,000 bytes"):
        download(server.source(NAME), folder, silent)
    assert not (folder / NAME).exists()
    server.requests.clear()
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content
    assert server.requests == [(NAME, "bytes=900000-")]


def test_a_server_without_ranges_sends_all_of_it_again(server, content, folder):
    server.serve(NAME, content, takes_ranges=False, cuts=[1_000_000])
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content


def test_a_server_that_always_breaks_off_is_given_up(server, content, folder):
    server.serve(NAME, content, takes_ranges=False, cuts=[1_000_000] * 20)
    with pytest.raises(DownloadError, match="broke after 1,000,000 bytes"):
        download(server.source(NAME), folder, silent)
    assert len(server.requests) < 20
    assert not (folder / NAME).exists()


def test_a_file_that_changed_between_two_parts_is_fetched_anew(server, content, folder):
    server.serve(NAME, content[:-1] + b"x", cuts=[900_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        download(server.source(NAME), folder, silent)
    server.serve(NAME, content, tag='"v2"')
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content


def test_a_part_of_a_server_that_names_no_version_is_not_gone_on_with(server, content, folder):
    server.serve(NAME, content, tag=None, cuts=[900_000])
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content
    assert [asked for _, asked in server.requests] == [None, None]


def test_another_part_than_was_asked_for_is_refused(server, content, folder):
    server.serve(NAME, content, cuts=[900_000], range_offset=7)
    with pytest.raises(DownloadError, match="another part"):
        download(server.source(NAME), folder, silent)
    assert not (folder / NAME).exists()


def test_an_answer_without_length_is_taken_only_where_the_checksum_is_known(server, content, folder):
    server.serve(NAME, content, says_length=False)
    with pytest.raises(DownloadError, match="how long"):
        download(server.source(NAME), folder, silent)
    assert download(server.source(NAME, sha256=sha256_of(content)), folder, silent).path.exists()


def test_an_answer_without_length_that_was_cut_is_refused(server, content, folder):
    server.serve(NAME, content, says_length=False, cuts=[1_000_000])
    with pytest.raises(InputError, match="SHA-256"):
        download(server.source(NAME, sha256=sha256_of(content)), folder, silent)
    assert not (folder / NAME).exists()


def test_a_wrong_checksum_is_refused_and_the_file_kept_aside(server, content, folder):
    server.serve(NAME, content)
    with pytest.raises(InputError) as error:
        download(server.source(NAME, sha256="0" * 64), folder, silent)
    assert sha256_of(content) in str(error.value)
    assert "0" * 64 in str(error.value)
    assert not (folder / NAME).exists()
    assert (folder / f"{NAME}.refused").read_bytes() == content


def test_a_later_download_must_agree_with_the_first(server, content, folder):
    server.serve(NAME, content)
    download(server.source(NAME), folder, silent).path.unlink()
    server.serve(NAME, content[:-9] + b"different")
    with pytest.raises(InputError, match=sha256_of(content)):
        download(server.source(NAME), folder, silent)


def test_a_login_page_is_not_taken_for_the_file(server, folder):
    for name, expected in (("counts.h5ad", "HDF5"), ("cells.csv", "table"), (NAME, "gzip")):
        server.serve(name, b"<!DOCTYPE html><html>Please sign in</html>")
        with pytest.raises(InputError, match=rf"web page.*{expected}"):
            download(server.source(name), folder, silent)
        assert not (folder / name).exists()


def test_redirects_are_followed(server, content, folder):
    server.serve(NAME, b"", redirect=f"{server.url}/elsewhere")
    server.serve("elsewhere", content)
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content


def test_the_next_address_is_tried_and_all_failures_are_said(server, content, folder):
    source = SourceFile(NAME, "http://page", "tiny", (server.address("gone"), server.address("busy")))
    server.serve("busy", b"", status=503)
    with pytest.raises(DownloadError, match=r"(?s)404.*503"):
        download(source, folder, silent)
    server.serve("busy", content)
    assert download(source, folder, silent).path.read_bytes() == content


def test_without_a_connection_the_message_says_so(folder):
    source = SourceFile(NAME, "http://page", "tiny", (address_that_nobody_serves(),))
    with pytest.raises(DownloadError, match="no connection"):
        download(source, folder, silent)


def test_no_room_is_said_before_anything_is_written(server, content, folder, monkeypatch):
    server.serve(NAME, content)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: namedtuple("Usage", "free")(10))
    with pytest.raises(StorageError, match=r"10 bytes free.*NSL_DATA"):
        download(server.source(NAME), folder, silent)


def test_a_damaged_note_of_the_part_costs_a_new_start_and_nothing_else(server, content, folder):
    server.serve(NAME, content, cuts=[900_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        download(server.source(NAME), folder, silent)
    (folder / f".{NAME}.part.json").write_text(json.dumps({"url": 3}))
    assert download(server.source(NAME), folder, silent).path.read_bytes() == content


def _download(source: SourceFile, folder: Path) -> None:
    download(source, folder, silent)


def test_two_processes_at_once_download_it_once(server, content, folder):
    server.serve(NAME, content)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_download, args=(server.source(NAME), folder)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert (folder / NAME).read_bytes() == content


def test_a_file_put_there_by_hand_is_accepted_under_any_of_its_names(content, folder):
    source = SourceFile(NAME, "http://page", "tiny", other_names=(f"GSM1_{NAME}",))
    assert accepted(source, folder) is None
    folder.mkdir()
    (folder / f"GSM1_{NAME}").write_bytes(content)
    found = accepted(source, folder)
    assert found is not None
    assert found.path.name == f"GSM1_{NAME}"
    assert found.sha256 == sha256_of(content)


def test_a_file_put_there_by_hand_that_is_another_one_is_refused_and_left(server, content, folder):
    folder.mkdir()
    (folder / NAME).write_bytes(content)
    with pytest.raises(InputError, match="another version, or damaged"):
        accepted(server.source(NAME, sha256="1" * 64), folder)
    assert (folder / NAME).read_bytes() == content
