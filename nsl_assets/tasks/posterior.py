"""Integrals over the latent state of simulated cells, by Laplace-centred Gauss–Hermite quadrature.

A cell's counts x say about s only what t = sum_g x_g w_g and N = sum_g x_g say:
log p(x | s) = t s - N log Z(s) + a constant, with log Z(s) = log sum_g exp(b_g + w_g s). It is concave in s,
so that under a Gaussian prior there is one mode, and the integrand is smooth around it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.tasks.simulated import CellModel

Floats = npt.NDArray[np.float64]

_REACH: Final = 8.0  # |s| beyond this has prior probability below 1e-15
_STEP: Final = 0.1
_NODES: Final = {1: 21, 2: 11}  # per dimension: 9 in two dimensions already leave errors below 1e-5 bit
_TOGETHER: Final = 2048  # cells integrated at once: bounds the memory
_NEWTON_STEPS: Final = 60


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the latent state given the counts.

    log_evidence (n_cells,): log of the integral of prior times likelihood, without the factor that depends
    on the counts alone. mean (n_cells, d). covariance (n_cells, d, d).
    """

    log_evidence: Floats
    mean: Floats
    covariance: Floats


class LogPartition:
    """log Z(s), its gradient and its Hessian, tabulated on a grid and interpolated by cubic splines."""

    def __init__(self, model: CellModel) -> None:
        from scipy.ndimage import spline_filter

        self.dimensions = model.latent_dimensions
        axis = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
        grid = np.stack(np.meshgrid(*[axis] * self.dimensions, indexing="ij"), axis=-1)
        tables = _exact(model, grid.reshape(-1, self.dimensions)).T
        shape = (tables.shape[0], *[axis.size] * self.dimensions)
        self._tables = np.stack([spline_filter(table, mode="mirror") for table in tables.reshape(shape)])

    def value(self, latent: Floats) -> Floats:
        """log Z, (...,) for states (..., d)."""
        return self._interpolate(0, latent)

    def gradient(self, latent: Floats) -> Floats:
        """(..., d) for states (..., d)."""
        return np.stack([self._interpolate(1 + i, latent) for i in range(self.dimensions)], axis=-1)

    def hessian(self, latent: Floats) -> Floats:
        """(..., d, d) for states (..., d)."""
        d = self.dimensions
        entries = [self._interpolate(1 + d + i, latent) for i in range(d * d)]
        return np.stack(entries, axis=-1).reshape(*latent.shape[:-1], d, d)

    def _interpolate(self, table: int, latent: Floats) -> Floats:
        from scipy.ndimage import map_coordinates

        where = np.moveaxis((latent + _REACH) / _STEP, -1, 0)
        return np.asarray(map_coordinates(self._tables[table], where, prefilter=False, mode="mirror"))


@dataclass(frozen=True, eq=False)
class Integrand:
    """Gaussian prior times likelihood of the latent state, for many cells.

    Attributes
    ----------
    totals, scores
        N (n_cells,) and t (n_cells, d) of the cells.
    prior_mean, prior_variance
        (n_cells, d), and the variance of every dimension.
    """

    partition: LogPartition
    totals: Floats
    scores: Floats
    prior_mean: Floats
    prior_variance: float

    def part(self, cells: slice) -> Integrand:
        """The same for some of the cells."""
        return replace(self, totals=self.totals[cells], scores=self.scores[cells], prior_mean=self.prior_mean[cells])

    def log_value(self, states: Floats) -> Floats:
        """Log at states (n_cells, n_nodes, d); -inf outside the table."""
        log_likelihood = (states @ self.scores[:, :, None])[..., 0]
        log_likelihood -= self.totals[:, None] * self.partition.value(states)
        squares = ((states - self.prior_mean[:, None, :]) ** 2).sum(axis=-1) / self.prior_variance
        log_prior = -0.5 * (squares + self.partition.dimensions * np.log(2 * np.pi * self.prior_variance))
        inside = np.abs(states).max(axis=-1) <= _REACH
        return np.where(inside, log_likelihood + log_prior, -np.inf)

    def gradient(self, latent: Floats) -> Floats:
        """Gradient of the log at one state per cell, (n_cells, d)."""
        pull = (latent - self.prior_mean) / self.prior_variance
        return self.scores - self.totals[:, None] * self.partition.gradient(latent) - pull

    def curvature(self, latent: Floats) -> Floats:
        """Minus the Hessian of the log at one state per cell, (n_cells, d, d)."""
        prior = np.eye(self.partition.dimensions) / self.prior_variance
        return self.totals[:, None, None] * self.partition.hessian(latent) + prior

    def mode(self) -> Floats:
        """Where it is largest, (n_cells, d): Newton's method with limited steps on a concave function."""
        mode = np.clip(self.prior_mean, -_REACH + 1, _REACH - 1)
        for _ in range(_NEWTON_STEPS):
            step = np.linalg.solve(self.curvature(mode), self.gradient(mode)[..., None])[..., 0]
            length = np.linalg.norm(step, axis=1, keepdims=True)
            mode = np.clip(mode + step / np.maximum(1.0, length), -_REACH, _REACH)
            if length.max(initial=0) < 1e-6:
                break
        return mode


