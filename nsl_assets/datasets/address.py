"""Addresses of public data sets, `data:NAME`, which study files have in place of paths; and the way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from nsl_assets.datasets.fetching import DATA_SETS, Place, data_set, options_of, place
from nsl_assets.errors import InputError

DATA: Final = "data:"
_OPTION: Final = re.compile(r"-(?=[a-z_]+=)")


def is_address(path: str) -> bool:
    """Whether a path is the address of a public data set."""
    return path.startswith(DATA)


def address_of(where: Place) -> str:
    """`data:NAME`, with the options that are not at their defaults: `data:larry-inversion=truncated`."""
    return f"{DATA}{where.path.stem}"


def place_of_address(address: str, data_folder: Path) -> Place:
    """Where the data set of an address lies. Raises InputError, saying what there is, where there is none."""
    name, *options = _OPTION.split(address.removeprefix(DATA))
    one = data_set(name)
    values = {key: value for key, _, value in (option.partition("=") for option in options)}
    return place(one, options_of(one, values), data_folder)


def place_of_file(path: Path, data_folder: Path) -> Place | None:
    """The data set whose .h5ad lies, or would lie, at this path; None for any other file."""
    if path.suffix != ".h5ad" or path.parent not in [data_folder / name for name in DATA_SETS]:
        return None
    try:
        where = place_of_address(f"{DATA}{path.stem}", data_folder)
    except InputError:  # a file of the user's own that lies in the same folder
        return None
    return where if where.path == path else None
