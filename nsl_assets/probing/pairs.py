"""Pairs of representation and auxiliary signal, checked before any estimator sees them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.margins import estimable_width

if TYPE_CHECKING:
    from nsl_assets.tasks import Auxiliary

FEWEST_PAIRS: Final = 50


@dataclass(frozen=True)
class Pairs:
    """Finite pairs without constant columns; exactly one of ``columns`` and ``classes`` is given.

    representation (n_pairs, n_dimensions) float64, possibly with no column left; columns (n_pairs, n_columns)
    float64; classes (n_pairs,) codes 0..n_classes-1, all present; group (n_pairs,) codes or None. ``handling``
    says, as JSON values, what was done to the data before any estimator saw them.
    """

    representation: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64] | None
    classes: npt.NDArray[np.intp] | None
    group: npt.NDArray[np.intp] | None
    handling: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.representation)

    @property
    def ceiling_bits(self) -> float | None:
        """H(Y), the plug-in entropy of the observed classes; None for a continuous auxiliary."""
        if self.classes is None:
            return None
        share = np.bincount(self.classes) / len(self)
        return float(-(share * np.log2(share)).sum())


def checked_pairs(
    representation: npt.NDArray[np.floating], auxiliary: "Auxiliary", group: npt.NDArray[np.integer] | None
) -> Pairs:
    """Pairs from a representation (n_pairs, n_dimensions) and the auxiliary signal of the same cells.

    Raises MeasurementError for fewer than 50 pairs, unequal lengths, non-finite or unknown values, and an
    auxiliary signal with a single class or no varying column.
    """
    z = _as_columns(representation, "the representation")
    _check_lengths(len(z), len(auxiliary.values), group)
    is_categorical = auxiliary.kind == "categorical"
    varying = _varying(z)
    columns = None if is_categorical else _auxiliary_columns(auxiliary.values)
    classes = _classes(auxiliary.values) if is_categorical else None
    return Pairs(
        representation=varying,
        columns=columns,
        classes=classes,
        group=None if group is None else np.unique(group, return_inverse=True)[1].astype(np.intp),
        handling=_handling(varying.shape[1], z.shape[1] - varying.shape[1], auxiliary.values, columns, classes),
    )


def _handling(
    n_dimensions: int,
    n_constant: int,
    values: npt.NDArray[Any],
    columns: npt.NDArray[np.float64] | None,
    classes: npt.NDArray[np.intp] | None,
) -> dict[str, int]:
    """What was left out or joined, and classes too rare to be learnt; only what happened is named."""
    n_auxiliary = 0 if columns is None else values.reshape(len(values), -1).shape[1] - columns.shape[1]
    n_lone = 0 if classes is None else int((np.bincount(classes) == 1).sum())
    width = None if columns is None else estimable_width(len(columns), n_dimensions, columns.shape[1])
    counts = {
        "reduced_to_columns": width or 0,
        "dropped_constant_dimensions": n_constant,
        "dropped_constant_auxiliary_columns": n_auxiliary,
        "classes_of_one_member": n_lone,
    }
    return {name: count for name, count in counts.items() if count}


def _check_lengths(n_pairs: int, n_auxiliary: int, group: npt.NDArray[np.integer] | None) -> None:
    n_group = n_pairs if group is None else len(group)
    if n_pairs != n_auxiliary or n_pairs != n_group:
        message = (
            f"the representation has {n_pairs} cells, the auxiliary signal {n_auxiliary} and the groups {n_group}:"
            " give all of them for the same cells, in the same order."
        )
        raise MeasurementError(message)
    if n_pairs < FEWEST_PAIRS:
        message = (
            f"{n_pairs} pairs of representation and auxiliary signal: at least {FEWEST_PAIRS} are needed for an"
            " estimate. Give the probe set more cells, or use an auxiliary signal that more cells have."
        )
        raise MeasurementError(message)


def _as_columns(values: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.float64]:
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2:
        raise MeasurementError(f"{name} has shape {columns.shape}: (n_cells, n_columns) is expected.")
    is_bad = ~np.isfinite(columns)
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        message = (
            f"{name} holds {is_bad.sum()} non-finite values (first: {columns[row, column]} in row {row}, column"
            f" {column}): finite numbers are needed. Check that training converged, and leave out cells whose"
            " value is unknown."
        )
        raise MeasurementError(message)
    return columns


def _varying(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return columns[:, np.ptp(columns, axis=0) > 0]


def _auxiliary_columns(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    columns = _varying(_as_columns(values, "the auxiliary signal"))
    if columns.shape[1] == 0:
        message = "the auxiliary signal has the same value in every cell: name one that varies between cells."
        raise MeasurementError(message)
    return columns


def _classes(codes: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    n_unknown = int((np.asarray(codes) < 0).sum())
    if n_unknown:
        message = (
            f"the auxiliary signal is unknown (code -1) in {n_unknown} of {len(codes)} cells: leave those cells out"
            " of both the representation and the auxiliary signal."
        )
        raise MeasurementError(message)
    present, classes = np.unique(codes, return_inverse=True)
    if len(present) < 2:
        message = (
            f"all {len(codes)} cells are of one class: an auxiliary signal with at least 2 classes is needed to"
            " measure information."
        )
        raise MeasurementError(message)
    codes_without_gaps: npt.NDArray[np.intp] = classes.astype(np.intp)
    return codes_without_gaps
