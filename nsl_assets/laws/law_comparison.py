"""Which law describes a curve best: AICc, and the error on depths that were held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from nsl_assets.laws.batched import Box, IntArray, Minima, least_squares
from nsl_assets.laws.curve import Curve, levels_of
from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.quality import r_squared
from nsl_assets.laws.rival_laws import CURVE_LAWS, CurveLaw
from nsl_assets.laws.surface import bounded_log

SMALLEST_TOP_BITS: Final = 0.02
ROUNDING_BITS: Final = 1e-6


@dataclass(frozen=True)
class LawScore:
    """How well one law describes one curve; seed means, every level once."""

    law: str
    n_parameters: int
    aicc: float
    """Small-sample Akaike information of Gaussian errors, σ counted as a parameter; inf with too few levels."""
    aicc_above_best: float
    weight: float
    """Akaike weight among the laws compared; NaN where no law has a finite AICc."""
    r2: float
    held_out_rmse_bits: float
    """Error of each level, predicted from all others; root mean square."""
    deepest_error_bits: float
    """Predicted less measured information at the deepest level, from all others."""
    converged: bool


@dataclass(frozen=True)
class LawComparison:
    """Scores of all laws for one curve, in the order of ``CURVE_LAWS``."""

    scores: tuple[LawScore, ...]
    n_levels: int

    @property
    def best(self) -> LawScore:
        """The law with the lowest AICc."""
        return min(self.scores, key=lambda score: score.aicc)

    def score(self, law: str) -> LawScore:
        """The score of a law by its name."""
        return next(score for score in self.scores if score.law == law)


def compare_laws(curve: Curve) -> LawComparison:
    """AICc and held-out error of the noise law and its rivals on one curve.

    Raises MeasurementError with fewer than 3 levels.
    """
    return compare_laws_of([curve])[0]


def compare_laws_of(curves: Sequence[Curve]) -> list[LawComparison]:
    """The same for many curves: all fits of a law run as one batch."""
    tables = [_Levels.of(curve) for curve in curves]
    by_law = [_fits(law, tables) for law in CURVE_LAWS]
    return [_comparison(table, [fits[i] for fits in by_law]) for i, table in enumerate(tables)]


@dataclass(frozen=True, eq=False)
class _Levels:
    log_depth: FloatArray
    bits: FloatArray

    @classmethod
    def of(cls, curve: Curve) -> "_Levels":
        levels = levels_of(curve)
        return cls(bounded_log(levels.depth), levels.mean_bits)


@dataclass(frozen=True, eq=False)
class _Fits:
    """One law on one curve: fitted to all levels, and to all but each."""

    law: str
    n_parameters: int
    fitted_bits: FloatArray
    held_out_bits: FloatArray
    converged: bool


@dataclass(frozen=True, eq=False)
class _Problems:
    """Every curve with all levels, then without each; padded with weight 0."""

    law: CurveLaw
    log_depth: FloatArray
    bits: FloatArray
    weight: FloatArray

    def __call__(self, theta: FloatArray, problems: IntArray) -> tuple[FloatArray, FloatArray]:
        bits, slopes = self.law.law(theta, self.log_depth[:, problems])
        weight = self.weight[:, problems]
        return (bits - self.bits[:, problems]) * weight, slopes * weight


def _fits(law: CurveLaw, tables: Sequence[_Levels]) -> list[_Fits]:
    n_versions = [len(table.bits) + 1 for table in tables]
    curve = np.repeat(np.arange(len(tables)), n_versions)
    problems = _problems(law, tables, curve)
    box, starts = _search_space(law, tables, curve)
    minima = least_squares(problems, starts, box)
    predicted = law.law(minima.theta, problems.log_depth)[0]
    ends = np.cumsum(n_versions)
    return [
        _fits_of_curve(law, minima, predicted[: len(table.bits)], slice(end - len(table.bits) - 1, end))
        for table, end in zip(tables, ends, strict=True)
    ]


def _fits_of_curve(law: CurveLaw, minima: Minima, predicted: FloatArray, versions: slice) -> _Fits:
    of_curve = predicted[:, versions]
    n_parameters, converged = len(minima.theta), bool(minima.converged[versions][0])
    return _Fits(law.name, n_parameters, of_curve[:, 0], np.diag(of_curve[:, 1:]).copy(), converged)


def _problems(law: CurveLaw, tables: Sequence[_Levels], curve: IntArray) -> _Problems:
    n_levels = max(len(table.bits) for table in tables)
    columns = np.zeros((3, n_levels, len(curve)))
    column = 0
    for table in tables:
        n = len(table.bits)
        versions = slice(column, column + n + 1)
        columns[0, :n, versions], columns[1, :n, versions] = table.log_depth[:, None], table.bits[:, None]
        columns[2, :n, versions] = np.column_stack([np.ones(n), 1 - np.eye(n)])
        column += n + 1
    return _Problems(law, columns[0], columns[1], columns[2])


def _search_space(law: CurveLaw, tables: Sequence[_Levels], curve: IntArray) -> tuple[Box, FloatArray]:
    ranges = [law.ranges(_finite(table.log_depth), max(float(table.bits.max()), SMALLEST_TOP_BITS)) for table in tables]
    low, high = (np.array([[getattr(one, end) for one in of_curve] for of_curve in ranges]) for end in ("low", "high"))
    starts = np.array([list(product(*(one.starts for one in of_curve))) for of_curve in ranges])
    return Box(low[curve].T, high[curve].T), np.moveaxis(starts[curve], 0, -1)


def _finite(log_depth: FloatArray) -> FloatArray:
    return log_depth[log_depth < bounded_log(np.inf)]


def _comparison(table: _Levels, fits: Sequence[_Fits]) -> LawComparison:
    aicc = np.array([_aicc(fit.fitted_bits - table.bits, fit.n_parameters) for fit in fits])
    best = aicc.min()
    above = aicc - best if np.isfinite(best) else np.full(len(fits), np.nan)
    weight = np.exp(-above / 2) / np.exp(-above / 2).sum()
    scores = [
        LawScore(
            law=fit.law,
            n_parameters=fit.n_parameters,
            aicc=float(aicc[i]),
            aicc_above_best=float(above[i]),
            weight=float(weight[i]),
            r2=r_squared(table.bits, fit.fitted_bits),
            held_out_rmse_bits=float(np.sqrt(np.mean((fit.held_out_bits - table.bits) ** 2))),
            deepest_error_bits=float(fit.held_out_bits[-1] - table.bits[-1]),
            converged=fit.converged,
        )
        for i, fit in enumerate(fits)
    ]
    return LawComparison(tuple(scores), len(table.bits))


def _aicc(residuals: FloatArray, n_parameters: int) -> float:
    n, counted = len(residuals), n_parameters + 1
    if n - counted - 1 <= 0:
        return float("inf")
    variance = max(float(np.mean(residuals**2)), ROUNDING_BITS**2)
    return n * float(np.log(variance)) + 2 * counted + 2 * counted * (counted + 1) / (n - counted - 1)
