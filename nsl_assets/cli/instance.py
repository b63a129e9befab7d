"""The Dagster instance of the storage: made once, and rid of runs whose process died."""

import os
import socket
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import psutil
from filelock import FileLock

from nsl_assets.errors import InputError
from nsl_assets.study import storage_root
from nsl_resources.artifacts import atomic_write_text

POSTGRES_VARIABLE = "NSL_POSTGRES_URL"
"""Names the database of an instance that is made on PostgreSQL."""
POSTGRES_FORM = "postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE"
DRIVER = "+psycopg2"
"""SQLAlchemy takes another driver, which dagster-postgres does not use, where none is named."""
CONNECT_S = 10
HOST, PID, STARTED = "nsl/host", "nsl/pid", "nsl/process_started"


def init_instance() -> Path:
    """Make the instance under the storage, unless DAGSTER_HOME names another; returns its folder.

    InputError where it is to be on PostgreSQL, which cannot be reached.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or storage_root() / "dagster").expanduser().resolve()
    os.environ["DAGSTER_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    text = settings.read_text() if settings.exists() else _shipped_settings()
    if POSTGRES_VARIABLE in text:
        _require_postgres(settings)
    if not settings.exists():
        atomic_write_text(settings, text)
    _settle(home)
    return home


def _shipped_settings() -> str:
    kind = "dagster-postgres.yaml" if os.environ.get(POSTGRES_VARIABLE) else "dagster.yaml"
    return (files("nsl_resources") / kind).read_text()


def _require_postgres(settings: Path) -> None:
    """InputError where the database of an instance on PostgreSQL cannot be used; Dagster itself tries for long."""
    if find_spec("dagster_postgres") is None:
        raise InputError(f'{settings} is for PostgreSQL, which needs: pip install "nsl[postgres]"')
    url = os.environ.get(POSTGRES_VARIABLE)
    if not url:
        raise InputError(
            f"{settings} takes the address of its database from {POSTGRES_VARIABLE}, which is not set."
            f" Set it to {POSTGRES_FORM}."
        )
    if not url.startswith(f"postgresql{DRIVER}://"):
        raise InputError(f"{POSTGRES_VARIABLE} begins with '{url.partition('://')[0]}': {POSTGRES_FORM} is expected.")
    import psycopg2

    try:
        psycopg2.connect(url.replace(DRIVER, "", 1), connect_timeout=CONNECT_S).close()
    except psycopg2.Error as error:
        raise InputError(
            f"the database that {POSTGRES_VARIABLE} names cannot be used: {str(error).strip()}. Start the server,"
            " create the database, or correct the variable."
        ) from error


def process_tags() -> dict[str, str]:
    """Tags by which a later process can tell that the process of a run is gone."""
    started = psutil.Process().create_time()
    return {HOST: socket.gethostname(), PID: str(os.getpid()), STARTED: f"{started:.2f}"}


def _settle(home: Path) -> None:
    """Create the tables, one process at a time, and end the runs of processes that were killed.

    Dagster's own monitoring watches runs that its daemon launched, not those of `nsl run`: left as started, they
    would hold a place in the queue and keep automation from ever touching their assets again.
    """
    import dagster as dg

    with FileLock(home / ".tables.lock"), dg.DagsterInstance.get() as instance:
        instance.all_instigator_state()
        unfinished = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        for run in instance.get_runs(filters=dg.RunsFilter(statuses=unfinished, tags={HOST: socket.gethostname()})):
            if not _is_alive(run.tags):
                instance.report_run_failed(run, message="The process of this run was killed.")


def _is_alive(tags: Mapping[str, str]) -> bool:
    try:
        return f"{psutil.Process(int(tags[PID])).create_time():.2f}" == tags[STARTED]
    except psutil.NoSuchProcess:
        return False
