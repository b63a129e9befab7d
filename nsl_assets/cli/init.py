"""`nsl init`: a commented study file for the user's data."""

from nsl_assets.cli.derive import Request, derive, require_free_name
from nsl_assets.cli.output import show, show_json
from nsl_assets.study import load_project, save_study, storage_root

HEADER = """Study {name}, made by nsl init. Lines that are commented out are defaults.
Edit, then:  nsl plan {name}   and   nsl run {name}"""


def init_study(request: Request, *, as_json: bool) -> None:
    """Write the study file and say what to do next."""
    project = load_project()
    name, content = derive(request, project)
    require_free_name(name, content, project)
    path = save_study(name, content, storage_root(), header=HEADER.format(name=name))
    if as_json:
        show_json({"study": name, "file": str(path)})
        return
    show(f"wrote {path}\nEdit it, then: nsl plan {name}, nsl run {name}")
