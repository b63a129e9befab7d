"""`nsl init`: a commented study file for the user's data, and the Dagster instance."""

import os
from importlib.resources import files
from pathlib import Path

from filelock import FileLock

from nsl_assets.cli.derive import Request, derive, require_same_file
from nsl_assets.cli.output import show, show_json
from nsl_assets.study import load_project, save_study, storage_root
from nsl_resources.artifacts import atomic_write_text

HEADER = """Study {name}, made by nsl init. Lines that are commented out are defaults.
Edit, then:  nsl plan {name}   and   nsl run {name}"""


def init_study(request: Request, *, as_json: bool) -> None:
    """Write the study file and say what to do next."""
    name, content = derive(request)
    require_same_file(name, content, load_project())
    path = save_study(name, content, storage_root(), header=HEADER.format(name=name))
    if as_json:
        show_json({"study": name, "file": str(path)})
        return
    show(f"wrote {path}\nEdit it, then: nsl plan {name}, nsl run {name}")


def init_instance() -> Path:
    """Make the Dagster instance under the storage, unless DAGSTER_HOME names another; returns its folder."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(storage_root() / "dagster")))
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        atomic_write_text(settings, (files("nsl_resources") / "dagster.yaml").read_text())
    _create_tables(home)
    return home


def _create_tables(home: Path) -> None:
    """Two processes that open a new instance at once trip over each other's tables: one after the other."""
    import dagster as dg

    with FileLock(home / ".tables.lock"), dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
        instance.all_instigator_state()
