"""`nsl data`: the public data sets: which there are, fetching one, and where its file is."""

from collections.abc import Sequence
from typing import Any

from nsl_assets.cli.data_progress import DataProgress
from nsl_assets.cli.output import show, show_error, show_json, table
from nsl_assets.datasets import DATA_SETS, DataSet, Place, data_set, fetch, options_of, place
from nsl_assets.errors import InputError
from nsl_assets.study import data_root


def list_data_sets(*, as_json: bool) -> None:
    """Print every public data set with its state; nothing is downloaded."""
    places = [_place(one, ()) for one in DATA_SETS.values()]
    if as_json:
        show_json([_about(where) for where in places])
        return
    rows = [
        {
            "name": where.data_set.name,
            "cells": where.data_set.n_cells,
            "genes": where.data_set.n_genes,
            "size": _size(where),
            "state": where.state(),
            "licence": where.data_set.licence,
        }
        for where in places
    ]
    show(table(rows))
    show("")
    for where in places:
        show(f"{where.data_set.name}: {where.data_set.title}. Hidden signal: {where.data_set.signal}.")
    show(f"\nFolder: {data_root()} (NSL_DATA names another). nsl data fetch NAME makes the .h5ad file of one.")


def fetch_data_set(name: str, arguments: Sequence[str], *, as_json: bool) -> None:
    """Fetch what is missing of a data set, make its .h5ad, and print where it is; progress on stderr."""
    where = _place(data_set(name), arguments)
    with DataProgress.on_stderr() as progress:
        path = fetch(where.data_set, where.options, data_root(), progress.advance)
    if as_json:
        show_json(_about(where))
        return
    show(str(path))
    show_error(f"cite {where.data_set.citation}. Licence: {where.data_set.licence}.")


def show_place(name: str, arguments: Sequence[str], *, as_json: bool) -> int:
    """Print where the .h5ad of a data set is; 1 where it is not there yet, with what to do on stderr."""
    where = _place(data_set(name), arguments)
    if as_json:
        show_json(_about(where))
    else:
        show(str(where.path))
    if where.is_made:
        return 0
    show_error(f"it is not there yet ({where.state()}): {where.command}")
    for source in where.missing():
        show_error(f"missing: {source.advice(where.folder)}")
    return 1


def _place(one: DataSet, arguments: Sequence[str]) -> Place:
    return place(one, options_of(one, _named_values(arguments)), data_root())


def _named_values(arguments: Sequence[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` as a table."""
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or (not equals and not rest):
            raise InputError(f"{name!r} is not of the form --option value.")
        values[name.removeprefix("--").replace("-", "_")] = value if equals else rest.pop(0)
    return values


def _about(where: Place) -> dict[str, Any]:
    one = where.data_set
    return {
        "name": one.name,
        "title": one.title,
        "signal": one.signal,
        "n_cells": one.n_cells,
        "n_genes": one.n_genes,
        "licence": one.licence,
        "citation": one.citation,
        "options": where.options.model_dump(mode="json"),
        "state": where.state(),
        "path": str(where.path),
        "size_bytes": where.path.stat().st_size if where.is_made else None,
        "files": [
            {
                "name": source.name,
                "size": source.size,
                "page": source.page,
                "addresses": [{"url": address.url, "sha256": address.sha256} for address in source.addresses],
            }
            for source in one.files
        ],
    }


def _size(where: Place) -> str:
    if where.is_made:
        return f"{where.path.stat().st_size / 1e6:,.1f} MB"
    return " + ".join(sorted({source.size for source in where.data_set.files}))
