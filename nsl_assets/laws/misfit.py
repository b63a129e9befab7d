"""Misfit of a law with any number of parameters against the spread of seeds."""

import numpy as np

from nsl_assets.laws.curve import Levels
from nsl_assets.laws.equations import FloatArray


def lack_of_fit_p(levels: Levels, fitted_bits: FloatArray, n_parameters: int) -> float | None:
    """p-value of the F test of the level means' misfit against the spread of seeds within levels.

    ``fitted_bits`` is (n_levels,). None where no level has two seeds, or no more levels than parameters exist.
    """
    from scipy.special import fdtrc

    counts = np.isfinite(levels.by_seed_bits).sum(axis=1)
    free_pure, free_misfit = int((counts - 1).sum()), len(counts) - n_parameters
    pure = float(np.nansum((levels.by_seed_bits - levels.mean_bits[:, None]) ** 2))
    if free_pure == 0 or pure == 0 or free_misfit < 1:
        return None
    misfit = float((counts * (levels.mean_bits - fitted_bits) ** 2).sum())
    return float(fdtrc(free_misfit, free_pure, (misfit / free_misfit) / (pure / free_pure)))
