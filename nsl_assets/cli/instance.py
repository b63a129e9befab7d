"""The Dagster instance of the storage: made once, and rid of runs whose process died."""

import os
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

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


def _settle(home: Path) -> None:
    """Create the tables, one process at a time, and end the runs of processes that were killed."""
    import dagster as dg

    from nsl_assets.defs.lost_runs import end_lost_runs

    with FileLock(home / ".tables.lock"), dg.DagsterInstance.get() as instance:
        instance.all_instigator_state()
        end_lost_runs(instance)
