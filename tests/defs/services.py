"""A code location, a webserver and a daemon as three services, as on a server, each of which a test may kill."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import psutil

from nsl_assets.study import storage_root

from .conftest import Server, free_port, wait_until

LOCAL = "127.0.0.1"
WORKSPACE = "load_from:\n  - grpc_server: {{host: {host}, port: {port}, location_name: nsl}}\n"
IMPATIENT = """
import sys
from dagster._daemon import controller
controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 10
from dagster._daemon.cli import main
sys.argv[0] = "dagster-daemon"
main()
"""
"""Dagster's daemon, which looks after backfills every ten seconds instead of every thirty.

Not more often: one that looks between the failure of a run and its mark 'will be retried' ends its backfill as failed.
"""


class Services:
    """The three processes; what they print goes into one file."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.log = folder / "services.log"
        self.code_port, self.port = free_port(), free_port()
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(WORKSPACE.format(host=LOCAL, port=self.code_port))
        self.server = Server(f"http://{LOCAL}:{self.port}", instance)
        self.start_code_location()
        self.webserver = self._start(
            "-m", "dagster_webserver", "--host", LOCAL, "--port", str(self.port), "--workspace", str(self.workspace)
        )
        self.start_daemon()
        wait_until(self._answers, "an answer of the webserver", 120)

    def start_code_location(self) -> None:
        """Start the process that loads the definitions and is the parent of all run workers."""
        address = ("--host", LOCAL, "--port", str(self.code_port), "--location-name", "nsl")
        self.code_location = self._start("-m", "dagster", "api", "grpc", *address, "-m", "nsl_assets.definitions")
        wait_until(lambda: is_listening(self.code_port), "a code location", 120)

    def start_daemon(self) -> None:
        """Start the daemon: backfills, queue, schedules, sensors, monitoring, retries."""
        self.daemon = self._start("-c", IMPATIENT, "run", "--workspace", str(self.workspace))

    def _start(self, *arguments: str) -> psutil.Popen:
        with self.log.open("a") as log:
            return psutil.Popen([sys.executable, *arguments], stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        assert self.webserver.poll() is None, self.log.read_text()[-2000:]
        with suppress(OSError):
            return bool(self.server.query("{ version }"))
        return False

    def end(self) -> None:
        """Kill the services, and whatever of this storage is left."""
        for process in [self.webserver, self.daemon, self.code_location, *processes_of_storage()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([self.webserver, self.daemon, self.code_location], 10)


@contextmanager
def running_services(folder: Path) -> Iterator[Services]:
    """Such services on the instance that the environment names."""
    with dg.DagsterInstance.get() as instance:
        services = Services(folder, instance)
        try:
            yield services
        finally:
            services.end()


def is_listening(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex((LOCAL, port)) == 0


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes_of_storage() -> list[psutil.Process]:
    """Living processes that work for the storage of this test, but this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            is_of_it = process.environ().get("NSL_STORAGE") == str(storage_root())
            if is_of_it and process.pid != os.getpid() and is_alive(process):
                found.append(process)
    return found
