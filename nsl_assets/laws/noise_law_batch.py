"""Eq. 1 fitted to many curves, or many resampled versions of curves, in one batch."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.batched import Box, IntArray, Minima, least_squares
from nsl_assets.laws.equations import NATS_PER_TWO_BITS, FloatArray
from nsl_assets.laws.search import FAR, Points

UBAR_STARTS: Final = 9
"""Starts of ln ū, spread from a hundredth of the shallowest level to a hundred times the deepest."""
START_REACH: Final = float(np.log(100))


@dataclass(frozen=True, eq=False)
class NoiseLawProblems:
    """Curves padded to one number of levels; a problem is one version of one curve."""

    inverse_depth: FloatArray
    """1 / depth, (n_levels, n_curves): 0 for the noiseless level."""
    bits: FloatArray
    """Information, (n_levels, n_problems)."""
    weight: FloatArray
    """1 where a level counts, 0 where it is missing, (n_levels, n_problems)."""
    curve: IntArray
    """Which curve a problem belongs to, (n_problems,)."""
    box: Box
    """Bounds of Imax in bits and ln ū: those of the single fit; (2, n_problems)."""

    def __call__(self, theta: FloatArray, problems: IntArray) -> tuple[FloatArray, FloatArray]:
        """Residuals in bits and their slopes by (Imax, ln ū); see ``Residuals``."""
        noise = np.exp(theta[1]) * self.inverse_depth[:, self.curve[problems]]  # ū / u
        power = np.exp(NATS_PER_TWO_BITS * theta[0])
        total, rest = noise + power, noise + 1
        weight = self.weight[:, problems]
        values = (np.log(total / rest) / NATS_PER_TWO_BITS - self.bits[:, problems]) * weight
        slopes = np.empty((2, *noise.shape))
        np.divide(power, total, out=slopes[0])
        np.divide(1, rest, out=slopes[1])
        slopes[1] -= slopes[0]
        slopes[1] /= NATS_PER_TWO_BITS
        slopes *= weight
        return values, slopes


def noise_law_problems(depths: list[FloatArray], versions: list[FloatArray]) -> NoiseLawProblems:
    """Problems of curves: depths (n_levels,) each, and versions (n_levels, n_versions) in bits, NaN where missing."""
    n_levels = max(len(depth) for depth in depths)
    n_versions = [version.shape[1] for version in versions]
    bits = np.full((n_levels, sum(n_versions)), np.nan)
    inverse_depth = np.ones((n_levels, len(depths)))
    start = 0
    for i, (depth, version) in enumerate(zip(depths, versions, strict=True)):
        bits[: len(depth), start : start + n_versions[i]] = version
        inverse_depth[: len(depth), i] = 1 / depth
        start += n_versions[i]
    counts = np.isfinite(bits)
    curve = np.repeat(np.arange(len(depths)), n_versions)
    box = _box(depths, versions, curve)
    return NoiseLawProblems(inverse_depth, np.where(counts, bits, 0), counts.astype(float), curve, box)


def _box(depths: list[FloatArray], versions: list[FloatArray], curve: IntArray) -> Box:
    bounds = []
    for depth, version in zip(depths, versions, strict=True):
        points = Points(depth, version[np.isfinite(version)])
        bounds.append((points.imax_bounds_bits, points.log_depth_bounds))
    low, high = np.moveaxis(np.array(bounds)[curve], 0, -1).transpose(1, 0, 2)
    return Box(low, high)


def fit_from(problems: NoiseLawProblems, imax_bits: FloatArray, log_ubar: FloatArray) -> Minima:
    """Fits every problem from one start, (n_problems,) each: for versions of curves whose fit is known."""
    return least_squares(problems, np.stack([imax_bits, log_ubar])[None], problems.box)


def fit_from_everywhere(problems: NoiseLawProblems) -> Minima:
    """Fits every problem from starts over the whole range of ū; the lowest is kept."""
    depth_low, depth_high = problems.box.low[1] + np.log(FAR), problems.box.high[1] - np.log(FAR)
    shares = np.linspace(0, 1, UBAR_STARTS)[:, None]
    log_ubar = depth_low - START_REACH + shares * (depth_high - depth_low + 2 * START_REACH)
    top = np.maximum((problems.bits * problems.weight).max(axis=0), 0.1)
    # Above the measured depths the law rises to an Imax that lies beyond what was measured.
    imax_bits = top + np.maximum(log_ubar - depth_high, 0) / NATS_PER_TWO_BITS
    return least_squares(problems, np.stack([imax_bits, log_ubar], axis=1), problems.box)
