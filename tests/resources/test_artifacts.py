"""Artifacts: hashes, atomic creation, verification, full and unwritable storage, killed processes."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nsl_assets.errors import StorageError
from nsl_resources.artifacts import Artifacts, atomic_write_bytes, atomic_write_text, content_hash, free_bytes
from nsl_resources.artifacts import temporary as temporary_folders

HASH = content_hash("model", {"seed": 1})


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "storage")


def write_model(artifacts: Artifacts, digest: str = HASH, text: str = "weights") -> None:
    with artifacts.create("model", digest, {"seed": 1}, library_versions={"numpy": "2.0"}) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights.bin").write_text(text)
        (folder / "settings.json").write_text("{}")


def visible(artifacts: Artifacts) -> list[str]:
    return sorted(path.name for path in (artifacts.root / "artifacts").rglob("*"))


# Content hashes


def test_hash_is_blake2b_of_kind_and_canonical_json() -> None:
    text = '{"a":[1,2.5,null,true],"b":{"c":"\\u00fc"}}'
    expected = hashlib.blake2b(b"5:model:" + text.encode(), digest_size=16).hexdigest()
    assert content_hash("model", {"b": {"c": "ü"}, "a": (1, 2.5, None, True)}) == expected
    assert len(expected) == 32


@pytest.mark.parametrize("other", [1.0, "1", True, [1], {"x": 1}, None, 2])
def test_hash_tells_values_and_types_apart(other: object) -> None:
    assert content_hash("model", {"x": 1}) != content_hash("model", {"x": other})  # type: ignore[dict-item]


def test_hash_tells_kinds_neighbouring_floats_and_nesting_apart() -> None:
    hashes = {
        content_hash("model", {"x": 0.3}),
        content_hash("model", {"x": 0.1 + 0.2}),
        content_hash("embedding", {"x": 0.3}),
        content_hash("model", {"x": {"x": 0.3}}),
        content_hash("model", {"x": content_hash("noised", {"x": 0.3})}),
    }
    assert len(hashes) == 5


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"a": {"b": [0, float("nan")]}}, "a.b[1]"),
        ({"a": float("inf")}, "'a'"),
        ({"a": Path("x")}, "PosixPath"),
        ({"a": {1: 2}}, "key 1"),
    ],
)
def test_hash_names_the_part_that_is_no_json(parts: dict[str, object], named: str) -> None:
    with pytest.raises(StorageError) as caught:
        content_hash("model", parts)  # type: ignore[arg-type]
    assert named in str(caught.value)


# Creation


def test_created_artifact_is_whole_and_described(artifacts: Artifacts) -> None:
    assert not artifacts.is_complete("model", HASH)
    write_model(artifacts)
    assert artifacts.is_complete("model", HASH)
    manifest = artifacts.manifest("model", HASH)
    assert (manifest["kind"], manifest["hash"], manifest["identity"]) == ("model", HASH, {"seed": 1})
    assert manifest["library_versions"] == {"numpy": "2.0"}
    assert manifest["files"] == [
        {
            "name": "inner/weights.bin",
            "size_bytes": 7,
            "blake2b": hashlib.blake2b(b"weights", digest_size=32).hexdigest(),
        },
        {
            "name": "settings.json",
            "size_bytes": 2,
            "blake2b": hashlib.blake2b(b"{}", digest_size=32).hexdigest(),
        },
    ]
    assert manifest["created_at"].endswith("+00:00")
    assert artifacts.hashes("model") == [HASH]
    assert artifacts.hashes("embedding") == []


def test_nothing_is_visible_before_the_block_ends_or_after_it_fails(artifacts: Artifacts) -> None:
    with pytest.raises(KeyboardInterrupt), artifacts.create("model", HASH, {}) as folder:
        (folder / "weights.bin").write_text("half")
        assert not artifacts.path("model", HASH).exists()
        raise KeyboardInterrupt
    assert visible(artifacts) == ["model"]


def test_the_first_of_two_finishers_is_kept(artifacts: Artifacts) -> None:
    with artifacts.create("model", HASH, {}) as folder:
        write_model(artifacts, text="first")
        (folder / "weights.bin").write_text("second")
    assert (artifacts.path("model", HASH) / "inner" / "weights.bin").read_text() == "first"
    assert artifacts.verify("model", HASH, deep=True) == ()
    assert [path.name for path in (artifacts.root / "artifacts" / "model").iterdir()] == [HASH]


def test_a_folder_without_manifest_is_replaced(artifacts: Artifacts) -> None:
    stump = artifacts.path("model", HASH)
    stump.mkdir(parents=True)
    (stump / "weights.bin").write_text("half")
    assert not artifacts.is_complete("model", HASH)
    write_model(artifacts)
    assert artifacts.verify("model", HASH, deep=True) == ()


def test_many_finishers_at_once_leave_one_whole_artifact(artifacts: Artifacts) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_model(artifacts, text=str(number) * 1000), range(8)))
    assert artifacts.verify("model", HASH, deep=True) == ()
    assert [path.name for path in (artifacts.root / "artifacts" / "model").iterdir()] == [HASH]


@pytest.mark.parametrize("name", ["manifest.json", "link", None])
def test_reserved_names_links_and_empty_folders_are_refused(artifacts: Artifacts, name: str | None) -> None:
    with (
        pytest.raises(StorageError, match=name or "holds no file"),
        artifacts.create("model", HASH, {}) as folder,
    ):
        if name == "link":
            (folder / name).symlink_to("/etc/hostname")
        elif name:
            (folder / name).write_text("{}")
    assert visible(artifacts) == ["model"]


def test_unknown_kinds_and_malformed_hashes_are_refused(artifacts: Artifacts) -> None:
    with pytest.raises(StorageError, match="no kind of artifact; there are: data, auxiliary, noised"):
        artifacts.path("models", HASH)  # type: ignore[arg-type]
    for bad in ("", "../../etc", HASH.upper(), HASH[:-1]):
        with pytest.raises(StorageError, match="no content hash"):
            artifacts.path("model", bad)


def test_missing_and_damaged_manifests_say_what_to_do(artifacts: Artifacts) -> None:
    with pytest.raises(StorageError, match="no finished artifact"):
        artifacts.manifest("model", HASH)
    write_model(artifacts)
    (artifacts.path("model", HASH) / "manifest.json").write_text("{")
    with pytest.raises(StorageError, match="Remove the folder"):
        artifacts.manifest("model", HASH)


# Verification and removal


def test_verify_names_bad_files(artifacts: Artifacts) -> None:
    write_model(artifacts)
    folder = artifacts.path("model", HASH)
    (folder / "inner" / "weights.bin").write_text("WEIGHTS")
    assert artifacts.verify("model", HASH) == ()
    assert [bad.name for bad in artifacts.verify("model", HASH, deep=True)] == ["inner/weights.bin"]
    (folder / "inner" / "weights.bin").write_text("weight")
    (folder / "settings.json").unlink()
    (folder / "extra").write_text("")
    problems = {bad.name: bad.problem for bad in artifacts.verify("model", HASH)}
    assert problems == {
        "inner/weights.bin": "6 bytes instead of 7",
        "settings.json": "missing",
        "extra": "not in the manifest",
    }


DAMAGES = {
    "truncated": ("inner/weights.bin", b"weig", "4 bytes instead of 7"),
    "flipped": ("inner/weights.bin", b"wEights", "content changed"),
    "missing": ("settings.json", None, "missing"),
    "manifest": ("manifest.json", b'{"format": 1, "fi', "cannot be used"),
    "manifest of another form": ("manifest.json", b'{"format": 1}', "'files'"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_named_not_used_and_set_aside_by_its_successor(
    artifacts: Artifacts, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(artifacts)
    name, content, problem = DAMAGES[damage]
    path = artifacts.path("model", HASH) / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert not artifacts.is_complete("model", HASH)
    assert problem in caplog.text and str(artifacts.path("model", HASH)) in caplog.text
    assert artifacts.damaged() == (), "asking changes nothing"
    write_model(artifacts)
    assert artifacts.verify("model", HASH, deep=True) == ()
    (set_aside,) = artifacts.damaged()
    assert (set_aside.kind, set_aside.hash) == ("model", HASH)
    assert problem in str(set_aside)
    if content is not None:
        assert (set_aside.folder / name).read_bytes() == content, "kept for a look"


def test_a_file_that_does_not_belong_there_makes_nothing_be_made_again(artifacts: Artifacts) -> None:
    write_model(artifacts)
    (artifacts.path("model", HASH) / ".DS_Store").write_text("")
    assert artifacts.is_complete("model", HASH)
    assert artifacts.set_aside("model", HASH) is None


def test_large_artifacts_are_compared_by_size_until_somebody_asks(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsl_resources.artifacts.manifest.DIGESTED_BYTES", 8)
    write_model(artifacts)
    weights = artifacts.path("model", HASH) / "inner" / "weights.bin"
    weights.write_text("wEights")
    assert artifacts.is_complete("model", HASH)
    set_aside = artifacts.set_aside("model", HASH)
    assert set_aside is not None
    assert "weights.bin: content changed" in set_aside.problems[0]
    assert not artifacts.is_complete("model", HASH)


def test_damage_is_found_after_an_artifact_was_found_sound(artifacts: Artifacts) -> None:
    write_model(artifacts)
    assert artifacts.is_complete("model", HASH)
    weights = artifacts.path("model", HASH) / "inner" / "weights.bin"
    before = weights.stat().st_mtime_ns
    weights.write_text("wEights")
    os.utime(weights, ns=(before + 1, before + 1))
    assert not artifacts.is_complete("model", HASH)


def test_what_is_in_use_is_known_until_the_process_leaves_or_dies(artifacts: Artifacts) -> None:
    with artifacts.in_use(["a", "b"]), artifacts.in_use(["b", "c"]):
        assert artifacts.used_hashes() == {"a", "b", "c"}
        assert artifacts.left_behind() == ()
    assert artifacts.used_hashes() == frozenset()
    code = f"""
        import os, signal
        from pathlib import Path
        from nsl_resources.artifacts import Artifacts
        with Artifacts(Path({str(artifacts.root)!r})).in_use(["d"]):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False).returncode == -signal.SIGKILL
    assert artifacts.used_hashes() == frozenset()
    assert len(artifacts.left_behind()) == 1
    assert len(artifacts.sweep_temporary()) == 1


