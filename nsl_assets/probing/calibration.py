"""Problems of known mutual information, to see how far an estimator can be trusted at a number of pairs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
Sample = tuple[Columns, npt.NDArray[np.float64] | npt.NDArray[np.int32]]
Draw = Callable[[int, np.random.Generator], Sample]


@dataclass(frozen=True)
class KnownProblem:
    """A distribution of pairs whose mutual information is known in closed form or by quadrature."""

    name: str
    true_bits: float
    draw: Draw

    def sample(self, n_pairs: int, *, seed: int) -> Sample:
        """Representation (n_pairs, n_dimensions), and auxiliary columns (n_pairs, n_columns) or class codes."""
        return self.draw(n_pairs, generator("calibration", self.name, n_pairs, seed))


def known_problems() -> list[KnownProblem]:
    """The suite: Gaussian over 5 and 16 dimensions, warped, heavy-tailed, narrow, tied, clustered, classes."""
    gaussian = [
        KnownProblem(f"gaussian_{bits}bit_{d}d", bits, partial(_gaussian, (d, d), d, bits))
        for bits in (1.0, 2.0, 4.0)
        for d in (5, 16)
    ]
    return [
        KnownProblem("independent_16d", 0.0, partial(_gaussian, (16, 14), 5, 0.0)),
        *gaussian,
        KnownProblem("one_column_2bit", 2.0, partial(_gaussian, (16, 1), 1, 2.0)),
        KnownProblem("warped_2bit_5d", 2.0, partial(_warped, 5, 2.0)),
        KnownProblem("spiral_2bit_3d", 2.0, partial(_spiral, 2.0)),
        KnownProblem("student_5d", _student_bits(5, 1.0, 5.0), partial(_student, 5, 1.0, 5.0)),
        KnownProblem("poisson_ties", _poisson_bits(6), partial(_poisson, 6)),
        KnownProblem("classes_10", _class_bits(10, 16, 0.8), partial(_classes, 10, 16, 0.8)),
    ]


def _rotation(n: int, draws: np.random.Generator) -> Columns:
    rotation: Columns = np.linalg.qr(draws.standard_normal((n, n)))[0]
    return rotation


def _correlated(d: int, bits: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """``bits`` spread evenly over ``d`` pairs of columns: ρ² = 1 - 2^(-2 bits/d)."""
    x = draws.standard_normal((n_pairs, d))
    noise = 2.0 ** (-bits / d)
    y: Columns = np.sqrt(1.0 - noise**2) * x + noise * draws.standard_normal((n_pairs, d))
    return x, y


def _gaussian(columns: tuple[int, int], d: int, bits: float, n_pairs: int, draws: np.random.Generator) -> Sample:
    """``d`` informative dimensions, rotated among noise columns."""
    n_x, n_y = columns
    x, y = _correlated(d, bits, n_pairs, draws)
    x = np.hstack([x, draws.standard_normal((n_pairs, n_x - d))])
    y = np.hstack([y, draws.standard_normal((n_pairs, n_y - d))])
    return x @ _rotation(n_x, draws), y @ _rotation(n_y, draws)


def _warped(d: int, bits: float, n_pairs: int, draws: np.random.Generator) -> Sample:
    """Columns through a cubic root-like and a steep map, then rotated: far from Gaussian, the same information."""
    x, y = _correlated(d, bits, n_pairs, draws)
    return np.abs(x) ** 1.5 * np.sign(x) @ _rotation(d, draws), np.sinh(1.5 * y) @ _rotation(d, draws)


def _spiral(bits: float, n_pairs: int, draws: np.random.Generator) -> Sample:
    """The first two of three columns turned by an angle that grows with their distance from zero."""
    x, y = _correlated(3, bits, n_pairs, draws)
    angle = 1.0 * np.square(x[:, :2]).sum(axis=1)
    turned = np.exp(1j * angle) * (x[:, 0] + 1j * x[:, 1])
    return np.column_stack([turned.real, turned.imag, x[:, 2]]), y


def _student(d: int, bits: float, freedom: float, n_pairs: int, draws: np.random.Generator) -> Sample:
    x, y = _correlated(d, bits, n_pairs, draws)
    scale = np.sqrt(freedom / draws.chisquare(freedom, n_pairs))[:, None]
    return x * scale, y * scale


def _student_bits(d: int, bits: float, freedom: float) -> float:
    """Gaussian information plus what the common scale adds (Arellano-Valle, Contreras-Reyes & Genton 2013)."""
    from scipy.special import digamma, gammaln

    def entropy_nats(n: int) -> float:
        half, whole = freedom / 2, (freedom + n) / 2
        norm = gammaln(half) + 0.5 * n * np.log(freedom * np.pi) - gammaln(whole)
        return float(norm + whole * (digamma(whole) - digamma(half)))

    return bits + (2 * entropy_nats(d) - entropy_nats(2 * d)) / float(np.log(2))


def _poisson(n_genes: int, n_pairs: int, draws: np.random.Generator) -> Sample:
    """Counts of ``n_genes`` genes with mean e^y, many of them tied at 0 and 1."""
    y = draws.standard_normal((n_pairs, 1))
    return draws.poisson(np.exp(y - 1.0), (n_pairs, n_genes)).astype(np.float64), y


def _poisson_bits(n_genes: int) -> float:
    """I(y; counts) = I(y; total count) by Gauss-Hermite quadrature over y."""
    from scipy.stats import poisson

    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    mean = n_genes * np.exp(nodes - 1.0)
    given = poisson.pmf(np.arange(20_000)[:, None], mean)
    marginal = given @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(given > 0, given * np.log2(given / marginal[:, None]), 0.0)
    return float((terms @ weights).sum())


def _class_means(n_classes: int, d: int, spread: float) -> Columns:
    means: Columns = spread * generator("calibration classes", n_classes, d).standard_normal((n_classes, d))
    return means


def _classes(n_classes: int, d: int, spread: float, n_pairs: int, draws: np.random.Generator) -> Sample:
    codes = draws.integers(0, n_classes, n_pairs)
    x = _class_means(n_classes, d, spread)[codes] + draws.standard_normal((n_pairs, d))
    return x, codes.astype(np.int32)


def _class_bits(n_classes: int, d: int, spread: float) -> float:
    """H(Y) - H(Y|x) by Monte Carlo over 100,000 draws (standard error below 0.003 bits)."""
    from scipy.special import log_softmax

    x, codes = _classes(n_classes, d, spread, 100_000, generator("calibration truth", n_classes, d))
    means = _class_means(n_classes, d, spread)
    log_posterior = log_softmax(x @ means.T - 0.5 * np.square(means).sum(axis=1), axis=1)
    return float(np.log2(n_classes) + log_posterior[np.arange(len(x)), codes].mean() / np.log(2))
