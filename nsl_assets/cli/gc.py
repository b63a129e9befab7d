"""`nsl gc`: what nobody needs any more in the storage, listed or removed."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.housekeeping import Removable, landed_summary, needs_of, removable
from nsl_assets.study import load_project, storage_root
from nsl_resources.artifacts import Artifacts, as_mib
from nsl_resources.results import Results


def collect_garbage(study: str | None, *, is_dry_run: bool, as_json: bool) -> None:
    """List what can go by kind and reason, and remove it unless this is a dry run.

    While it removes, no process can begin to use further artifacts; what a living process uses stays.
    """
    project = load_project()
    artifacts, results = Artifacts(storage_root()), Results(storage_root())
    if study is not None and not results.recorded_artifacts(study):
        project.study(study)  # an error where the name is neither known nor in the rows
    if not (storage_root() / "artifacts").is_dir():
        show_json([]) if as_json else show("Nothing was stored yet.")
        return
    results.publish()
    with nullcontext() if is_dry_run else artifacts.removal_lock():
        needs = needs_of(project.studies, artifacts, results)
        found = removable(needs, artifacts, results, of_study=study)
        landed = landed_summary(results.spare_files()) if study is None else []
        if not is_dry_run:
            for one in found:
                one.remove()
    if landed and not is_dry_run:
        results.compact()
    _show([*found, *landed], is_dry_run=is_dry_run, as_json=as_json)
    for name, problem in needs.unreadable.items():
        show_error(
            f"study {name}: {problem}\nWhat it needs is not known: what its rows name is kept, and so are all data,"
            " auxiliaries and thinned counts. Bring the file back, or remove the study, to clear more."
        )


def _show(found: Sequence[Removable], *, is_dry_run: bool, as_json: bool) -> None:
    rows = _summary(found)
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("Nothing can go: everything is needed.")
        return
    show(
        table(
            [{"kind": row["kind"], "number": row["number"], "MiB": row["mib"], "reason": row["reason"]} for row in rows]
        )
    )
    total = as_mib(sum(one.size_bytes for one in found))
    show(f"{total} can go; nothing was removed (--dry-run)." if is_dry_run else f"{total} removed.")


def _summary(found: Sequence[Removable]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for one in found:
        groups[one.kind, one.reason].append(one.size_bytes)
    return [
        {"kind": kind, "number": len(sizes), "mib": sum(sizes) / 2**20, "reason": reason}
        for (kind, reason), sizes in groups.items()
    ]