def test_nobody_declares_use_while_artifacts_are_removed(artifacts: Artifacts) -> None:
    with ThreadPoolExecutor(1) as pool:
        with artifacts.removal_lock():
            waiting = pool.submit(lambda: artifacts.in_use(["a"]).__enter__())
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            assert artifacts.used_hashes() == frozenset()
        waiting.result(10)


def test_discard_removes_whole_and_may_repeat(artifacts: Artifacts) -> None:
    write_model(artifacts)
    artifacts.discard("model", HASH)
    artifacts.discard("model", HASH)
    assert visible(artifacts) == ["model"]


def test_disk_usage_counts_finished_and_temporary_bytes(artifacts: Artifacts) -> None:
    write_model(artifacts)
    finished = sum(path.stat().st_size for path in artifacts.path("model", HASH).rglob("*") if path.is_file())
    with artifacts.create("model", content_hash("model", {}), {}) as folder:
        (folder / "weights.bin").write_bytes(bytes(1000))
        usage = artifacts.disk_usage()["model"]
    assert (usage.n_artifacts, usage.size_bytes, usage.temporary_bytes) == (1, finished, 1000)
    assert artifacts.disk_usage()["embedding"].n_artifacts == 0


# Killed processes


DYING = """
    import os, signal, sys
    from pathlib import Path
    from nsl_resources.artifacts import Artifacts
    with Artifacts(Path(sys.argv[1])).create("model", sys.argv[2], {}) as folder:
        (folder / "weights.bin").write_text("half")
        print("writing", flush=True)
        sys.stdin.read()
"""


