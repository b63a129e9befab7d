"""`nsl sql`: one read-only query on the results."""

from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.errors import StorageError
from nsl_assets.study import storage_root
from nsl_resources.results import Results, query


def run_sql(text: str, *, as_json: bool) -> None:
    """Print the rows as a table, or as a JSON list of objects."""
    try:
        Results(storage_root()).publish()
    except StorageError as error:
        show_error(f"{error}\nShowing what was published before.")
    rows = query(storage_root(), text)
    if as_json:
        show_json(rows)
    else:
        show(table(rows))
