"""The ledger's file: where it lies, its tables, and its short exclusive transactions."""

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from nsl_assets.errors import StorageError
from nsl_resources.admission import processes

LEDGER_VARIABLE: Final = "NSL_LEDGER"
_BUSY_TIMEOUT_S: Final = 60.0
_NETWORK_FILESYSTEMS: Final = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "fuse.sshfs",
    "afs",
)
_SCHEMA_VERSION: Final = 5  # part of the file's name: processes of different versions do not share a ledger
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS waiter (
        id TEXT PRIMARY KEY, pid INTEGER NOT NULL, start TEXT NOT NULL, budgets TEXT NOT NULL,
        slots INTEGER NOT NULL, seen_s REAL NOT NULL, called_s REAL
    );
    CREATE TABLE IF NOT EXISTS request (
        id INTEGER PRIMARY KEY AUTOINCREMENT, waiter TEXT NOT NULL, key TEXT NOT NULL,
        memory_mib INTEGER NOT NULL, cores INTEGER NOT NULL, n_gpus INTEGER NOT NULL, gpu_memory_mib INTEGER NOT NULL,
        label TEXT NOT NULL, since_s REAL NOT NULL, blocked_since_s REAL, expected_s REAL
    );
    CREATE TABLE IF NOT EXISTS lease (
        id TEXT PRIMARY KEY, waiter TEXT NOT NULL, memory_mib INTEGER NOT NULL, cores INTEGER NOT NULL,
        gpu_memory_mib INTEGER NOT NULL, gpus TEXT NOT NULL,
        pid INTEGER NOT NULL, start TEXT NOT NULL, label TEXT NOT NULL, since_s REAL NOT NULL
    );
"""


def default_ledger_path() -> Path:
    """One ledger a user, node and boot: in `NSL_LEDGER` if set, else the runtime or temporary folder.

    The name holds the boot and the namespace of process ids, inside which the ids of lease holders mean something.
    """
    name = f"nsl-ledger-{_SCHEMA_VERSION}-{os.getuid()}-{processes.boot_id()}-{processes.pid_namespace()}.sqlite"
    given = os.environ.get(LEDGER_VARIABLE) or os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"nsl-{os.getuid()}"
    return folder / name


def prepare(path: Path) -> None:
    """Creates the ledger where it does not exist yet.

    Raises:
        StorageError: the folder is on a network filesystem, belongs to another user or cannot be written.
    """
    _prepare_folder(path.parent)
    try:
        with closing(_open(path)) as connection, _turn(path):
            _set_up(connection)
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    except sqlite3.Error as error:
        raise StorageError(
            f"the ledger of leases {path} cannot be opened: {error}. Delete it while nothing runs, "
            f"or name another node-local folder with {LEDGER_VARIABLE}."
        ) from error


@contextmanager
def transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """One exclusive transaction; undone if the body raises. Everybody waits for it: look at processes before.

    A connection each: opening takes 0.1 ms, and none is ever shared by threads or carried over a fork.
    """
    with closing(_open(path)) as connection, _turn(path):
        _set_up(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """A queue before the database: SQLite alone sleeps up to 100 ms between tries, the kernel wakes the next."""
    with path.with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back by closing the file, also when this process is killed
        yield


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    # The rollback journal protects from killed processes. Against a crash of the machine nothing has to be
    # protected: no lease outlives a boot, and the next boot uses another file.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = TRUNCATE")  # cheaper than to delete and create it each time


def _prepare_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create the folder {folder} of the ledger of leases: {error}") from error
    if not os.access(folder, os.W_OK | os.X_OK) or folder.stat().st_uid not in {os.getuid(), 0}:
        raise StorageError(
            f"the folder {folder} of the ledger of leases is not writable or belongs to another user. "
            f"Name a node-local folder of your own with {LEDGER_VARIABLE}."
        )
    filesystem = _filesystem(folder)
    if filesystem.startswith(_NETWORK_FILESYSTEMS):
        raise StorageError(
            f"the ledger of leases would lie in {folder}, on a shared filesystem ({filesystem}): leases are of one "
            f"node, and locks are not safe there. Name a node-local folder with {LEDGER_VARIABLE}."
        )


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that holds the folder; empty where it cannot be told."""
    import psutil

    real = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ""