def start_writer(artifacts: Artifacts) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DYING), str(artifacts.root), HASH],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    return writer


def test_killed_writer_leaves_nothing_visible_and_is_swept(artifacts: Artifacts) -> None:
    with start_writer(artifacts) as writer:
        assert artifacts.sweep_temporary() == (), "a living writer's folder must stay"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        assert not artifacts.is_complete("model", HASH)
        assert artifacts.hashes("model") == []
        (swept,) = artifacts.sweep_temporary()
        assert HASH in swept.name
    assert visible(artifacts) == ["model"]
    write_model(artifacts)
    assert artifacts.is_complete("model", HASH)


def test_sweep_knows_reused_pids_other_hosts_and_foreign_names(artifacts: Artifacts) -> None:
    owner = temporary_folders.this_process()
    parent = artifacts.root / "artifacts" / "model"
    reused = parent / f".creating-{HASH}-{owner.host}-{owner.pid}-{owner.started_ticks + 5}-00000000"
    mine = parent / f".creating-{HASH}-{owner.host}-{owner.pid}-{owner.started_ticks}-00000000"
    elsewhere = parent / f".creating-{HASH}-0123456789-{owner.pid}-{owner.started_ticks}-00000000"
    long_ago = parent / f".discarded-{HASH}-0123456789-{owner.pid}-{owner.started_ticks}-00000001"
    unknown = parent / ".some-other-tool-1-2-3"
    for folder in (reused, mine, elsewhere, long_ago, unknown):
        folder.mkdir(parents=True)
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(long_ago, (eight_days_ago, eight_days_ago))
    assert set(artifacts.sweep_temporary()) == {reused, long_ago}
    assert set(parent.iterdir()) == {mine, elsewhere, unknown}


