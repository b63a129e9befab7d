"""Linear dependence: shrunk canonical correlations, the Gaussian log ratio, and the Gaussian copula's information."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

LARGEST_CORRELATION: Final = 0.9995
_RIDGE: Final = 1e-3


@dataclass(frozen=True)
class CanonicalBase:
    """Canonical directions of training pairs with shrunk correlations, all zero correlations left out.

    ``x_directions`` (n_x, m) and ``y_directions`` (n_y, m) map centred columns to canonical coordinates. The log
    ratio is multiplied by ``scale``: below 1 where the data are far from Gaussian and the ratio too sure.
    """

    x_mean: Matrix
    y_mean: Matrix
    x_directions: Matrix
    y_directions: Matrix
    correlations: Matrix
    scale: float = 1.0

    def coordinates(self, x: Columns, y: Columns) -> tuple[Matrix, Matrix]:
        """Canonical coordinates (n_pairs, m) of both sides."""
        return (x - self.x_mean) @ self.x_directions, (y - self.y_mean) @ self.y_directions

    def factors(self, x: Columns, y: Columns) -> tuple[Matrix, Matrix]:
        """Factors (n_pairs, m + 2) of both sides: a product is the Gaussian log density ratio up to a constant.

        With canonical u, v in nats: scale × [Σ ρuv/(1-ρ²) - ρ²(u²+v²)/(2(1-ρ²))].
        """
        u, v = self.coordinates(x, y)
        rho = self.correlations
        remaining = 1.0 - rho**2
        halves = (rho**2 / (2.0 * remaining))[:, None]
        one = np.ones((len(x), 1))
        x_factors = self.scale * np.hstack([u * (rho / remaining), -np.square(u) @ halves, one])
        return x_factors, np.hstack([v, one, -np.square(v) @ halves])


def canonical_bases(x: Columns, y: Columns) -> list[CanonicalBase]:
    """Two candidates, (n_pairs, n_x) with (n_pairs, n_y): a small ridge, and Ledoit-Wolf covariances.

    The ridge's correlations are shrunk by the limit law of sample canonical correlations where it holds,
    Ledoit-Wolf's by that of a spiked noise matrix. Validation chooses between them.
    """
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    candidates = []
    for covariance, shrink in ((_ridged, shrunk_canonical), (ledoit_wolf, shrunk_spiked)):
        x_whitener, y_whitener = _inverse_root(covariance(x)), _inverse_root(covariance(y))
        cross = x_whitener @ (x.T @ y / len(x)) @ y_whitener
        left, sample, right = np.linalg.svd(cross, full_matrices=False)
        rho = shrink(sample, len(x), x.shape[1], y.shape[1])
        kept = rho > 0
        candidates.append(
            CanonicalBase(x_mean, y_mean, x_whitener @ left[:, kept], y_whitener @ right.T[:, kept], rho[kept])
        )
    return candidates


def _ridged(centred: Columns) -> Matrix:
    covariance: Matrix = (1.0 - _RIDGE) * (centred.T @ centred) / len(centred)
    return covariance + _RIDGE * np.eye(centred.shape[1])


def ledoit_wolf(centred: Columns) -> Matrix:
    """Covariance (n_columns, n_columns) of centred columns, shrunk to a sphere (Ledoit & Wolf 2004)."""
    n_rows, n_columns = centred.shape
    sample = centred.T @ centred / n_rows
    scale, squared = np.trace(sample) / n_columns, np.square(sample).sum()
    distance = squared - n_columns * scale**2
    noise = (np.square(np.square(centred).sum(axis=1)).sum() / n_rows - squared) / n_rows
    weight = min(noise, distance) / distance if distance > 0 else 0.0
    shrunk: Matrix = (1.0 - weight) * sample + weight * scale * np.eye(n_columns)
    return shrunk


def _inverse_root(covariance: Matrix) -> Matrix:
    values, vectors = np.linalg.eigh(covariance)
    result: Matrix = (vectors / np.sqrt(np.maximum(values, 1e-10))) @ vectors.T
    return result


def shrunk_canonical(sample: Matrix, n_pairs: int, n_x: int, n_y: int) -> Matrix:
    """Population correlations from sample canonical correlations of high-dimensional Gaussian vectors.

    Inverts s² r = (r(1 - a) + a)(r(1 - b) + b), r = ρ², a = n_x/n, b = n_y/n (Bao, Hu, Pan & Zhou 2019);
    zero below the edge of pure noise. Needs n_x + n_y < n_pairs; otherwise the spiked noise matrix serves.
    """
    a, b = n_x / n_pairs, n_y / n_pairs
    if a + b >= 0.9:
        return shrunk_spiked(sample, n_pairs, n_x, n_y)
    squared = np.minimum(sample**2, LARGEST_CORRELATION**2)
    edge = a + b - 2 * a * b + 2 * np.sqrt(a * b * (1 - a) * (1 - b))
    linear = squared - a * (1 - b) - b * (1 - a)
    quadratic = (1 - a) * (1 - b)
    root = np.sqrt(np.maximum(linear**2 - 4 * quadratic * a * b, 0.0))
    population = np.sqrt(np.maximum((linear + root) / (2 * quadratic), 0.0))
    return np.where(squared > edge, np.minimum(population, LARGEST_CORRELATION), 0.0)


def shrunk_spiked(sample: Matrix, n_pairs: int, n_x: int, n_y: int) -> Matrix:
    """Singular values of a matrix of noise plus few spikes, shrunk optimally (Gavish & Donoho 2017)."""
    scale, ratio = np.sqrt(n_pairs / n_y), n_x / n_y
    scaled = np.maximum(sample * scale, 1e-12)
    root = np.sqrt(np.maximum((scaled**2 - ratio - 1.0) ** 2 - 4.0 * ratio, 0.0))
    shrunk = np.where(scaled > 1.0 + np.sqrt(ratio), root / scaled / scale, 0.0)
    return np.minimum(np.minimum(shrunk, sample), LARGEST_CORRELATION)


@dataclass(frozen=True)
class GaussianInformation:
    """What the Gaussian copula of rank-normal columns tells, in bits.

    ``terms_bits`` (n_pairs,) with mean ``value_bits``; ``chance_bits`` is its standard deviation for independent
    pairs, where n_x n_y squared correlations of variance 1/n_pairs add up.
    """

    terms_bits: Columns
    chance_bits: float

    @property
    def value_bits(self) -> float:
        """Unbiased for Gaussian data: the exact bias of log determinants is subtracted."""
        return float(self.terms_bits.mean())


def gaussian_information(x: Columns, y: Columns) -> GaussianInformation | None:
    """Gaussian information of rank-normal columns (n_pairs, n_x) and (n_pairs, n_y).

    None where it is not defined: n_pairs ≤ n_x + n_y + 10, or one side fixes a combination of the other exactly.
    """
    x, y = _orthonormal(x), _orthonormal(y)
    n_pairs, n_x, n_y = len(x), x.shape[1], y.shape[1]
    if n_pairs <= n_x + n_y + 10:
        return None
    left, rho, right = np.linalg.svd(x.T @ y, full_matrices=False)
    remaining = 1.0 - rho**2
    if remaining.min() < 1e-9:
        return None
    u, v = np.sqrt(n_pairs) * x @ left, np.sqrt(n_pairs) * y @ right.T
    ratio = (rho * u * v - 0.5 * rho**2 * (u**2 + v**2)) / remaining - 0.5 * np.log(remaining)
    nats = ratio.sum(axis=1) - _log_determinant_bias(n_pairs, n_x, n_y)
    return GaussianInformation(nats / np.log(2), float(np.sqrt(n_x * n_y / 2) / n_pairs / np.log(2)))


def _log_determinant_bias(n_pairs: int, n_x: int, n_y: int) -> float:
    """Bias in nats of the plug-in Gaussian information of n_x and n_y columns (Goodman 1963)."""
    from scipy.special import digamma

    half = digamma((n_pairs - np.arange(1, n_x + n_y + 1)) / 2)
    return float(0.5 * (half[:n_x].sum() + half[:n_y].sum() - half.sum()))


def _orthonormal(columns: Columns) -> Matrix:
    """An orthonormal basis of the centred columns' span; exact copies of columns add nothing."""
    left, values, _ = np.linalg.svd(columns - columns.mean(axis=0), full_matrices=False)
    basis: Matrix = left[:, values > 1e-7 * values[0]]
    return basis
