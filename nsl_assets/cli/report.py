"""`nsl report`: the page of a study, or of anybody's table of measurements."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nsl_assets.cli.law_request import law_settings, names_a_table, table_columns
from nsl_assets.cli.output import show, show_error, show_json
from nsl_assets.errors import InputError
from nsl_assets.reporting import WrittenReport, write_report, write_table_report
from nsl_assets.study import load_project, storage_root
from nsl_resources.results import Results


def write_and_show(
    source: str | None, options: Mapping[str, Any], *, output: Path | None = None, as_json: bool = False
) -> None:
    """Write the report of a study or a table, and say where it is.

    Raises InputError where there is neither, where several studies could be meant, or nothing was measured yet.
    """
    written = _written(source, options, output)
    if as_json:
        show_json({"page": str(written.page), "folder": str(written.folder), "files": list(map(str, written.files))})
        return
    show(f"report:  {written.page}\nfigures: {written.folder / 'figures'}\ndata:    {written.folder / 'data'}")
    if written.warning:
        show_error(f"warning: {written.warning}. See section Calibration.")


def _written(source: str | None, options: Mapping[str, Any], output: Path | None) -> WrittenReport:
    if source is not None and names_a_table(source):
        path = Path(source)
        folder = output or storage_root() / "reports" / path.name.split(".")[0]
        return write_table_report(path, table_columns("noise", options), law_settings(options), folder=folder)
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{', '.join(given)} shape the report of a table; a study has its own settings: edit them.")
    results = Results(storage_root())
    name = source or _only_study(results)
    return write_report(results, name, load_project().study(name), folder=output)


def _only_study(results: Results) -> str:
    """The only study with results. InputError where there is none, or more than one."""
    results.publish()
    with results.connect() as database:
        found = database.execute("select distinct study from measurement order by study").fetchall()
    known = load_project().studies
    names = [name for (name,) in found if name in known]
    if len(names) == 1:
        return str(names[0])
    if names:
        raise InputError(f"several studies have results: {', '.join(names)}. Name one: nsl report {names[0]}")
    raise InputError("no study has results yet. Run one: nsl run quickstart, or nsl run --h5ad FILE --auxiliary KEY.")
