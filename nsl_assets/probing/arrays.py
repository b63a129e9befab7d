"""Auxiliary signals from plain arrays, for notebooks and tests."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from nsl_assets.tasks import Auxiliary


def as_auxiliary(values: npt.NDArray[Any]) -> "Auxiliary":
    """An auxiliary signal from an array: floating-point (n_cells,) or (n_cells, n_columns) is continuous.

    Integers, booleans and text (n_cells,) are classes; integers below zero are unknown.
    """
    from nsl_assets.tasks import Auxiliary

    values = np.asarray(values)
    if np.issubdtype(values.dtype, np.floating):
        columns = values.reshape(len(values), -1).astype(np.float64)
        return Auxiliary("continuous", columns, tuple(f"column {i}" for i in range(columns.shape[1])))
    is_known = values >= 0 if np.issubdtype(values.dtype, np.signedinteger) else np.ones(len(values), bool)
    names, known = np.unique(values[is_known], return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[is_known] = known
    return Auxiliary("categorical", codes, tuple(map(str, names)))
