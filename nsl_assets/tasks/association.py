"""How much of an auxiliary signal a technical column explains: a first look at confounding."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.auxiliary import Auxiliary

MOST_LEVELS: Final = 200
"""A technical column with more different values is taken to identify cells, not batches."""

_TECHNICAL: Final = re.compile(
    r"batch|donor|sample|librar|orig\.?ident|lane|patient|individual|subject|replicate|plate|chip",
    re.IGNORECASE,
)


def is_technical(column: str) -> bool:
    """Whether an obs column is named like a batch, donor, sample, library, lane, plate or replicate."""
    return _TECHNICAL.search(column) is not None


def association(auxiliary: Auxiliary, levels: npt.NDArray[Any]) -> float:
    """Between 0 and 1: Cramér's V for classes, the largest share of variance explained for numbers.

    Both corrected for chance (Bergsma 2013; epsilon squared). `levels` are codes (n_cells,) of the technical
    column, -1 where unknown; cells that are unknown on either side are left out.
    """
    both = auxiliary.is_observed & (levels >= 0)
    codes = np.unique(levels[both], return_inverse=True)[1]
    if np.unique(codes).size < 2:
        return 0.0
    if auxiliary.kind == "categorical":
        return cramers_v(np.unique(auxiliary.values[both], return_inverse=True)[1], codes)
    return max(variance_explained(column, codes) for column in auxiliary.values[both].T)


def cramers_v(first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> float:
    """Bias-corrected Cramér's V of two codes (n,) without gaps (Bergsma 2013)."""
    n_rows, n_columns = int(first.max()) + 1, int(second.max()) + 1
    n = first.size
    if min(n_rows, n_columns) < 2 or n < 2:
        return 0.0
    table = np.bincount(first * n_columns + second, minlength=n_rows * n_columns).reshape(n_rows, n_columns)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    phi_squared = float(((table - expected) ** 2 / expected).sum()) / n
    corrected = max(0.0, phi_squared - (n_rows - 1) * (n_columns - 1) / (n - 1))
    smaller = min(n_rows - (n_rows - 1) ** 2 / (n - 1), n_columns - (n_columns - 1) ** 2 / (n - 1))
    return float(np.sqrt(min(1.0, corrected / (smaller - 1)))) if smaller > 1 else 0.0


def variance_explained(values: npt.NDArray[np.float64], codes: npt.NDArray[np.intp]) -> float:
    """Share of the variance of values (n,) between groups, corrected for chance (epsilon squared)."""
    sizes = np.bincount(codes)
    means = np.bincount(codes, weights=values) / sizes
    within = float(((values - means[codes]) ** 2).sum())
    total = float(((values - values.mean()) ** 2).sum())
    n_spare = values.size - sizes.size
    if n_spare <= 0 or total == 0:
        return 0.0
    return max(0.0, 1 - within / n_spare * (values.size - 1) / total)