def moments(integrand: Integrand) -> Moments:
    """Evidence, mean and covariance of the latent state of all cells."""
    starts = range(0, max(integrand.totals.size, 1), _TOGETHER)
    parts = [_moments(integrand.part(slice(start, start + _TOGETHER))) for start in starts]
    return Moments(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _moments(integrand: Integrand) -> tuple[Floats, Floats, Floats]:
    mode = integrand.mode()
    root = _inverse_root(integrand.curvature(mode))
    offsets, log_weights = _gauss_hermite(integrand.partition.dimensions)
    states = mode[:, None, :] + offsets @ root.transpose(0, 2, 1)  # (n_cells, n_nodes, d)
    log_terms = log_weights + integrand.log_value(states)
    peak = log_terms.max(axis=1, keepdims=True)
    weights = np.exp(log_terms - peak)
    total = weights.sum(axis=1, keepdims=True)
    weights /= total
    mean = (weights[:, None, :] @ states)[:, 0, :]
    centred = states - mean[:, None, :]
    covariance = (weights[:, :, None] * centred).transpose(0, 2, 1) @ centred
    log_evidence = (peak + np.log(total))[:, 0] + np.linalg.slogdet(root)[1]
    return log_evidence, mean, covariance


def _inverse_root(matrices: Floats) -> Floats:
    """R with R R^T = inverse, (n, d, d)."""
    return np.asarray(np.linalg.cholesky(np.linalg.inv(matrices)))


def _gauss_hermite(dimensions: int) -> tuple[Floats, Floats]:
    """Nodes z (n_nodes, d) and log weights (n_nodes,), so that sum w f(z) is the integral of f over R^d."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES[dimensions])
    log_weights = np.log(weights) + 0.5 * nodes**2
    grids = np.meshgrid(*[nodes] * dimensions, indexing="ij")
    log_grids = np.meshgrid(*[log_weights] * dimensions, indexing="ij")
    return np.stack([g.ravel() for g in grids], axis=-1), np.sum([g.ravel() for g in log_grids], axis=0)


def _exact(model: CellModel, latent: Floats) -> Floats:
    """log Z, gradient and Hessian entries at each state: (n_states, 1 + d + d^2)."""
    n_together = max(1, 4 * 1024 * 1024 // model.n_genes)
    return np.concatenate(
        [_exact_block(model, latent[i : i + n_together]) for i in range(0, latent.shape[0], n_together)]
    )


def _exact_block(model: CellModel, latent: Floats) -> Floats:
    log_p = model.log_expression + latent @ model.loadings.T
    peak = log_p.max(axis=1, keepdims=True)
    p = np.exp(log_p - peak)
    z = p.sum(axis=1, keepdims=True)
    p /= z
    w = model.loadings
    products = (w[:, :, None] * w[:, None, :]).reshape(w.shape[0], -1)
    mean = p @ w
    second = p @ products
    covariance = second - (mean[:, :, None] * mean[:, None, :]).reshape(second.shape)
    return np.concatenate([peak + np.log(z), mean, covariance], axis=1)
