"""Two models of one task, compared: differences of Imax, ū and target depth, from the same seeds and probe groups.

Seeds share their noise, subsample and probe cells between models, so both curves are drawn with the same seeds (and
the same probe groups) and the difference is taken draw by draw: what a seed does to both models cancels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.laws.bootstrap import (
    N_DRAWS,
    BlockedCurve,
    Blocks,
    NoiseLawBootstrap,
    Quantity,
    block_interval,
    bootstrap_noise_laws,
)
from nsl_assets.laws.curve import Curve, levels_of
from nsl_assets.laws.equations import FloatArray, law_of_logs
from nsl_assets.laws.paired_misfit import misfit_half_width
from nsl_assets.laws.settings import LawSettings, Target

MODEL_COMPARISON_FLAGS: Final = {
    "one_seed": "fewer than two seeds in common: the differences have no interval",
    "not_replicated": "a model repeats its numbers over seeds: only the other model's seeds tell of differences",
    "target_extrapolated": "a target depth lies beyond the deepest measured level of its curve",
}
"""Every flag of a comparison with its meaning."""


@dataclass(frozen=True)
class Difference:
    """A difference, or a ratio, with its interval; open ends are infinite, or 0 for a ratio."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelComparison:
    """The first model against the second."""

    first: str
    second: str
    imax_bits: Difference
    """Imax of the first less that of the second."""
    ubar_ratio: Difference
    """ū of the first over that of the second."""
    target_depth_ratio: Difference
    """Target depth of the first over that of the second."""
    n_seeds: int
    """Seeds that both models have."""
    n_groups: int
    """Probe groups of both; 1 where they were not told apart."""
    confidence: float
    flags: tuple[str, ...]
    """What is doubtful: keys of ``MODEL_COMPARISON_FLAGS``."""


@dataclass(frozen=True)
class InformationComparison:
    """The first model against the second at one depth."""

    first: str
    second: str
    umis_per_cell: float
    bits: Difference
    """Information of the first less that of the second, by the noise laws of both."""
    n_seeds: int
    """Seeds that both models have."""
    flags: tuple[str, ...]
    """What is doubtful: keys of ``MODEL_COMPARISON_FLAGS``."""


def compare_models(
    curves: Mapping[str, Curve], settings: LawSettings, *, n_draws: int = N_DRAWS
) -> list[ModelComparison]:
    """Compares every two models of one task, in the order given; seeds that only one of them has are left out.

    Raises InputError where two models have no seed in common, MeasurementError with fewer than 3 levels.
    """
    pairs = {
        (first, second): _with_common_seeds(first, curves[first], second, curves[second])
        for first, second in combinations(curves, 2)
    }
    return compare_blocked_curves(pairs, settings, n_draws=n_draws)


def compare_information(
    curves: Mapping[str, Curve], umis_per_cell: float, settings: LawSettings, *, n_draws: int = N_DRAWS
) -> list[InformationComparison]:
    """Compares what every two models know at one depth, in the order given, on their common seeds.

    Raises InputError where two models have no seed in common, MeasurementError with fewer than 3 levels.
    """
    log_depth = np.log(np.float64(umis_per_cell))

    def information(imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
        return law_of_logs(log_depth, imax_bits, log_ubar)

    pairs = {
        (first, second): _with_common_seeds(first, curves[first], second, curves[second])
        for first, second in combinations(curves, 2)
    }
    fits = iter(bootstrap_noise_laws([curve for pair in pairs.values() for curve in pair], n_draws))
    return [
        InformationComparison(
            first=first,
            second=second,
            umis_per_cell=umis_per_cell,
            bits=_difference(information, pair, (next(fits), next(fits)), settings.confidence),
            n_seeds=pair[0].n_blocks("seed"),
            flags=_flags_of_seeds(pair),
        )
        for (first, second), pair in pairs.items()
    ]


def compare_blocked_curves(
    pairs: Mapping[tuple[str, str], tuple[BlockedCurve, BlockedCurve]],
    settings: LawSettings,
    *,
    n_draws: int = N_DRAWS,
) -> list[ModelComparison]:
    """The same for curves by seed and probe group; both curves of a pair hold the same ones in the same order.

    Raises InputError where their numbers differ.
    """
    for names, pair in pairs.items():
        _check_pair(names, pair)
    fits = iter(bootstrap_noise_laws([curve for pair in pairs.values() for curve in pair], n_draws))
    return [_comparison(names, pair, (next(fits), next(fits)), settings) for names, pair in pairs.items()]


def _with_common_seeds(first: str, one: Curve, second: str, other: Curve) -> tuple[BlockedCurve, BlockedCurve]:
    common = np.intersect1d(one.seed, other.seed)
    if not len(common):
        raise InputError(
            f"models {first} and {second} have no seed in common (seeds {np.unique(one.seed).tolist()} and "
            f"{np.unique(other.seed).tolist()}): measure both with the same seeds."
        )
    return _of_seeds(one, common), _of_seeds(other, common)


def _of_seeds(curve: Curve, seeds: npt.NDArray[np.integer]) -> BlockedCurve:
    rows = np.isin(curve.seed, seeds)
    level = None if curve.level is None else curve.level[rows]
    levels = levels_of(Curve(curve.depth[rows], curve.mi_bits[rows], curve.seed[rows], level), keep_repeats=True)
    return BlockedCurve(levels.depth, levels.by_seed_bits[:, :, None], np.ones(1))


def _check_pair(names: tuple[str, str], pair: tuple[BlockedCurve, BlockedCurve]) -> None:
    shapes = [curve.bits.shape[1:] for curve in pair]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"models {names[0]} and {names[1]} have {shapes[0]} and {shapes[1]} (seeds, probe groups): give both "
            "curves the same ones, in the same order."
        )