# Full and unwritable storage


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_while_writing_is_a_storage_error(artifacts: Artifacts) -> None:
    def library_that_wraps() -> None:
        try:
            no_space()
        except OSError as error:
            raise RuntimeError("could not write tensor") from error

    with (
        pytest.raises(StorageError, match=r"is full: [\d,.]+ MiB are free"),
        artifacts.create("model", HASH, {}),
    ):
        library_that_wraps()
    assert visible(artifacts) == ["model"]


def test_full_disk_while_sealing_leaves_nothing(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="is full"), artifacts.create("model", HASH, {}) as folder:
        (folder / "weights.bin").write_text("weights")
        monkeypatch.setattr(os, "fsync", no_space)
    assert visible(artifacts) == ["model"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_really_full_disk(small_disk: Path) -> None:
    artifacts = Artifacts(small_disk / "storage")
    with pytest.raises(StorageError, match="is full"), artifacts.create("model", HASH, {}) as folder:
        (folder / "weights.bin").write_bytes(bytes(4 * 2**20))
    assert visible(artifacts) == ["model"]
    with pytest.raises(StorageError, match="is full"):
        atomic_write_bytes(small_disk / "big", bytes(4 * 2**20))
    assert [path.name for path in small_disk.iterdir()] == ["storage"]
    write_model(artifacts)
    assert artifacts.verify("model", HASH, deep=True) == ()


def test_errors_of_the_block_itself_pass_unchanged(artifacts: Artifacts) -> None:
    with pytest.raises(FileNotFoundError), artifacts.create("model", HASH, {}):
        Path("/no/such/file").read_text()


def test_require_writable(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.require_writable()
    assert list(artifacts.root.iterdir()) == []
    needed = free_bytes(tmp_path) * 2
    with pytest.raises(StorageError, match=r"MiB free, but [\d,.]+ MiB are needed"):
        artifacts.require_writable(needed)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written to"):
        Artifacts(tmp_path / "file" / "storage").require_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_storage(artifacts: Artifacts) -> None:
    artifacts.root.mkdir()
    artifacts.root.chmod(0o555)
    with pytest.raises(StorageError, match="Permission denied"):
        artifacts.require_writable()
    with pytest.raises(StorageError, match="Permission denied"):
        write_model(artifacts)


# Atomic files


def test_atomic_write_replaces_whole_and_survives_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.json"
    atomic_write_text(path, "ü")
    assert path.read_bytes() == "ü".encode()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="is full"):
        atomic_write_text(path, "replacement")
    assert path.read_text() == "ü"
    assert list(path.parent.iterdir()) == [path]


def test_readers_never_see_a_half_written_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    atomic_write_text(path, json.dumps([0] * 10_000))

    def write(number: int) -> None:
        atomic_write_text(path, json.dumps([number] * 10_000))

    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(write, number) for number in range(100)]
        while not all(future.done() for future in writes):
            values = json.loads(path.read_text())
            assert len(values) == 10_000
            assert len(set(values)) == 1
    assert [future.result() for future in writes] == [None] * 100
    assert list(tmp_path.iterdir()) == [path]


def test_a_scratch_folder_is_private_and_gone_at_the_end_also_after_an_error(artifacts: Artifacts) -> None:
    with artifacts.scratch() as one, artifacts.scratch() as other:
        assert one != other
        (one / "tokens").write_text("x")
        assert artifacts.sweep_temporary() == (), "a living process needs it"
    with pytest.raises(RuntimeError), artifacts.scratch() as failed:
        raise RuntimeError
    assert not one.exists() and not failed.exists()
