"""Block bootstrap of the noise law: whole seeds, and whole probe groups, are drawn with replacement.

What one seed (or one group of probe cells) does to all levels of a curve stays together, so the draws show how far
a fit would differ with other seeds and other probe cells. Misfit of the law, which all seeds share, they do not show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.laws.curve import Curve, levels_of
from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.noise_law_batch import fit_from, fit_from_everywhere, noise_law_problems
from nsl_assets.randomness import generator

Blocks = Literal["seed", "probe_group"]
Quantity = Callable[[FloatArray, FloatArray], FloatArray]
"""A function of Imax in bits and ln ū, such as the ln target depth."""

N_DRAWS: Final = 1_000
FAILED_FRACTION: Final = 0.05
"""Where more draws than this cannot be fitted, the interval is open."""


@dataclass(frozen=True, eq=False)
class BlockedCurve:
    """A curve by level, seed and probe group: what is drawn as a whole.

    Information adds up over probe groups: that of a level and seed is the weighted mean of its groups.
    """

    depth: FloatArray
    """UMIs per cell, (n_levels,)."""
    bits: FloatArray
    """Information, (n_levels, n_seeds, n_groups); NaN where not measured."""
    group_weight: FloatArray
    """Share of the probe cells in each group, (n_groups,)."""

    def __post_init__(self) -> None:
        if self.bits.ndim != 3 or self.bits.shape[::2] != (len(self.depth), len(self.group_weight)):
            raise InputError(
                f"a blocked curve has {len(self.depth)} depths, {len(self.group_weight)} group weights and bits of "
                f"shape {self.bits.shape}: (levels, seeds, groups) is expected."
            )

    def n_blocks(self, blocks: Blocks) -> int:
        """Number of seeds, or of probe groups (1 where they were not told apart)."""
        return int(self.bits.shape[1 if blocks == "seed" else 2])

    def level_means(self, blocks: Blocks, counts: FloatArray) -> FloatArray:
        """Level means (n_levels, n_draws) where each block stands ``counts`` (n_draws, n_blocks) times.

        NaN where a draw holds no measurement of a level.
        """
        measured = np.isfinite(self.bits) * self.group_weight
        left_over = 2 if blocks == "seed" else 1  # the axis that is not drawn
        total = (np.nan_to_num(self.bits) * measured).sum(axis=left_over) @ counts.T
        weight = measured.sum(axis=left_over) @ counts.T
        return np.where(weight > 0, total, np.nan) / np.where(weight > 0, weight, 1)

    def seed_means(self) -> FloatArray:
        """Information by level and seed, (n_levels, n_seeds); NaN where not measured."""
        measured = np.isfinite(self.bits) * self.group_weight
        weight = measured.sum(axis=2)
        total = (np.nan_to_num(self.bits) * measured).sum(axis=2)
        return np.where(weight > 0, total, np.nan) / np.where(weight > 0, weight, 1)


def blocked(curve: Curve) -> BlockedCurve:
    """A curve with its seeds as blocks and all probe cells in one group; seeds that repeat others are left out."""
    levels = levels_of(curve)
    own = np.isfinite(levels.by_seed_bits).any(axis=0)
    return BlockedCurve(levels.depth, levels.by_seed_bits[:, own, None], np.ones(1))


def block_counts(blocks: Blocks, n_blocks: int, n_draws: int = N_DRAWS) -> FloatArray:
    """How often each block stands in each draw, (n_draws, n_blocks).

    Equal numbers of blocks get equal draws: curves with the same seeds are drawn in pairs.
    """
    stream = generator("block bootstrap", blocks, n_blocks, n_draws)
    return stream.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=n_draws).astype(float)


@dataclass(frozen=True, eq=False)
class BlockFits:
    """Eq. 1 fitted to every draw of one kind of blocks."""

    n_blocks: int
    imax_bits: FloatArray
    """(n_draws,); NaN where a draw could not be fitted."""
    log_ubar: FloatArray
    """(n_draws,), in ln UMIs per cell."""

    def values(self, quantity: Quantity) -> FloatArray:
        """A quantity of every draw, (n_draws,)."""
        return quantity(self.imax_bits, self.log_ubar)


@dataclass(frozen=True, eq=False)
class NoiseLawBootstrap:
    """Eq. 1 fitted to a curve and to its draws."""

    imax_bits: float
    log_ubar: float
    fits: dict[Blocks, BlockFits]
    """By kind of blocks; probe groups only where there are several."""

    def value(self, quantity: Quantity) -> float:
        """A quantity of the curve itself."""
        return float(quantity(np.asarray(self.imax_bits), np.asarray(self.log_ubar)))

    def interval(self, quantity: Quantity, confidence: float) -> tuple[float, float]:
        """Interval of a quantity; see ``block_interval``."""
        draws = {name: (fit.values(quantity), fit.n_blocks) for name, fit in self.fits.items()}
        return block_interval(self.value(quantity), draws, confidence)


def block_interval(
    estimate: float, draws: dict[Blocks, tuple[FloatArray, int]], confidence: float, squared_half_width: float = 0.0
) -> tuple[float, float]:
    """``estimate ± sqrt(Σ t² n/(n-1) variance of the draws)`` over kinds of blocks, t with n - 1 degrees of freedom.

    ``squared_half_width`` is added under the root, for errors that the draws do not show.

    ``draws`` are the quantity's values (n_draws,) and n, the number of blocks. The factor n/(n-1) makes up for
    deviations from the mean of few blocks. Open, (-inf, inf), with one block or many draws that cannot be fitted.
    """
    square = sum(_squared_half_width(values, n, confidence) for values, n in draws.values())
    half = float(np.sqrt(square + squared_half_width))
    return estimate - half, estimate + half


def _squared_half_width(values: FloatArray, n_blocks: int, confidence: float) -> float:
    from scipy.special import fdtri

    fitted = values[np.isfinite(values)]
    if n_blocks < 2 or len(fitted) < (1 - FAILED_FRACTION) * len(values):
        return np.inf
    return float(fdtri(1, n_blocks - 1, confidence) * n_blocks / (n_blocks - 1) * fitted.var())


def bootstrap_noise_laws(curves: Sequence[BlockedCurve], n_draws: int = N_DRAWS) -> list[NoiseLawBootstrap]:
    """Fits Eq. 1 to every curve and to ``n_draws`` draws of its seeds, and of its probe groups where it has several.

    All fits run as one batch by kind of blocks. Every fit starts where that of its whole curve ended.
    """
    whole = [curve.level_means("seed", np.ones((1, curve.n_blocks("seed")))) for curve in curves]
    estimates = fit_from_everywhere(noise_law_problems([curve.depth for curve in curves], whole)).theta
    fits: list[dict[Blocks, BlockFits]] = [{} for _ in curves]
    for blocks in ("seed", "probe_group"):
        chosen = [i for i, curve in enumerate(curves) if blocks == "seed" or curve.n_blocks(blocks) > 1]
        drawn = _fits_of_draws([curves[i] for i in chosen], estimates[:, chosen], blocks, n_draws)
        for i, fit in zip(chosen, drawn, strict=True):
            fits[i][blocks] = fit
    return [
        NoiseLawBootstrap(float(imax_bits), float(log_ubar), of_curve)
        for imax_bits, log_ubar, of_curve in zip(*estimates, fits, strict=True)
    ]


def _fits_of_draws(
    curves: Sequence[BlockedCurve], estimates: FloatArray, blocks: Blocks, n_draws: int
) -> list[BlockFits]:
    if not curves:
        return []
    versions = [curve.level_means(blocks, block_counts(blocks, curve.n_blocks(blocks), n_draws)) for curve in curves]
    problems = noise_law_problems([curve.depth for curve in curves], versions)
    minima = fit_from(problems, *estimates[:, problems.curve])
    theta = np.where(minima.converged & _has_levels(problems.weight), minima.theta, np.nan)
    return [
        BlockFits(curve.n_blocks(blocks), *part)
        for curve, part in zip(curves, np.split(theta, len(curves), axis=1), strict=True)
    ]


def _has_levels(weight: FloatArray) -> npt.NDArray[Any]:
    """Whether a draw holds more levels than the law has parameters."""
    return np.asarray(weight.sum(axis=0) > 2)
