"""`nsl sql`: one read-only query on the results."""

from nsl_assets.cli.output import show, show_json, table
from nsl_assets.study import storage_root
from nsl_resources.results import Results, query


def run_sql(text: str, *, as_json: bool) -> None:
    """Print the rows as a table, or as a JSON list of objects."""
    Results(storage_root()).publish()
    rows = query(storage_root(), text)
    if as_json:
        show_json(rows)
    else:
        show(table(rows))
