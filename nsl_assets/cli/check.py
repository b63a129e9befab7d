"""`nsl check`: one line a finding, before anything runs."""

from pathlib import Path

from nsl_assets.cli.file_task import FileTaskOptions
from nsl_assets.cli.output import show, show_json
from nsl_assets.public_data import findings
from nsl_assets.study import parse_task

MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}


def check_file(file: Path, auxiliary: str | None, task: FileTaskOptions, *, as_json: bool) -> int:
    """Print the findings; 1 where the file cannot be used, else 0."""
    found = findings(parse_task(task.content(file, auxiliary)))
    can_run = all(finding.level != "error" for finding in found)
    if as_json:
        listed = [{"level": f.level, "topic": f.topic, "message": f.message} for f in found]
        show_json({"file": str(file), "can_run": can_run, "findings": listed})
    else:
        for finding in found:
            show(f"{MARKS[finding.level]}  {finding.topic}: {finding.message}")
        show(f"{'can run' if can_run else 'cannot run'}: {file}")
    return 0 if can_run else 1
