"""Problems of known mutual information, to see how far an estimator can be trusted at a number of pairs.

The frozen suite is what the headline rule was chosen on; the families of `fresh_problems` were run only after
that, and are reported apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.probing.calibration import distributions as d
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
Sample = tuple[Columns, npt.NDArray[np.float64] | npt.NDArray[np.int32]]
Draw = Callable[[int, np.random.Generator], Sample]
Family = Literal[
    "independent", "gaussian", "high_dimensional", "non_gaussian", "one_column", "clusters", "ties", "classes", "curved"
]


@dataclass(frozen=True)
class KnownProblem:
    """A distribution of pairs whose mutual information is known in closed form, by quadrature or by Monte Carlo."""

    name: str
    family: Family
    truth: Callable[[], float]
    draw: Draw
    is_fresh: bool = False
    """Whether the headline rule was chosen without looking at it."""

    @cached_property
    def true_bits(self) -> float:
        """Mutual information in bits (Monte Carlo truths: standard error below 0.005 bits)."""
        return self.truth()

    def sample(self, n_pairs: int, *, seed: int) -> Sample:
        """Representation (n_pairs, n_dimensions), and auxiliary columns (n_pairs, n_columns) or class codes."""
        return self.draw(n_pairs, generator("calibration", self.name, n_pairs, seed))


def known_problems() -> list[KnownProblem]:
    """The frozen suite and the fresh families, in this order."""
    return [*frozen_problems(), *fresh_problems()]


def frozen_problems() -> list[KnownProblem]:
    """What the headline rule was chosen on."""
    return [*_independent(), *_gaussian(), *_shaped(), *_tied(), *_classes((2, 10, 40))]


def fresh_problems() -> list[KnownProblem]:
    """Families that the headline rule was not chosen on."""
    problems = [
        _spread("asinh_2bit_5d", 2.0, (np.arcsinh, np.arcsinh)),
        _spread("wiggly_1.5bit_3d", 1.5, (d.wiggly, d.wiggly), n_dimensions=3),
        _spread("exponential_margins_2bit_5d", 2.0, (d.exponential, d.exponential)),
        KnownProblem("mixture_3d", "non_gaussian", d.mixture_bits, d.mixture),
        KnownProblem("outliers_3d", "non_gaussian", d.outliers_bits, d.outliers),
        KnownProblem("bump_1_column", "one_column", d.bump_bits, d.bump),
        _gaussian_problem("gaussian_1.5bit_6of228_columns", "high_dimensional", (16, 228), 6, 1.5),
        _gaussian_problem("gaussian_3bit_8d_wide", "high_dimensional", (50, 30), 8, 3.0),
        KnownProblem("half_zeros_2bit_8d", "ties", partial(d.censored_bits, 8, 2.0), partial(d.censored, 8, 2.0)),
        KnownProblem("rings", "curved", d.rings_bits, d.rings),
        *_classes((3, 25, 60)),
    ]
    return [KnownProblem(one.name, one.family, one.truth, one.draw, is_fresh=True) for one in problems]


def problem_named(name: str) -> KnownProblem:
    """The problem of that name. Raises KeyError where there is none."""
    return {problem.name: problem for problem in known_problems()}[name]


_CUBE: Final = 1.5


def _independent() -> list[KnownProblem]:
    return [
        _gaussian_problem("independent_16d", "independent", (16, 14), 5, 0.0),
        KnownProblem("independent_heavy_tails_5d", "independent", _zero, d.independent_student),
        KnownProblem("independent_classes_10", "independent", _zero, partial(d.independent_classes, 10, 16)),
    ]


def _zero() -> float:
    return 0.0


def _gaussian() -> list[KnownProblem]:
    return [
        _gaussian_problem("gaussian_1.0bit_5of16d", "gaussian", (16, 16), 5, 1.0),
        *(
            _gaussian_problem(f"gaussian_{bits}bit_{size}d", "gaussian", (size, size), size, bits)
            for bits in (1.0, 2.0, 4.0)
            for size in (5, 16)
        ),
        _gaussian_problem("gaussian_2.0bit_64x64", "high_dimensional", (64, 64), 10, 2.0),
        _gaussian_problem("gaussian_2.0bit_256x16", "high_dimensional", (256, 16), 10, 2.0),
        _gaussian_problem("one_column_1bit", "one_column", (16, 1), 1, 1.0),
        _gaussian_problem("one_column_2bit", "one_column", (16, 1), 1, 2.0),
    ]


def _gaussian_problem(
    name: str, family: Family, columns: tuple[int, int], n_informative: int, bits: float
) -> KnownProblem:
    return KnownProblem(name, family, lambda: bits, partial(d.gaussian, columns, n_informative, bits))


def _shaped() -> list[KnownProblem]:
    return [
        _spread("half_cube_1bit_5d", 1.0, (d.half_cube, d.half_cube)),
        _spread("uniform_1bit_5d", 1.0, (d.uniform, d.uniform)),
        _spread("warped_2bit_5d", 2.0, (d.half_cube, d.steep)),
        KnownProblem(
            "student_2dof_5d", "non_gaussian", partial(d.student_bits, 5, 1.0, 2.0), partial(d.student, 5, 1.0, 2.0)
        ),
        KnownProblem(
            "student_5dof_5d", "non_gaussian", partial(d.student_bits, 5, 1.0, 5.0), partial(d.student, 5, 1.0, 5.0)
        ),
        KnownProblem("parabola_1_column", "one_column", d.parabola_bits, d.parabola),
        KnownProblem("tight_clusters_8", "clusters", partial(d.clusters_bits, 8), partial(d.clusters, 8, 5, 0.1)),
        KnownProblem("spiral_2bit_3d", "curved", lambda: 2.0, partial(d.spiral, 2.0)),
    ]


def _spread(name: str, bits: float, maps: tuple[d.Map, d.Map], n_dimensions: int = 5) -> KnownProblem:
    """Monotone maps of correlated columns, then rotated: the same information, no longer Gaussian."""
    return KnownProblem(name, "non_gaussian", lambda: bits, partial(d.mapped, n_dimensions, bits, maps))


def _tied() -> list[KnownProblem]:
    return [
        KnownProblem("poisson_ties", "ties", partial(d.counts_bits, 6, 1.0), partial(d.counts, 6, 1.0)),
        KnownProblem("zero_inflated", "ties", partial(d.counts_bits, 8, 0.5), partial(d.counts, 8, 0.5)),
    ]


def _classes(numbers: tuple[int, ...]) -> list[KnownProblem]:
    return [
        KnownProblem(f"classes_{n}", "classes", partial(d.class_bits, n, 16, 0.8), partial(d.classes, n, 16, 0.8))
        for n in numbers
    ]
