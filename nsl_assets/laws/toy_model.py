"""The Gaussian toy model behind Eq. 1 (A1, A2): where the noise law is exact, and how it errs where it is not.

Y ~ N(0, Σ_Y) is the signal, X = Y + N(0, Σ_U) the cell, Z = η X + N(0, I) its measurement; the depth is u = η².
The information is exact, or estimated from simulated cells.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.laws.curve import Curve
from nsl_assets.laws.equations import FloatArray
from nsl_assets.randomness import generator

NATS_PER_BIT: Final = float(np.log(2))


@dataclass(frozen=True, eq=False)
class ToyModel:
    """Covariances of the signal Y and of biological noise U, (d, d) each; a scalar stands for one dimension.

    Raises InputError unless both are square, symmetric, of one size and positive definite.
    """

    signal: FloatArray
    noise: FloatArray

    def __post_init__(self) -> None:
        for name in ("signal", "noise"):
            object.__setattr__(self, name, _covariance(name, getattr(self, name)))
        if self.signal.shape != self.noise.shape:
            raise InputError(
                f"a toy model has covariances of shapes {self.signal.shape} and {self.noise.shape}: give equal ones."
            )

    def information_bits(self, depth: npt.ArrayLike) -> FloatArray:
        """I(Y; Z) at depths of any shape, by A1; infinite depth gives the limit without measurement noise."""
        with np.errstate(divide="ignore"):
            measurement = 1 / np.asarray(depth, dtype=np.float64)[..., None, None] * np.eye(len(self.noise))
        total, rest = self.signal + self.noise + measurement, self.noise + measurement
        return np.asarray(_log_determinant(total) - _log_determinant(rest)) / (2 * NATS_PER_BIT)

    def noise_law(self) -> tuple[float, float]:
        """Imax in bits and ū of the scalar model: ``½ log2(1 + σ_Y²/σ_U²)`` and ``1/σ_U²`` (A2).

        Raises InputError with more than one dimension, where Eq. 1 is not exact.
        """
        if len(self.noise) != 1:
            raise InputError(
                f"a toy model has {len(self.noise)} dimensions: Eq. 1 is exact for one only. Fit its curve."
            )
        return float(self.information_bits(np.inf)), float(1 / self.noise[0, 0])

    def simulated_curve(self, depth: npt.ArrayLike, *, n_cells: int, n_seeds: int) -> Curve:
        """Information estimated from simulated cells at depths (n_levels,): n_cells draws for every depth and seed.

        The estimate is that of Gaussian variables from sample covariances, less its bias for independent data.
        """
        depths = np.asarray(depth, dtype=np.float64)
        bits = [[self._estimate(level, seed, n_cells) for level in depths] for seed in range(n_seeds)]
        seeds = np.repeat(np.arange(n_seeds), len(depths))
        tiled = np.tile(depths, n_seeds)
        return Curve(tiled, np.ravel(bits), seeds, level=tiled)

    def _estimate(self, depth: float, seed: int, n_cells: int) -> float:
        size = len(self.noise)
        stream = generator("toy model", seed, float(depth))
        draws = stream.standard_normal((3, n_cells, size))
        signal = draws[0] @ np.linalg.cholesky(self.signal).T
        cell = signal + draws[1] @ np.linalg.cholesky(self.noise).T
        measured = cell + draws[2] / np.sqrt(depth)
        joint = np.cov(np.hstack([signal, measured]), rowvar=False)
        nats = _log_determinant(joint[:size, :size]) + _log_determinant(joint[size:, size:]) - _log_determinant(joint)
        return float(nats / 2 - size**2 / (2 * n_cells)) / NATS_PER_BIT


def _covariance(name: str, values: npt.ArrayLike) -> FloatArray:
    matrix = np.atleast_2d(np.asarray(values, dtype=np.float64))
    is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not is_square or not np.allclose(matrix, matrix.T) or np.linalg.eigvalsh(matrix).min() <= 0:
        raise InputError(
            f"the covariance of the {name} of a toy model has shape {matrix.shape}: a symmetric, positive definite "
            "matrix is expected."
        )
    return matrix


def _log_determinant(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.slogdet(matrices)[1])
