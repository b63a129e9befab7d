"""Which rows of several tables belong together: by name, or by order where a table has no names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tables import Address, Table

if TYPE_CHECKING:
    import pandas as pd

Names = npt.NDArray[np.str_]
Source = tuple[Address, Table]
_N_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Pairing:
    """Rows of each table, (n_pairs,) positions pair by pair, and what the user should know about them."""

    rows: tuple[npt.NDArray[np.intp], ...]
    paired_by: Literal["name", "row"]
    n_dropped: int = 0
    """Names that are not in all of the tables."""
    note: str = ""


def pair_rows(sources: Sequence[Source]) -> Pairing:
    """Pair rows by name, in the order of the names, or all rows in their order where a table has no names.

    Raises InputError for repeated names in different orders, no name in common, tables of unequal length without
    names, and names that tell that the order of the rows differs.
    """
    names = [table.row_names for _, table in sources]
    if any(each is None for each in names):
        return _by_row(sources)
    return _by_name([address for address, _ in sources], [each for each in names if each is not None])


def _by_name(addresses: Sequence[Address], names: Sequence[Names]) -> Pairing:
    import pandas as pd

    if all(np.array_equal(each, names[0]) for each in names):
        return Pairing((np.argsort(names[0], kind="stable"),) * len(names), "name")
    indices = [pd.Index(each) for each in names]
    for address, index in zip(addresses, indices, strict=True):
        _refuse_repeated(address, index)
    _refuse_other_counting(addresses, names)
    common, every = indices[0], indices[0]
    for index in indices[1:]:
        common, every = common.intersection(index), every.union(index)
    if common.empty:
        shown = "; ".join(f"{address}: {_examples(each)}" for address, each in zip(addresses, names, strict=True))
        raise InputError(
            f"No cell name is in all of the tables, so their rows cannot be paired. First names: {shown}. "
            "Give the cells the same names, or leave the names out to pair rows in their order."
        )
    common, n_dropped = common.sort_values(), len(every) - len(common)
    note = f"{n_dropped:,} cells are not in all of the tables: {len(common):,} pairs are left." if n_dropped else ""
    return Pairing(tuple(index.get_indexer(common) for index in indices), "name", n_dropped, note)


def _by_row(sources: Sequence[Source]) -> Pairing:
    lengths = {len(table.columns) for _, table in sources}
    if len(lengths) > 1:
        shown = ", ".join(f"{address} has {len(table.columns):,} rows" for address, table in sources)
        raise InputError(
            f"{shown}: where a table has no cell names, rows are paired in their order, and their number must be "
            "the same. Give cell names on all sides to pair what they have in common."
        )
    named = [(address, table.row_names) for address, table in sources if table.row_names is not None]
    for address, names in named:
        _refuse_shuffled_numbers(address, names)
        if not np.array_equal(names, named[0][1]):
            raise InputError(
                f"{named[0][0]} and {address} name their rows in different orders, and another table has no names: "
                "its rows cannot be paired with them. Give it cell names too."
            )
    unnamed = ", ".join(str(address) for address, table in sources if table.row_names is None)
    note = f"{unnamed} has no cell names: rows are paired in their order." if named else ""
    return Pairing((np.arange(lengths.pop()),) * len(sources), "row", note=note)


def _refuse_repeated(address: Address, index: pd.Index[str]) -> None:
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise InputError(f"{address} names {len(twice):,} cells twice, e.g. {twice[0]!r}. Keep one row a cell.")


def _refuse_other_counting(addresses: Sequence[Address], names: Sequence[Names]) -> None:
    """Row numbers from 0 and row numbers from 1 would pair every cell with its neighbour."""
    from_start = {start: address for address, each in zip(addresses, names, strict=True) if (start := _start(each))}
    if len(from_start) > 1:
        raise InputError(
            f"{from_start['0']} numbers its rows from 0, {from_start['1']} from 1. Number both alike, or leave "
            "the numbers out to pair rows in their order."
        )


def _start(names: Names) -> str:
    """ "0" or "1" where the names are row numbers from there on, else empty."""
    numbers = np.arange(len(names) + 1).astype(str)
    if np.array_equal(names, numbers[:-1]):
        return "0"
    return "1" if np.array_equal(names, numbers[1:]) else ""


def _refuse_shuffled_numbers(address: Address, names: Names) -> None:
    """Names that number rows, in another order than 0, 1, 2, ..., tell that the order was changed."""
    if np.char.isdecimal(names).all() and (np.diff(names.astype(float)) != 1).any():
        raise InputError(
            f"{address} numbers its rows, but not in order ({_examples(names)}, …), and another table has no "
            "names: rows in their order may be of different cells. Name the rows of all tables, or of none."
        )


def _examples(names: Names) -> str:
    return ", ".join(names[:_N_EXAMPLES])
