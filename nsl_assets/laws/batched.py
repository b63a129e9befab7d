"""Many small least-squares problems at once: Levenberg-Marquardt on arrays, from several starts, within bounds.

Arrays put the problem last, so that every step is a few long array operations instead of many short fits. This
module knows no law: a law comes as a function that returns residuals and their slopes.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.equations import FloatArray

IntArray = npt.NDArray[np.intp]

BLOCK: Final = 2_048
"""Problems that are worked on together: few enough for their arrays to stay in the processor's cache."""
MAX_STEPS: Final = 200
SETTLED: Final = 1e-9
"""A problem has converged when its next step promises to lower the sum of squares by less than this share."""
ROUNDING: Final = 1e-24
"""Sums of squares below this are rounding errors."""
SMALLEST_CURVATURE: Final = 1e-150
"""Keeps the equations solvable where a parameter has no effect."""
FIRST_DAMPING: Final = 1e-3
LEAST_DAMPING: Final = 1e-12
MOST_DAMPING: Final = 1e12
GAUSS_NEWTON: Final = 1.0
"""A step with more damping than this promises little because it is short, not because the minimum is near."""


class Residuals(Protocol):
    """A family of problems of n_points residuals and n_parameters parameters each."""

    def __call__(self, theta: FloatArray, problems: IntArray) -> tuple[FloatArray, FloatArray]:
        """Residuals (n_points, n) and slopes (n_parameters, n_points, n) of problems (n,) at their theta.

        ``theta`` is (n_parameters, n).
        """


