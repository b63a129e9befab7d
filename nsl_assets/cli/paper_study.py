"""`nsl data study`: the paper's study of one public data set; all four together are study `paper`."""

from typing import Final

from nsl_assets.cli.derive import require_free_name
from nsl_assets.cli.output import show, show_error, show_json
from nsl_assets.datasets import data_set
from nsl_assets.public_data import missing_data_sets
from nsl_assets.study import Protocol, load_project, paper_study, save_study, storage_root
from nsl_assets.tasks import FileTask

MADE_BY: Final = "Made by nsl data study"


def write_paper_study(name: str, protocol: Protocol, *, as_json: bool) -> None:
    """Write the study as `storage/studies/paper_NAME.toml` and say what to do next."""
    study, content = f"paper_{data_set(name).name}", paper_study([name], protocol)
    if protocol == "published":
        study += "_published"
    require_free_name(study, content, load_project(), made_by=MADE_BY)
    file = save_study(study, content, storage_root(), header=f"{MADE_BY}, which writes it anew.")
    written = load_project().study(study)
    (task,), missing = written.tasks.values(), missing_data_sets(written)
    if as_json:
        assert isinstance(task, FileTask)
        show_json({"study": study, "file": str(file), "data": str(task.path), "is_data_there": not missing})
        return
    show(f"wrote {file}\nNext: nsl plan {study}")
    for where in missing.values():
        show_error(f"its data are not there yet: {where.command}")
