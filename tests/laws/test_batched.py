import numpy as np
import pytest
from scipy import optimize

from nsl_assets.laws.batched import Box, damped_solution, least_squares
from nsl_assets.randomness import generator

TIMES = np.linspace(0, 3, 12)


class Decays:
    """``a exp(-b t)`` fitted to noisy curves, one problem each."""

    def __init__(self, n_problems: int, sd: float = 0.02) -> None:
        stream = generator("decays", n_problems)
        self.truth = stream.uniform([[1.0], [0.3]], [[3.0], [2.0]], (2, n_problems))
        self.measured = self.law(self.truth) + sd * stream.standard_normal((len(TIMES), n_problems))

    def law(self, theta: np.ndarray) -> np.ndarray:
        return theta[0] * np.exp(-theta[1] * TIMES[:, None])

    def __call__(self, theta: np.ndarray, problems: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        decay = np.exp(-theta[1] * TIMES[:, None])
        return theta[0] * decay - self.measured[:, problems], np.stack([decay, -TIMES[:, None] * theta[0] * decay])


def starts(n_problems: int, *values: tuple[float, float]) -> np.ndarray:
    return np.repeat(np.array(values)[:, :, None], n_problems, axis=2)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_many_small_systems_are_solved(size: int) -> None:
    stream = generator("systems", size)
    factor, right = stream.standard_normal((size, size, 50)), stream.standard_normal((size, 50))
    matrix = np.einsum("ikn,jkn->ijn", factor, factor)
    damping = stream.uniform(0.1, 1, (size, 50))
    for i, solution in enumerate(damped_solution(matrix, damping, right).T):
        expected = np.linalg.solve(matrix[:, :, i] + np.diag(damping[:, i]), right[:, i])
        assert solution == pytest.approx(expected, rel=1e-9)


def test_minima_are_those_of_scipy() -> None:
    decays = Decays(300)
    found = least_squares(decays, starts(300, (1.0, 1.0)))
    assert found.converged.all()
    for i in range(0, 300, 10):
        single = optimize.least_squares(lambda theta, i=i: decays(theta[:, None], np.array([i]))[0][:, 0], [1.0, 1.0])
        assert found.theta[:, i] == pytest.approx(single.x, abs=1e-5)
        assert found.sum_of_squares[i] == pytest.approx(2 * single.cost, rel=1e-8)


def test_a_problem_does_not_depend_on_its_batch() -> None:
    decays = Decays(5000)
    everything = least_squares(decays, starts(5000, (1.0, 1.0)))
    some = np.array([3, 2100, 4999])
    alone = least_squares(lambda theta, problems: decays(theta, some[problems]), starts(3, (1.0, 1.0)))
    assert everything.theta[:, some] == pytest.approx(alone.theta, abs=1e-8)


def test_bounds_are_kept_and_reached() -> None:
    decays = Decays(40, sd=0)
    limits = np.array([[0.5, 2.0], [0.1, 1.0]])
    box = Box(*(np.repeat(limits[:, [side]], 40, axis=1) for side in (0, 1)))
    found = least_squares(decays, starts(40, (1.0, 0.5)), box)
    inside = (decays.truth < limits[:, [1]]).all(axis=0)
    assert inside.any()
    assert found.theta[:, inside] == pytest.approx(decays.truth[:, inside], rel=1e-6)
    for i in np.flatnonzero(~inside):
        single = optimize.least_squares(
            lambda theta, i=i: decays(theta[:, None], np.array([i]))[0][:, 0], [1.0, 0.5], bounds=limits.T
        )
        assert found.theta[:, i] == pytest.approx(single.x, abs=1e-3)
        assert found.sum_of_squares[i] <= 2 * single.cost * (1 + 1e-9)


def test_exact_data_converge() -> None:
    decays = Decays(20, sd=0)
    found = least_squares(decays, starts(20, (1.0, 1.0)))
    assert found.converged.all()
    assert found.theta == pytest.approx(decays.truth, rel=1e-9)


def test_a_hopeless_problem_is_flagged_and_leaves_the_others_alone() -> None:
    decays = Decays(10)
    sound = least_squares(decays, starts(10, (1.0, 1.0)))
    decays.measured[:, 4] = np.nan
    found = least_squares(decays, starts(10, (1.0, 1.0)))
    others = np.arange(10) != 4
    assert found.converged.tolist() == others.tolist()
    assert found.theta[:, others] == pytest.approx(sound.theta[:, others], abs=1e-8)


def test_the_lowest_of_several_starts_is_kept() -> None:
    """(x² - 1)² + slope: the left valley is deeper for the first problem, the right one for the second."""
    slope = np.array([0.3, -0.3])

    def valleys(theta: np.ndarray, problems: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = theta[0]
        tilt = slope[problems]
        residuals = np.stack([x**2 - 1, np.sqrt(2 + tilt * x)])
        return residuals, np.stack([2 * x, tilt / (2 * residuals[1])])[None]

    left, right = (least_squares(valleys, np.full((1, 1, 2), side)) for side in (-1.0, 1.0))
    both = least_squares(valleys, np.stack([np.full((1, 2), -1.0), np.full((1, 2), 1.0)]))
    assert both.sum_of_squares.tolist() == np.minimum(left.sum_of_squares, right.sum_of_squares).tolist()
    assert (np.sign(both.theta[0]) == [-1, 1]).all()