@dataclass(frozen=True, eq=False)
class Box:
    """Bounds (n_parameters, n_problems), kept by searching in an angle.

    theta = low + (high - low) (1 + sin angle) / 2.
    """

    low: FloatArray
    high: FloatArray

    def theta(self, angle: FloatArray, problems: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Parameters at the angles of some problems, their slopes and their second derivatives; (n_parameters, n)."""
        half = (self.high[:, problems] - self.low[:, problems]) / 2
        rise = half * np.sin(angle)
        return self.low[:, problems] + half + rise, half * np.cos(angle), -rise

    def angle(self, theta: FloatArray, problems: IntArray) -> FloatArray:
        """Angles of parameters (n_parameters, n); those at or beyond a bound are moved a little inside."""
        low, high = self.low[:, problems], self.high[:, problems]
        return np.arcsin(np.clip(2 * (theta - low) / (high - low) - 1, -0.999, 0.999))


@dataclass(frozen=True, eq=False)
class Minima:
    """Where the searches ended, one column or entry a problem."""

    theta: FloatArray
    """Parameters, (n_parameters, n_problems)."""
    sum_of_squares: FloatArray
    """Squared residuals, summed, (n_problems,)."""
    converged: npt.NDArray[np.bool_]
    """Whether the search settled, (n_problems,); False also where residuals were not finite."""


def least_squares(residuals: Residuals, starts: FloatArray, box: Box | None = None) -> Minima:
    """Minimises the sum of squares of every problem by itself, and keeps the lowest of its starts.

    ``starts`` is (n_starts, n_parameters, n_problems). Problems share nothing: the result does not depend on
    which others are in the batch.
    """
    n_starts, n_parameters, n_problems = starts.shape
    problems = np.tile(np.arange(n_problems), n_starts)
    flat = np.moveaxis(starts, 1, 0).reshape(n_parameters, -1)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(problems), BLOCK)]
    ends = [_searched(residuals, flat[:, block], problems[block], box) for block in blocks]
    return _lowest(Minima(*_joined(ends)), n_starts, n_problems)


def _joined(ends: list[Minima]) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    return (
        np.concatenate([end.theta for end in ends], axis=1),
        np.concatenate([end.sum_of_squares for end in ends]),
        np.concatenate([end.converged for end in ends]),
    )


def _lowest(ends: Minima, n_starts: int, n_problems: int) -> Minima:
    """The best start of every problem."""
    sums = ends.sum_of_squares.reshape(n_starts, n_problems)
    best = np.where(np.isfinite(sums), sums, np.inf).argmin(axis=0) * n_problems + np.arange(n_problems)
    return Minima(ends.theta[:, best], ends.sum_of_squares[best], ends.converged[best])


@dataclass(eq=False)
class _State:
    """The searches that still run: a column each."""

    free: FloatArray
    problems: IntArray
    damping: FloatArray
    sums: FloatArray
    gradient: FloatArray
    curvature: FloatArray

    def keep(self, running: npt.NDArray[np.bool_]) -> None:
        """Drops the searches that have ended."""
        self.free, self.gradient = self.free[:, running], self.gradient[:, running]
        self.curvature = self.curvature[:, :, running]
        self.problems, self.damping, self.sums = self.problems[running], self.damping[running], self.sums[running]


def _searched(residuals: Residuals, starts: FloatArray, problems: IntArray, box: Box | None) -> Minima:
    free = starts.copy() if box is None else box.angle(starts, problems)
    n = len(problems)
    end = Minima(free, np.full(n, np.inf), np.zeros(n, dtype=bool))
    state = _State(free.copy(), problems, np.full(n, FIRST_DAMPING), *_normal_equations(residuals, free, problems, box))
    places = np.arange(n)
    for _ in range(MAX_STEPS):
        settled = _step(residuals, state, box)
        lost = ~np.isfinite(state.sums) | (state.damping > MOST_DAMPING)
        ended = settled | lost
        if ended.any():
            _record(end, places[ended], state, ended, settled)
            state.keep(~ended)
            places = places[~ended]
        if not len(places):
            break
    _record(end, places, state, np.ones(len(places), dtype=bool), np.zeros(len(places), dtype=bool))
    theta = end.theta if box is None else box.theta(end.theta, problems)[0]
    return Minima(theta, end.sum_of_squares, end.converged)


def _record(
    end: Minima, places: IntArray, state: _State, ended: npt.NDArray[np.bool_], settled: npt.NDArray[np.bool_]
) -> None:
    end.theta[:, places] = state.free[:, ended]
    end.sum_of_squares[places] = state.sums[ended]
    end.converged[places] = settled[ended]


def _step(residuals: Residuals, state: _State, box: Box | None) -> npt.NDArray[np.bool_]:
    """One damped step of every search where it lowers the sum; returns which searches have settled."""
    scale = np.einsum("iin->in", state.curvature) + SMALLEST_CURVATURE
    step = -damped_solution(state.curvature, state.damping * scale, state.gradient)
    promised = (step * (state.damping * scale * step - state.gradient)).sum(axis=0)
    sums, gradient, curvature = _normal_equations(residuals, state.free + step, state.problems, box)
    settled = (promised <= SETTLED * state.sums + ROUNDING) & (state.damping <= GAUSS_NEWTON)
    better = sums <= state.sums
    state.free = np.where(better, state.free + step, state.free)
    state.gradient = np.where(better, gradient, state.gradient)
    state.curvature = np.where(better, curvature, state.curvature)
    state.sums = np.where(better, sums, state.sums)
    state.damping = np.where(better, np.maximum(state.damping / 10, LEAST_DAMPING), state.damping * 8)
    return np.asarray(settled)


def _normal_equations(
    residuals: Residuals, free: FloatArray, problems: IntArray, box: Box | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Sum of squares (n,), half its gradient (k, n) and half its Gauss-Newton curvature (k, k, n)."""
    if box is None:
        return _sums(*residuals(free, problems))
    theta, stretch, bend = box.theta(free, problems)
    sums, gradient, curvature = _sums(*residuals(theta, problems))
    curvature *= stretch * stretch[:, None]
    # At a bound the angle's own curvature is all there is, and without it steps would be far too long.
    for i in range(len(gradient)):
        curvature[i, i] += np.maximum(bend[i] * gradient[i], 0)
    return sums, gradient * stretch, curvature


def _sums(values: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    sums = np.einsum("pn,pn->n", values, values)
    gradient = np.stack([np.einsum("pn,pn->n", slope, values) for slope in slopes])
    curvature = np.empty((len(slopes), *gradient.shape))
    for i, slope in enumerate(slopes):
        for j in range(i + 1):
            curvature[i, j] = curvature[j, i] = np.einsum("pn,pn->n", slope, slopes[j])
    return sums, gradient, curvature


def damped_solution(curvature: FloatArray, damping: FloatArray, right: FloatArray) -> FloatArray:
    """Solves (curvature + diag(damping)) x = right for many small positive definite matrices, by LDLᵀ.

    Shapes (k, k, n), (k, n) and (k, n); returns (k, n).
    """
    size = len(right)
    lower = np.empty_like(curvature)
    pivot = np.empty_like(right)
    solution = right.copy()
    for j in range(size):
        pivot[j] = curvature[j, j] + damping[j]
        for m in range(j):
            pivot[j] -= lower[j, m] ** 2 * pivot[m]
        pivot[j] = np.maximum(pivot[j], damping[j])
        for i in range(j + 1, size):
            lower[i, j] = curvature[i, j]
            for m in range(j):
                lower[i, j] -= lower[i, m] * lower[j, m] * pivot[m]
            lower[i, j] /= pivot[j]
            solution[i] -= lower[i, j] * solution[j]
    for i in reversed(range(size)):
        solution[i] /= pivot[i]
        for m in range(i + 1, size):
            solution[i] -= lower[m, i] * solution[m]
    return solution
