"""What is doubtful about a fitted noise law: fits are flagged, not refused."""

from typing import Final

import numpy as np

from nsl_assets.laws.curve import Levels
from nsl_assets.laws.intervals import Intervals
from nsl_assets.laws.search import Optimum
from nsl_assets.laws.slope_misfit import misfit_p_values

FLAGS: Final = {
    "no_plateau": "the curve does not bend enough within the measured depths to fix Imax or ū",
    "target_extrapolated": "the target depth lies beyond the deepest measured level",
    "only_plateau": "even the shallowest measured level lies beyond the target depth: how steep the curve is, is open",
    "at_bound": "the best fit lies at the edge of the possible: no information, no bend, or no rise",
    "few_pairs": "most estimates were made from fewer than 500 pairs and are unreliable: the intervals are too narrow",
    "above_ceiling": "Imax exceeds the entropy of the auxiliary signal, which is impossible",
    "misfit": "the curve contradicts the law by more than its noise: numbers that hang on the law's form are doubtful",
    "few_levels": "fewer than 4 distinct noise levels",
    "one_seed": "one seed: differences between seeds cannot be seen, and the intervals leave them out",
    "not_monotone": "information falls with depth by more than seeds and noise explain",
    "not_replicated": "seeds repeat the same numbers: they are counted once",
    "not_converged": "the least-squares search did not settle",
}
"""Every flag with its meaning."""

PLATEAU_WIDTH_BITS: Final = 0.3
FEW_LEVELS: Final = 4
FALL_IN_SD: Final = 3.0
FALL_FRACTION: Final = 0.1
MISFIT_P: Final = 0.025
"""Of each of two tests; curves that follow the law fail one in at most 5 % of cases (docs/decisions/planning.md)."""


def flags_of(
    levels: Levels,
    optimum: Optimum,
    intervals: Intervals,
    *,
    target_depth: float,
    ceiling_bits: float | None,
) -> tuple[str, ...]:
    """The flags that a fit earns, in the order of ``FLAGS``; all but "few_pairs", which is of the measurements."""
    earned = {
        "no_plateau": _has_no_plateau(levels, intervals),
        "target_extrapolated": target_depth > levels.deepest,
        "only_plateau": 0 < target_depth < levels.depth[0],
        "at_bound": optimum.at_bound,
        "above_ceiling": ceiling_bits is not None and optimum.imax_bits > ceiling_bits,
        "misfit": not optimum.at_bound and any(p < MISFIT_P for p in misfit_p_values(levels, optimum)),
        "few_levels": len(levels.depth) < FEW_LEVELS,
        "one_seed": levels.n_seeds < 2,
        "not_monotone": _falls_with_depth(levels),
        "not_replicated": not levels.is_replicated,
        "not_converged": not optimum.converged,
    }
    return tuple(flag for flag in FLAGS if earned.get(flag))


def _has_no_plateau(levels: Levels, intervals: Intervals) -> bool:
    low, high = intervals.imax_bits
    return intervals.ubar[1] > levels.deepest or high - low > PLATEAU_WIDTH_BITS


def _falls_with_depth(levels: Levels) -> bool:
    """Whether a level lies below a shallower one by 3 σ of their difference and a tenth of the top."""
    means = levels.mean_bits
    fall = float((np.maximum.accumulate(means) - means).max())
    return fall > max(FALL_IN_SD * _sd_of_difference(levels), FALL_FRACTION * float(np.abs(means).max()))


def _sd_of_difference(levels: Levels) -> float:
    """Standard deviation of the difference of two levels: by the spread of seeds, else of neighbours."""
    counts = np.isfinite(levels.by_seed_bits).sum(axis=1)
    free = int((counts - 1).sum())
    if free == 0:
        return float(np.sqrt(2 * np.mean(np.diff(levels.mean_bits, n=2) ** 2) / 6))
    variance = np.nansum((levels.by_seed_bits - levels.mean_bits[:, None]) ** 2) / free
    return float(np.sqrt(2 * variance / counts.mean()))
