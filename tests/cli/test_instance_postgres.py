"""The Dagster instance on a real PostgreSQL, with the settings that are shipped."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
import yaml

from nsl_assets.cli.instance import POSTGRES_VARIABLE, init_instance
from nsl_assets.errors import InputError

pytest.importorskip("dagster_postgres", reason='not installed: pip install ".[postgres]"')


def server_programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: on PATH, or where Debian keeps it."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


@dataclass(frozen=True)
class PostgresServer:
    """A running server: its programs, how to run them as its user, its port."""

    programs: Path
    prefix: tuple[str, ...]
    port: int

    def run(self, program: str, *arguments: str) -> None:
        command = [*self.prefix, str(self.programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that runs for these tests. It refuses to run as root."""
    programs = server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed")
    as_root = os.geteuid() == 0
    if as_root and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and runuser is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = PostgresServer(programs, ("runuser", "-u", "postgres", "--") if as_root else (), port)
    with tempfile.TemporaryDirectory(prefix="nsl-postgres-") as folder:
        if as_root:
            shutil.chown(folder, "postgres")
        cluster = f"--pgdata={folder}/cluster"
        started.run("initdb", "--username=nsl", "--auth=trust", "--no-sync", cluster)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        started.run("pg_ctl", "start", "--wait", cluster, f"--log={folder}/log", f"--options={options}")
        try:
            yield started
        finally:
            started.run("pg_ctl", "stop", "--mode=immediate", cluster)


@pytest.fixture
def database(server: PostgresServer) -> str:
    """The address of an empty database."""
    name = f"dagster_{secrets.token_hex(4)}"
    server.run("createdb", "--host=127.0.0.1", f"--port={server.port}", "--username=nsl", name)
    return f"postgresql+psycopg2://nsl@127.0.0.1:{server.port}/{name}"


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without studies."""
    (tmp_path / "dagster_project.toml").write_text("")
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    return storage


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def measured() -> None: ...


def materialize(partition: str) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.get() as instance:
        return dg.materialize([measured], instance=instance, partition_key=partition)


def test_runs_and_materializations_are_kept_in_postgres(
    project: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, database)
    home = init_instance()
    assert materialize("a").success and materialize("b").success
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage).__module__.startswith("dagster_postgres")
        assert instance.get_materialized_partitions(measured.key) == {"a", "b"}
        assert len(instance.get_runs()) == 2
        assert instance.run_monitoring_enabled
    assert not list(home.rglob("*.db")), "something is kept in SQLite"
    assert database not in (home / "dagster.yaml").read_text()


DIES = """
import os
import dagster as dg
from nsl_resources.resources import StorageResource
@dg.asset
def dies(storage: StorageResource): os.kill(os.getpid(), 9)
with dg.DagsterInstance.get() as instance:
    dg.materialize([dies], instance=instance, resources={"storage": StorageResource(root="unused")})
"""


def test_a_run_whose_process_was_killed_is_ended_by_the_next(
    project: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, database)
    init_instance()
    assert subprocess.run([sys.executable, "-c", DIES], stderr=subprocess.DEVNULL, check=False).returncode == -9
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
        init_instance()
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


def test_both_instances_differ_in_their_storage_and_in_how_much_they_bear() -> None:
    sqlite, postgres = (
        yaml.safe_load((files("nsl_resources") / name).read_text())
        for name in ("dagster.yaml", "dagster-postgres.yaml")
    )
    assert postgres.pop("storage") == {"postgres": {"postgres_url": {"env": POSTGRES_VARIABLE}}}
    for settings in (sqlite, postgres):
        del settings["concurrency"]["runs"]["max_concurrent_runs"], settings["concurrency"]["pools"]["default_limit"]
    assert postgres == sqlite


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql+psycopg2://nsl@127.0.0.1:1/dagster", "cannot be used: .*refused"),
        ("postgresql://nsl@127.0.0.1:1/dagster", r"begins with 'postgresql': postgresql\+psycopg2://"),
        ("nonsense", "is expected"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_before_anything_is_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, address)
    with pytest.raises(InputError, match=words):
        init_instance()
    assert not (project / "dagster" / "dagster.yaml").exists()


def test_an_instance_on_postgres_needs_its_address(
    project: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, database)
    init_instance()
    monkeypatch.delenv(POSTGRES_VARIABLE)
    with pytest.raises(InputError, match=r"dagster.yaml takes the address of its database from NSL_POSTGRES_URL"):
        init_instance()
