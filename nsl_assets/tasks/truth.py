"""The known answer of simulated cells: information at any depth, and the best representation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import InputError
from nsl_assets.randomness import generator
from nsl_assets.tasks.posterior import Integrand, LogPartition, Moments, moments
from nsl_assets.tasks.simulated import CellModel

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = npt.NDArray[np.float64]

_TRUTH_CELLS: Final = 4000
_BLOCK_ENTRIES: Final = 2 * 1024 * 1024
_LN_2PIE: Final = float(np.log(2 * np.pi * np.e))


@dataclass(frozen=True, eq=False)
class TrueInformation:
    """I(counts; auxiliary) per level and the standard error of its Monte Carlo, both (n_levels,) bits."""

    bits: Floats
    standard_error_bits: Floats


class SimulationTruth:
    """The known answer of a simulated task."""

    def __init__(self, model: CellModel) -> None:
        self.model = model

    @property
    def ceiling_bits(self) -> float:
        """Information in infinitely deep counts: -d/2 log2(1 - c^2)."""
        return float(-0.5 * self.model.latent_dimensions * np.log2(1 - self.model.correlation**2))

    def information_bits(self, levels: Sequence[float], *, n_cells: int = _TRUTH_CELLS) -> TrueInformation:
        """I(counts; auxiliary) in bits where each molecule is kept with probability `level`.

        Monte Carlo over fresh cells, integrals over the latent state by quadrature. The same cells serve all
        levels, so that a curve is smooth. Raises InputError for a level outside [0, 1].
        """
        wanted = np.asarray(levels, dtype=np.float64)
        if wanted.size and not (wanted.min() >= 0 and wanted.max() <= 1):
            raise InputError(f"Levels between {wanted.min():g} and {wanted.max():g}: each must lie in [0, 1].")
        unique, places = np.unique(-wanted, return_inverse=True)
        terms = self._information_terms(-unique, n_cells)
        error = terms.std(axis=1, ddof=1) / np.sqrt(n_cells)
        return TrueInformation(terms.mean(axis=1)[places], error[places])

    def posterior_mean(self, counts: csr_array) -> Floats:
        """E[s | counts], (n_cells, d): the best representation there is, at any level.

        The level need not be known, because the total of a cell says nothing about s. An empty cell has
        the prior's mean, 0.
        """
        totals, scores = np.asarray(counts.sum(axis=1), np.float64), np.asarray(counts @ self.model.loadings)
        return self._moments(totals, scores, np.zeros_like(scores), 1.0).mean

    @cached_property
    def _partition(self) -> LogPartition:
        return LogPartition(self.model)

    def _moments(self, totals: Floats, scores: Floats, mean: Floats, variance: float) -> Moments:
        return moments(Integrand(self._partition, totals, scores, mean, variance))

    def _information_terms(self, levels: Floats, n_cells: int) -> Floats:
        """One term per level (descending) and cell, (n_levels, n_cells), whose mean is the information."""
        rng = generator("simulation truth", self.model.seed)
        latent, auxiliary = self.model.draw_latent(rng, n_cells)
        totals, scores = self._sufficient(rng, latent, levels)
        return np.stack([self._terms(n, t, auxiliary) for n, t in zip(totals, scores, strict=True)])

    def _sufficient(self, rng: np.random.Generator, latent: Floats, levels: Floats) -> tuple[Floats, Floats]:
        """N (n_levels, n_cells) and t (n_levels, n_cells, d) of the cells, thinned from level to level."""
        totals = np.empty((levels.size, latent.shape[0]))
        scores = np.empty((levels.size, *latent.shape))
        library_sizes = self.model.draw_library_sizes(rng, latent.shape[0])
        n_together = max(1, _BLOCK_ENTRIES // self.model.n_genes)
        for start in range(0, latent.shape[0], n_together):
            some = slice(start, start + n_together)
            counts, before = self.model.draw_counts(rng, latent[some], library_sizes[some]), 1.0
            for i, level in enumerate(levels):
                counts = rng.binomial(counts, level / before if before else 0.0)
                totals[i, some], scores[i, some] = counts.sum(axis=1), counts @ self.model.loadings
                before = level
        return totals, scores

    def _terms(self, totals: Floats, scores: Floats, auxiliary: Floats) -> Floats:
        """h(Y) + log p(y | x) for each cell, in bits, with a control variate.

        p(y | x) = p(y) p(x | y) / p(x). With m and V the mean and covariance of Y given x, the squared
        Mahalanobis distance of y has mean d given x, so half of its deviation from d is added: for a Gaussian
        p(y | x) what remains does not depend on y at all.
        """
        c, d = self.model.correlation, self.model.latent_dimensions
        prior = self._moments(totals, scores, np.zeros_like(scores), 1.0)
        given_y = self._moments(totals, scores, c * auxiliary, 1 - c**2)
        log_ratio = given_y.log_evidence - prior.log_evidence
        log_p_y = -0.5 * (auxiliary**2).sum(axis=1) - 0.5 * d * np.log(2 * np.pi)
        residual = auxiliary - c * prior.mean
        covariance = c**2 * prior.covariance + (1 - c**2) * np.eye(d)
        distance = (residual * np.linalg.solve(covariance, residual[..., None])[..., 0]).sum(axis=1)
        return np.asarray((0.5 * d * _LN_2PIE + log_p_y + log_ratio + 0.5 * (distance - d)) / np.log(2))
