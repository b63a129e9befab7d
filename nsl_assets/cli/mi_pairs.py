"""The pairs that `nsl mi` measures: read from files, paired, checked. What is left out or assumed is said on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.cli.pairing import Pairing, Source, pair_rows
from nsl_assets.cli.signal_kind import Kind, Signal, group_codes, signal_of
from nsl_assets.errors import InputError
from nsl_assets.tables import Address, read_table

KINDS: Final[dict[str, Kind | None]] = {"auto": None, "classes": "classes", "continuous": "continuous"}


@dataclass(frozen=True)
class Pairs:
    """Paired rows, ready to be measured: X (n_pairs, n_columns) float64, the signal Y, codes of groups (n_pairs,)."""

    x: npt.NDArray[np.float64]
    signal: Signal
    group: npt.NDArray[np.intp] | None
    pairing: Pairing
    n_missing_dropped: int = 0

    @property
    def n_groups(self) -> int | None:
        """Number of different groups, None without groups."""
        return None if self.group is None else len(np.unique(self.group))


def read_pairs(x: str, y: str, group: str | None, *, y_kind: str, is_missing_dropped: bool) -> Pairs:
    """The pairs of X, Y and, where given, groups, each FILE or FILE:PLACE.

    ``y_kind`` is "auto", "classes" or "continuous". Raises InputError for tables that cannot be read or paired,
    columns of X that are no numbers, and unknown values of Y or group that may not be dropped.
    """
    addresses = _addresses(x, y, group)
    sources = [(address, read_table(address)) for address in addresses]
    for _, table in sources:
        _say(table.note)
    sources[0][1].require_numbers(addresses[0])
    pairing = pair_rows(sources)
    _say(pairing.note)
    paired = [table.columns.iloc[rows] for (_, table), rows in zip(sources, pairing.rows, strict=True)]
    pairs = Pairs(
        x=paired[0].to_numpy(np.float64, na_value=np.nan),
        signal=signal_of(paired[1], KINDS[y_kind], addresses[1]),
        group=group_codes(paired[2], addresses[2]) if group is not None else None,
        pairing=pairing,
    )
    return _without_missing(pairs, sources[1:], is_dropped=is_missing_dropped)


def _addresses(x: str, y: str, group: str | None) -> list[Address]:
    """X, Y and, where given, group. obs:COLUMN and obsm:KEY of Y and group are places of X's .h5ad."""
    first = Address.parse(x)
    is_h5ad = first.path.suffix == ".h5ad"
    others = [text for text in (y, group) if text is not None]
    return [first, *(Address.parse(f"{first.path}:{t}" if is_h5ad and re.match("obsm?:", t) else t) for t in others)]


def _without_missing(pairs: Pairs, sources: Sequence[Source], *, is_dropped: bool) -> Pairs:
    """Pairs whose Y and group are known. Raises InputError where some are not and may not be dropped."""
    known = [pairs.signal.is_known] + ([pairs.group >= 0] if pairs.group is not None else [])
    is_kept = np.logical_and.reduce(known)
    if is_kept.all():
        return pairs
    if not is_dropped:
        rows = pairs.pairing.rows[1:]
        shown = [_missing(*each) for each in zip(sources, rows, known, strict=True) if not each[-1].all()]
        hint = pairs.signal.hint_on_unknown
        raise InputError(f"{' '.join(shown)} --drop-missing leaves these rows out.{hint}")
    n_dropped = int((~is_kept).sum())
    _say(f"{n_dropped:,} pairs are left out because Y or the group is unknown: {is_kept.sum():,} are left.")
    return replace(
        pairs,
        x=pairs.x[is_kept],
        signal=replace(pairs.signal, values=pairs.signal.values[is_kept]),
        group=None if pairs.group is None else pairs.group[is_kept],
        n_missing_dropped=n_dropped,
    )


def _missing(source: Source, rows: npt.NDArray[np.intp], is_known: npt.NDArray[np.bool_]) -> str:
    address, table = source
    first = rows[~is_known].min()
    name = "" if table.row_names is None else f" ({table.row_names[first]})"
    n_unknown = int((~is_known).sum())
    return f"{address} has no value in {n_unknown:,} of {len(rows):,} rows, first in row {first + 1}{name}."


def _say(note: str) -> None:
    if note:
        sys.stderr.write(f"{note}\n")
