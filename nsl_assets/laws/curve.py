"""A measured curve: information at several depths and seeds, checked, and grouped into levels."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws.equations import FloatArray

SAME_LEVEL: Final = float(np.log(1.1))
MINIMUM_LEVELS: Final = 3


@dataclass(frozen=True, eq=False)
class Curve:
    """Raw points of one curve, one entry a measurement; arrays of shape (n_points,).

    ``level`` names which points are replicates of one noise level. Without it, points whose realised depths
    lie within 10 % of each other and come from different seeds are taken to be replicates.

    Raises InputError for text, NaN, infinite information, depths that are not positive, or unequal lengths.
    """

    depth: FloatArray
    """UMIs per cell (or another power SNR), positive; inf is the noiseless level."""
    mi_bits: FloatArray
    """Measured mutual information in bits; may be slightly negative."""
    seed: npt.NDArray[np.int64]
    """The seed of each point."""
    level: FloatArray | None = None
    """Optional nominal noise level of each point."""
    low_bits: FloatArray | None = None
    """Optional lower end of the interval of each measurement by itself; NaN where its estimator gives none."""
    high_bits: FloatArray | None = None
    """The upper end; NaN or inf where it is not known."""

    def __post_init__(self) -> None:
        for name in ("depth", "mi_bits", "level", "low_bits", "high_bits"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _floats(name, getattr(self, name)))
        object.__setattr__(self, "seed", _integers(self.seed))
        self._check_lengths()
        self._check_values()

    def _check_lengths(self) -> None:
        names = ("depth", "mi_bits", "seed", "level", "low_bits", "high_bits")
        columns = {name: getattr(self, name) for name in names}
        lengths = {name: len(values) for name, values in columns.items() if values is not None}
        if len(set(lengths.values())) != 1:
            raise InputError(f"a curve has columns of lengths {lengths}: one entry a measurement is expected.")

    def _check_values(self) -> None:
        wrong = ~(self.depth > 0)
        if wrong.any():
            found = self.depth[wrong][0]
            raise InputError(
                f"a curve has depth {found:g}: depths are positive UMIs per cell (inf = no noise). "
                "Leave out levels at which no molecule is left, or correct the depth column."
            )
        if not np.isfinite(self.mi_bits).all():
            found = self.mi_bits[~np.isfinite(self.mi_bits)][0]
            where = self.depth[~np.isfinite(self.mi_bits)][0]
            raise InputError(
                f"a curve has {found} bits at depth {where:g}: finite information is expected. "
                "Leave out measurements that failed."
            )


def _floats(name: str, values: Any) -> FloatArray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"column '{name}' of a curve does not hold numbers ({error}): give floats.") from error
    return _one_dimensional(name, array)


def _integers(values: Any) -> npt.NDArray[np.int64]:
    array = np.array(values)
    if array.dtype.kind not in "iu":
        raise InputError(f"column 'seed' of a curve holds {array.dtype} values: give integers.")
    return _one_dimensional("seed", array.astype(np.int64))


def _one_dimensional(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim != 1:
        raise InputError(f"column '{name}' of a curve has shape {array.shape}: one dimension is expected.")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Levels:
    """A curve by level, shallowest first: one row a level, one column a seed; NaN where not measured."""

    depth: FloatArray
    """Geometric mean of the realised depths, (n_levels,)."""
    by_seed_bits: FloatArray
    """Information, (n_levels, n_seeds); a number that is repeated over seeds stands once."""
    is_replicated: bool
    """False where a seed only repeats the numbers of another."""

    @property
    def mean_bits(self) -> FloatArray:
        """Seed means, (n_levels,)."""
        return np.asarray(np.nanmean(self.by_seed_bits, axis=1))

    @property
    def n_seeds(self) -> int:
        """Number of seeds that hold at least one number of their own."""
        return int(np.isfinite(self.by_seed_bits).any(axis=0).sum())

    @property
    def n_points(self) -> int:
        """Number of distinct measurements."""
        return int(np.isfinite(self.by_seed_bits).sum())

    @property
    def deepest(self) -> float:
        """The deepest level in UMIs per cell; inf where a noiseless level was measured."""
        return float(self.depth[-1])


def levels_of(curve: Curve, *, keep_repeats: bool = False) -> Levels:
    """Groups a curve into levels; numbers that only repeat over seeds count once, unless they are kept.

    Raises MeasurementError with fewer than 3 levels.
    """
    groups = list(_level_groups(curve))
    if len(groups) < MINIMUM_LEVELS:
        depths = ", ".join(f"{curve.depth[group[0]]:g}" for group in groups) or "none"
        raise MeasurementError(
            f"a curve has {len(groups)} noise levels (depths: {depths}): at least {MINIMUM_LEVELS} are "
            "needed to fit two parameters. Measure more levels, or wait until they have finished."
        )
    depth = np.array([np.exp(np.mean(np.log(curve.depth[group]))) for group in groups])
    table = _table(curve, groups)
    distinct = _without_repeats(table)
    is_replicated = bool((np.isfinite(distinct) == np.isfinite(table)).all())
    order = np.argsort(depth, kind="stable")
    return Levels(depth[order], (table if keep_repeats else distinct)[order], is_replicated)


def _level_groups(curve: Curve) -> Iterator[npt.NDArray[np.intp]]:
    """Positions of the points of each level."""
    if curve.level is not None:
        for level in np.unique(curve.level):
            yield np.flatnonzero(curve.level == level)
        return
    order = np.lexsort((curve.seed, curve.depth))
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or _begins_level(curve, order[start:end], order[end]):
            yield order[start:end]
            start = end


def _begins_level(curve: Curve, members: npt.NDArray[np.intp], point: np.intp) -> bool:
    last = curve.depth[members[-1]]
    if curve.depth[point] == last:
        return False
    is_far = np.log(curve.depth[point] / last) > SAME_LEVEL
    return bool(is_far or curve.seed[point] in curve.seed[members])


def _table(curve: Curve, groups: list[npt.NDArray[np.intp]]) -> FloatArray:
    """Mean information by level and seed, NaN where not measured."""
    seeds = np.unique(curve.seed)
    table = np.full((len(groups), len(seeds)), np.nan)
    for row, group in enumerate(groups):
        for seed in np.unique(curve.seed[group]):
            of_seed = group[curve.seed[group] == seed]
            table[row, np.searchsorted(seeds, seed)] = curve.mi_bits[of_seed].mean()
    return table


def _without_repeats(table: FloatArray) -> FloatArray:
    """The table with numbers blanked that merely repeat those of an earlier seed.

    Repeated means: a seed equals another at every level that both have (two or more), or all seeds of a level
    are equal.
    """
    distinct = table.copy()
    for first, later in combinations(range(table.shape[1]), 2):
        shared = np.isfinite(table[:, first]) & np.isfinite(table[:, later])
        if shared.sum() > 1 and (table[shared, first] == table[shared, later]).all():
            distinct[shared, later] = np.nan
    for values in distinct:
        measured = np.flatnonzero(np.isfinite(values))
        if np.ptp(values[measured]) == 0:
            values[measured[1:]] = np.nan
    return distinct
