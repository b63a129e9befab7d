"""Clones and their time points: which cells are early or late, and which clones can be probed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.tasks.h5ad import H5adFile, missing
from nsl_assets.tasks.pair_settings import ClonalPairs, text_of, time_of
from nsl_assets.tasks.pairing import EARLY, LATE, NEITHER


@dataclass(frozen=True, eq=False)
class Clones:
    """Of some cells: clone names, those without a clone a group of their own; whether there is a clone; the time.

    `times` holds EARLY, LATE or NEITHER, `time_points` their names, "" where unknown; all are (n_cells,).
    """

    names: npt.NDArray[Any]
    is_clone: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int8]
    time_points: npt.NDArray[Any]

    def take(self, rows: npt.NDArray[Any]) -> Clones:
        """Those of chosen cells (positions or a mask)."""
        return Clones(self.names[rows], self.is_clone[rows], self.times[rows], self.time_points[rows])

    def pairable(self) -> npt.NDArray[np.bool_]:
        """Which cells belong to a clone that has early and late cells, (n_cells,)."""
        early, late = (
            np.unique(self.names[self.is_clone & (self.times == time)].astype(str)) for time in (EARLY, LATE)
        )
        return self.is_clone & np.isin(self.names.astype(str), np.intersect1d(early, late))


def read_clones(file: H5adFile, settings: ClonalPairs) -> Clones:
    """Clones of all cells of a file. Raises InputError for a missing column or a time point that no cell is of."""
    cell_names = file.cell_names()
    clones, times = _texts(file, settings.clone, text_of), _texts(file, settings.time, time_of)
    for time in (*settings.early, *settings.late):
        if time not in times:
            raise InputError(missing(f"time point {time!r} in {settings.time}", time, sorted({*times} - {""})))
    is_clone = (clones != "") & ~np.isin(clones.astype(str), settings.no_clone)
    codes = np.full(clones.size, NEITHER, dtype=np.int8)
    codes[np.isin(times.astype(str), settings.early)] = EARLY
    codes[np.isin(times.astype(str), settings.late)] = LATE
    return Clones(np.where(is_clone, clones, "cell " + cell_names), is_clone, codes, times)


def require_pairable(clones: Clones, settings: ClonalPairs) -> None:
    """Raise InputError where no clone has cells at both times."""
    if not clones.pairable().any():
        n_early, n_late = (int(np.count_nonzero(clones.is_clone & (clones.times == time))) for time in (EARLY, LATE))
        raise InputError(
            f"no clone of {settings.clone} has early and late cells: {n_early:,} cells with a clone are early"
            f" ({', '.join(settings.early)}), {n_late:,} late ({', '.join(settings.late)}). Name other time points."
        )


def clones_at_one_time(clones: Clones) -> Iterator[str]:
    """Names of clones, sorted, that lack early or late cells."""
    yield from np.unique(clones.names[clones.is_clone & ~clones.pairable()].astype(str)).tolist()


def _texts(file: H5adFile, address: str, text: Callable[[object], str]) -> npt.NDArray[Any]:
    """A column of obs as text (n_cells,), empty where there is no value."""
    column = file.obs(address.partition(":")[2])
    absent = column.isna().to_numpy()
    return np.array(
        ["" if gone else text(value) for value, gone in zip(column.tolist(), absent, strict=True)], dtype=object
    )
