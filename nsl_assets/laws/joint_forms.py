"""The joint laws J and H: information as a function of depth u and training cells N, with slopes.

Both put an effective SNR into Eq. 1, with a = ū/u (noise in reading a cell) and b = (N0/N)^s (noise in learning):

- H: 1/SNR = a + b + c a b.
- J: 1/SNR = a + β q², with β = b/(1 + b/r) and q = (a + k)/(1 + k), averaged over SNR e^(wx), x uniform on [-1, 1].
  An encoder estimated from N cells misses the true direction by an angle with tan² ∝ (noise + nuisance)/N^s. k is
  nuisance that does not depend on depth, r caps the loss at that of a random encoder, w spreads factors over SNRs.

Parameters are searched on scales without bounds: logarithms, and w itself (the law is even in w).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.snr_law import bits_of_snr, logistic

LARGEST_PARAMETER: Final = 40.0
"""Parameters beyond this, on their search scale, change nothing any more."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(6)

Law = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Bits (n_points, n) and slopes (n_parameters, n_points, n) at theta (n_parameters, n) and ln u, ln N (n_points, n)."""


@dataclass(frozen=True)
class Form:
    """A joint law with the names of its parameters; those in ``on_log_scale`` are searched as logarithms."""

    name: str
    parameters: tuple[str, ...]
    on_log_scale: tuple[bool, ...]
    law: Law

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    def oriented(self, theta: FloatArray) -> FloatArray:
        """The same law (n_parameters, n) with parameters of which only the size matters made positive."""
        return np.where(np.array(self.on_log_scale)[:, None], theta, np.abs(theta))

    def natural(self, theta: FloatArray) -> FloatArray:
        """Parameters (n_parameters,) in their own units from those on the search scale; none is negative."""
        return np.where(self.on_log_scale, np.exp(np.clip(theta, -700, 700)), np.maximum(theta, 0))


def _law_j(theta: FloatArray, log_depth: FloatArray, log_cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    log_i_inf, log_ubar, log_n0, log_s, log_k, spread, log_r = np.clip(theta, -LARGEST_PARAMETER, LARGEST_PARAMETER)
    log_a, exponent = log_ubar - log_depth, np.exp(log_s)
    log_b = exponent * (log_n0 - log_cells)
    capped = logistic(log_b - log_r)
    log_q = np.logaddexp(log_a, log_k) - np.logaddexp(0, log_k)
    log_learning = log_b - np.logaddexp(0, log_b - log_r) + 2 * log_q
    reading_share, nuisance_share = logistic(log_a - log_learning), logistic(log_k - log_a)
    bits, by_i_inf, by_snr, by_spread = _spread_eq1(np.exp(log_i_inf), -np.logaddexp(log_a, log_learning), spread)
    by_learning = -(1 - reading_share) * by_snr
    by_b = by_learning * (1 - capped)
    slopes = np.stack(
        [
            by_i_inf * np.exp(log_i_inf),
            -reading_share * by_snr + by_learning * 2 * (1 - nuisance_share),
            by_b * exponent,
            by_b * log_b,
            by_learning * 2 * (nuisance_share - logistic(log_k)),
            by_spread,
            by_learning * capped,
        ]
    )
    return bits, slopes


def _law_h(theta: FloatArray, log_depth: FloatArray, log_cells: FloatArray) -> tuple[FloatArray, FloatArray]:
    log_i_inf, log_ubar, log_n0, log_s, log_c = np.clip(theta, -LARGEST_PARAMETER, LARGEST_PARAMETER)
    log_a, exponent = log_ubar - log_depth, np.exp(log_s)
    log_b = exponent * (log_n0 - log_cells)
    log_both = log_c + log_a + log_b
    log_noise = np.logaddexp(np.logaddexp(log_a, log_b), log_both)
    bits, by_i_inf, by_snr = bits_of_snr(np.exp(log_i_inf), -log_noise)
    by_a, by_b, by_both = (-by_snr * np.exp(part - log_noise) for part in (log_a, log_b, log_both))
    by_b = by_b + by_both
    return bits, np.stack([by_i_inf * np.exp(log_i_inf), by_a + by_both, by_b * exponent, by_b * log_b, by_both])


def _spread_eq1(
    i_inf_bits: FloatArray, log_snr: FloatArray, spread: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Mean of Eq. 1 over SNR e^(wx), and its slopes by I∞, ln SNR and w; Gauss-Legendre on 6 nodes."""
    total = np.zeros((4, *log_snr.shape))
    for node, weight in zip(NODES, WEIGHTS / 2, strict=True):
        bits, by_i_inf, by_snr = bits_of_snr(i_inf_bits, log_snr + spread * node)
        for i, value in enumerate((bits, by_i_inf, by_snr, node * by_snr)):
            total[i] += weight * value
    return total[0], total[1], total[2], total[3]


FORM_J: Final = Form(
    "J",
    ("i_inf_bits", "ubar", "n0", "exponent", "nuisance", "spread", "cap"),
    (True, True, True, True, True, False, True),
    _law_j,
)
FORM_H: Final = Form("H", ("i_inf_bits", "ubar", "n0", "exponent", "interaction"), (True,) * 5, _law_h)
FORMS: Final = {form.name: form for form in (FORM_J, FORM_H)}
