"""The most probable parameters of joint laws, for many surfaces in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from nsl_assets.laws.batched import IntArray, least_squares
from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_forms import Form
from nsl_assets.laws.joint_settings import JointSettings, prior_of
from nsl_assets.laws.misfit_field import whitening
from nsl_assets.laws.surface import GridCells
from nsl_assets.randomness import generator

N_STARTS: Final = 4
START_SD: Final = 1.5
ROUNDS: Final = 3
"""How often σ is estimated and the parameters are searched again."""
FIRST_SD_BITS: Final = 0.06
SMALLEST_SD_BITS: Final = 0.005


@dataclass(frozen=True, eq=False)
class MapProblems:
    """Whitened residuals of surfaces, padded to one number of grid cells, followed by those of the prior."""

    form: Form
    log_depth: FloatArray
    """(n_points, n_surfaces)."""
    log_cells: FloatArray
    bits: FloatArray
    white: FloatArray
    """Whitening matrices, (n_surfaces, n_points, n_points); zero where padded."""
    sd_bits: FloatArray
    """σ, (n_surfaces,)."""
    prior_mean: FloatArray
    """(n_parameters, n_surfaces)."""
    prior_sd: FloatArray

    def __call__(self, theta: FloatArray, problems: IntArray) -> tuple[FloatArray, FloatArray]:
        """See ``Residuals``."""
        bits, slopes = self.form.law(theta, self.log_depth[:, problems], self.log_cells[:, problems])
        columns = np.concatenate([(bits - self.bits[:, problems])[None], slopes]) / self.sd_bits[problems]
        columns = np.matmul(self.white[problems], columns.transpose(2, 1, 0)).transpose(2, 1, 0)
        sd = self.prior_sd[:, problems]
        of_prior = np.eye(len(theta))[:, :, None] / sd
        values = np.concatenate([columns[0], (theta - self.prior_mean[:, problems]) / sd])
        return values, np.concatenate([columns[1:], of_prior], axis=1)

    def data_slopes(self, theta: FloatArray) -> FloatArray:
        """Whitened slopes of the data at the parameters of all surfaces, (n_parameters, n_points, n_surfaces)."""
        everything = np.arange(theta.shape[1])
        return self(theta, everything)[1][:, : len(self.bits)]


@dataclass(frozen=True, eq=False)
class MapFit:
    """The most probable parameters of one surface, on their search scale."""

    theta: FloatArray
    """(n_parameters,)."""
    covariance: FloatArray
    """Laplace approximation of the posterior, (n_parameters, n_parameters)."""
    prior_mean: FloatArray
    prior_sd: FloatArray
    sd_bits: float
    """σ of the residuals around the law: misfit and noise together."""
    converged: bool


def most_probable(surfaces: Sequence[GridCells], settings: JointSettings) -> list[MapFit]:
    """Maximum a posteriori fits of one form to many surfaces, each by itself.

    σ² is the whitened residual sum of squares over the degrees of freedom that the data leave; it is estimated
    and the parameters searched again, three times in all.
    """
    problems = _problems(surfaces, settings)
    counts = np.array([len(cells.depth) for cells in surfaces])
    starts = _starts(problems)
    for _ in range(ROUNDS):
        minima = least_squares(problems, starts)
        theta = problems.form.oriented(minima.theta)
        starts = np.stack([theta, problems.prior_mean])
        covariance = _covariance(problems, theta)
        sd_bits = _residual_sd(problems, theta, covariance, counts)
        problems = replace(problems, sd_bits=sd_bits)
    return [
        MapFit(
            theta[:, i],
            covariance[i],
            problems.prior_mean[:, i],
            problems.prior_sd[:, i],
            float(sd_bits[i]),
            bool(minima.converged[i]),
        )
        for i in range(len(surfaces))
    ]


def _problems(surfaces: Sequence[GridCells], settings: JointSettings) -> MapProblems:
    n_points = max(len(cells.depth) for cells in surfaces)
    columns = np.zeros((3, n_points, len(surfaces)))
    white = np.zeros((len(surfaces), n_points, n_points))
    for i, cells in enumerate(surfaces):
        n = len(cells.depth)
        columns[:, :n, i] = cells.log_depth, cells.log_cells, cells.mean_bits
        white[i, :n, :n] = whitening((cells.log_depth, cells.log_cells), settings)
    priors = [prior_of(cells, settings) for cells in surfaces]
    mean, sd = (np.transpose([prior[side] for prior in priors]) for side in (0, 1))
    log_depth, log_cells, bits = columns
    return MapProblems(settings.law, log_depth, log_cells, bits, white, np.full(len(surfaces), FIRST_SD_BITS), mean, sd)


def _starts(problems: MapProblems) -> FloatArray:
    """Starts around the prior mean, (n_starts, n_parameters, n_surfaces); the same for every surface."""
    n_parameters = len(problems.prior_mean)
    steps = generator("joint law starts").standard_normal((N_STARTS, n_parameters))[:, :, None]
    return problems.prior_mean + steps * np.minimum(problems.prior_sd, START_SD)


def _covariance(problems: MapProblems, theta: FloatArray) -> FloatArray:
    """Laplace covariances, (n_surfaces, n_parameters, n_parameters)."""
    slopes = problems.data_slopes(theta)
    information = np.einsum("ipn,jpn->nij", slopes, slopes)
    information += np.einsum("in,ij->nij", 1 / problems.prior_sd**2, np.eye(len(theta)))
    return np.asarray(np.linalg.inv(information))


def _residual_sd(problems: MapProblems, theta: FloatArray, covariance: FloatArray, counts: IntArray) -> FloatArray:
    """σ, (n_surfaces,): parameters count by how much the data, not the prior, decided them."""
    everything = np.arange(len(counts))
    residuals = problems(theta, everything)[0][: len(problems.bits)] * problems.sd_bits
    by_prior = np.einsum("nii,in->n", covariance, 1 / problems.prior_sd**2)
    free = np.maximum(counts - (len(theta) - by_prior), 1)
    return np.asarray(np.maximum(np.sqrt((residuals**2).sum(axis=0) / free), SMALLEST_SD_BITS))
