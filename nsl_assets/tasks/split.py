"""Divides cells into train pool, validation and probe by their identity, never by their place in a file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.randomness import identity_keys, keyed_order
from nsl_assets.tasks.base_settings import SplitSettings

TRAIN: Final = 0
VALIDATION: Final = 1
PROBE: Final = 2
ROLE_NAMES: Final = ("train", "validation", "probe")

_FEWEST_CELLS: Final = 10


def split_cells(
    cell_names: npt.NDArray[Any], groups: npt.NDArray[Any] | None, settings: SplitSettings
) -> npt.NDArray[np.int8]:
    """Roles (n_cells,) of cells, as codes TRAIN, VALIDATION, PROBE.

    Parameters
    ----------
    cell_names
        (n_cells,) unique names.
    groups
        (n_cells,) names of groups that stay together, or None where cells are independent.

    The same cells get the same roles in any order. Raises InputError below 10 cells or 3 groups.
    """
    if cell_names.size < _FEWEST_CELLS:
        raise InputError(f"{cell_names.size} cells were found: a split needs at least {_FEWEST_CELLS}.")
    if groups is None:
        return _by_cell(cell_names, settings)
    return _by_group(groups, settings)


def split_around_probe(
    groups: npt.NDArray[Any], candidates: npt.NDArray[np.bool_], settings: SplitSettings
) -> npt.NDArray[np.int8]:
    """Roles (n_cells,) where only some groups can be probed: `probe_fraction` is a share of those groups.

    Parameters
    ----------
    groups
        (n_cells,) names of groups that stay together.
    candidates
        (n_cells,) cells of groups that can be probed; cells of all others train or validate.

    `validation_fraction` is a share of all cells. Raises InputError where no group is left to train and validate.
    """
    names = groups.astype(str)
    probed = np.unique(names[candidates])
    order = keyed_order(identity_keys(probed), "split probed groups", settings.split_seed)
    probed = probed[order[: max(1, round(settings.probe_fraction * probed.size))]]
    roles = np.where(np.isin(names, probed), PROBE, TRAIN).astype(np.int8)
    rest, codes, sizes = np.unique(names[roles != PROBE], return_inverse=True, return_counts=True)
    if rest.size < 2:
        raise InputError(
            f"{probed.size:,} of {probed.size + rest.size:,} groups are probed: train pool and validation need one"
            " each. Lower probe_fraction."
        )
    waiting = keyed_order(identity_keys(rest), "split groups", settings.split_seed).tolist()
    chosen = _fill(waiting, sizes, settings.validation_fraction * names.size, rest.size - 1)
    is_validation = np.isin(codes.reshape(-1), list(chosen))
    roles[roles != PROBE] = np.where(is_validation, VALIDATION, TRAIN)
    return roles


def _by_cell(cell_names: npt.NDArray[Any], settings: SplitSettings) -> npt.NDArray[np.int8]:
    order = keyed_order(identity_keys(cell_names), "split", settings.split_seed)
    n_probe = max(1, round(settings.probe_fraction * order.size))
    n_validation = max(1, round(settings.validation_fraction * order.size))
    roles = np.full(order.size, TRAIN, np.int8)
    roles[order[:n_probe]] = PROBE
    roles[order[n_probe : n_probe + n_validation]] = VALIDATION
    return roles


def _by_group(groups: npt.NDArray[Any], settings: SplitSettings) -> npt.NDArray[np.int8]:
    names, codes, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    if names.size < len(ROLE_NAMES):
        raise InputError(
            f"{names.size} group{'s' * (names.size != 1)} ({', '.join(names)}) cannot be split: train pool, "
            f"validation and probe need one each, so {len(ROLE_NAMES)} at least. Choose another, or none."
        )
    waiting = keyed_order(identity_keys(names), "split groups", settings.split_seed).tolist()
    role_of_group = np.full(names.size, TRAIN, np.int8)
    for role, fraction, reserved in (
        (PROBE, settings.probe_fraction, 2),
        (VALIDATION, settings.validation_fraction, 1),
    ):
        chosen = _fill(waiting, sizes, fraction * groups.size, len(waiting) - reserved)
        role_of_group[list(chosen)] = role
        waiting = [group for group in waiting if group not in chosen]
    return role_of_group[codes.reshape(-1)]


def _fill(waiting: list[int], sizes: npt.NDArray[np.intp], n_wanted: float, most: int) -> set[int]:
    """Groups, taken in order where that brings the number of cells nearer to what is wanted; at least one."""
    chosen: set[int] = set()
    n_cells = 0
    for group in waiting:
        nearer = abs(n_cells + sizes[group] - n_wanted) < abs(n_cells - n_wanted)
        if nearer and len(chosen) < most:
            chosen.add(group)
            n_cells += sizes[group]
    return chosen or {min(waiting, key=lambda group: int(sizes[group]))}