def _comparison(
    names: tuple[str, str],
    pair: tuple[BlockedCurve, BlockedCurve],
    fits: tuple[NoiseLawBootstrap, NoiseLawBootstrap],
    settings: LawSettings,
) -> ModelComparison:
    def difference(quantity: Quantity) -> Difference:
        return _difference(quantity, pair, fits, settings.confidence)

    log_target = _log_target_depth(settings.target)
    return ModelComparison(
        first=names[0],
        second=names[1],
        imax_bits=difference(_imax_bits),
        ubar_ratio=_ratio(difference(_log_ubar)),
        target_depth_ratio=_ratio(difference(log_target)),
        n_seeds=pair[0].n_blocks("seed"),
        n_groups=pair[0].n_blocks("probe_group"),
        confidence=settings.confidence,
        flags=_flags(pair, fits, log_target),
    )


def _difference(
    quantity: Quantity,
    pair: tuple[BlockedCurve, BlockedCurve],
    fits: tuple[NoiseLawBootstrap, NoiseLawBootstrap],
    confidence: float,
) -> Difference:
    first, second = fits
    value = first.value(quantity) - second.value(quantity)
    draws: dict[Blocks, tuple[FloatArray, int]] = {
        blocks: (fit.values(quantity) - second.fits[blocks].values(quantity), fit.n_blocks)
        for blocks, fit in first.fits.items()
    }
    misfit = misfit_half_width(quantity, pair, fits, confidence)
    low, high = block_interval(value, draws, confidence, misfit**2)
    return Difference(value, low, high)


def _ratio(of_logs: Difference) -> Difference:
    with np.errstate(over="ignore"):
        value, low, high = np.exp([of_logs.value, of_logs.low, of_logs.high]).tolist()
    return Difference(value, low, high)


def _imax_bits(imax_bits: FloatArray, _: FloatArray) -> FloatArray:
    return imax_bits


def _log_ubar(_: FloatArray, log_ubar: FloatArray) -> FloatArray:
    return log_ubar


def _log_target_depth(target: Target) -> Callable[[FloatArray, FloatArray], FloatArray]:
    def log_depth(imax_bits: FloatArray, log_ubar: FloatArray) -> FloatArray:
        return np.asarray(log_ubar + target.log_depth_over_ubar(imax_bits))

    return log_depth


def _flags(
    pair: tuple[BlockedCurve, BlockedCurve], fits: tuple[NoiseLawBootstrap, NoiseLawBootstrap], log_target: Quantity
) -> tuple[str, ...]:
    is_extrapolated = any(
        np.exp(fit.value(log_target)) > curve.depth.max() for fit, curve in zip(fits, pair, strict=True)
    )
    return (*_flags_of_seeds(pair), *(("target_extrapolated",) if is_extrapolated else ()))


def _flags_of_seeds(pair: tuple[BlockedCurve, BlockedCurve]) -> tuple[str, ...]:
    n_seeds = pair[0].n_blocks("seed")
    earned = {
        "one_seed": n_seeds < 2,
        "not_replicated": n_seeds > 1 and any(np.nanmax(np.ptp(curve.bits, axis=1)) == 0 for curve in pair),
    }
    return tuple(flag for flag, is_earned in earned.items() if is_earned)
