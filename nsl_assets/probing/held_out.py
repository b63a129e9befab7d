"""From held-out terms of folds to values, intervals and gaps: the bound itself, and the headline rule."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsl_assets.probing.gaussian import GaussianInformation
from nsl_assets.probing.measurement import Measurement, Terms, standard_error_bits

_CHANCE: Final = 3.0
_NOT_YET_LEARNT: Final = 0.2


@dataclass(frozen=True)
class FoldBound:
    """Terms of one fold's test pairs, bound on training pairs, and whether validation found no information."""

    rows: npt.NDArray[np.intp]
    terms_bits: Terms
    train_bits: float
    is_zero: bool
    weights: tuple[float, float]
    contrast_bits: float = 0.0
    """What the bound loses to the finite number of contrasts."""
    base_bits: float = 0.0
    """The bound of the Gaussian base, or of the discriminants, without the network."""

    @property
    def bound_bits(self) -> float:
        """The held-out bound of this fold; a fold in which validation found nothing counts as zero bits."""
        return 0.0 if self.is_zero else float(self.terms_bits.mean())

    @property
    def gap_bits(self) -> float:
        """Training minus test bound."""
        return 0.0 if self.is_zero else self.train_bits - self.bound_bits


@dataclass(frozen=True)
class HeldOutBounds:
    """All folds of the true pairs, one of shuffled pairs, and what else the headline rule looks at.

    ``gaussian`` is the Gaussian copula's information in the view of most folds, ``columns_gaussian`` that of the
    columns as they are, both None where not defined and for classes. ``views`` and ``base_scales`` are what
    validation chose by fold; ``n_contrasts`` is the number of pairs that every pair is contrasted with, where the
    bound cannot exceed its logarithm.
    """

    folds: Sequence[FoldBound]
    floor: FoldBound
    group: npt.NDArray[np.intp] | None
    gaussian: GaussianInformation | None
    columns_gaussian: GaussianInformation | None
    n_contrasts: int | None
    steps: Sequence[int]
    views: Sequence[str] = ()
    base_scales: Sequence[float] = ()

    @property
    def n_pairs(self) -> int:
        """Test pairs of all folds."""
        return sum(len(fold.rows) for fold in self.folds)

    @property
    def bound_bits(self) -> float:
        """Held-out bound over all folds."""
        return sum(fold.bound_bits * len(fold.rows) for fold in self.folds) / self.n_pairs

    @property
    def share_without_information(self) -> float:
        """Share of pairs in folds where validation found no information."""
        return sum(len(fold.rows) for fold in self.folds if fold.is_zero) / self.n_pairs

    @property
    def gap_bits(self) -> float:
        """Training minus held-out bound, at least zero; a fold without information misses all that is Gaussian."""
        seen = sum(fold.gap_bits * len(fold.rows) for fold in self.folds) / self.n_pairs
        return max(0.0, seen) + self.share_without_information * self._gaussian_beyond_chance_bits

    @property
    def _gaussian_beyond_chance_bits(self) -> float:
        """The Gaussian information if it is more than three deviations from chance, and pairs are independent."""
        if self.gaussian is None or self.group is not None:
            return 0.0
        value = self.gaussian.value_bits
        return value if value > _CHANCE * self.gaussian.chance_bits else 0.0

    @property
    def contrast_bits(self) -> float:
        """What the bound loses to the finite number of contrasts, to first order."""
        known = [fold.contrast_bits * len(fold.rows) for fold in self.folds if not fold.is_zero]
        return max(0.0, sum(known) / self.n_pairs)

    @property
    def beyond_gaussian_bits(self) -> float:
        """What lies beyond the Gaussian information or the discriminants, at least zero.

        The larger of two: what the networks add to their base, and what the bound has over the Gaussian copula of
        the columns as they are.
        """
        bases = sum(min(fold.bound_bits, max(fold.base_bits, 0.0)) * len(fold.rows) for fold in self.folds)
        beyond = self.bound_bits - bases / self.n_pairs
        if self.columns_gaussian is not None:
            beyond = max(beyond, self.bound_bits - self.columns_gaussian.value_bits)
        return max(0.0, beyond)

    @property
    def standard_error_bits(self) -> float:
        """Sampling error of the bound; of a fold without information, that of its best candidate's terms."""
        deviations = np.empty(self.n_pairs)
        for fold in self.folds:
            deviations[fold.rows] = fold.terms_bits - fold.terms_bits.mean()
        return standard_error_bits(deviations, self.group)

    @property
    def flags(self) -> tuple[str, ...]:
        """Unreliable: gap above 0.5 bit or 30 % of the headline. Near log k: within a bit of the most to be seen."""
        value, gap = headline_bits(self), self.gap_bits
        is_unreliable = gap > 0.5 or gap > 0.3 * max(value, 0.0)
        is_near = self.n_contrasts is not None and self.bound_bits > math.log2(self.n_contrasts) - 1.0
        finds_nothing = self.share_without_information == 1.0
        return ("unreliable",) * is_unreliable + ("near_log_k",) * is_near + ("nothing_found",) * finds_nothing

    @property
    def diagnostics(self) -> dict[str, Any]:
        """JSON values that both estimates from these bounds report."""
        return {
            "bound_bits": self.bound_bits,
            "gap_bits": self.gap_bits,
            "contrast_bits": self.contrast_bits,
            "beyond_gaussian_bits": self.beyond_gaussian_bits,
            "standard_error_bits": self.standard_error_bits,
            "gaussian_bits": None if self.gaussian is None else self.gaussian.value_bits,
            "views": list(self.views),
            "base_scales": list(self.base_scales),
            "n_contrasts": self.n_contrasts,
            "n_folds": len(self.folds),
            "steps": list(self.steps),
            "fold_bits": [fold.bound_bits for fold in self.folds],
            "weights_base_network": [[0.0, 0.0] if fold.is_zero else list(fold.weights) for fold in self.folds],
        }


def headline_bits(bounds: HeldOutBounds) -> float:
    """B + gap/2, with B the bound corrected for its finite number of contrasts; between groups B.

    Half the gap is what fitted parameters cost on new pairs. Between groups the gap also holds what only the known
    groups share, and nothing is added.
    """
    corrected = bounds.bound_bits + bounds.contrast_bits
    return corrected if bounds.group is not None else corrected + bounds.gap_bits / 2


def infonce_measurement(bounds: HeldOutBounds) -> Measurement:
    """The held-out bound itself, in the same bracket as the headline."""
    return _measurement(bounds, bounds.bound_bits)


def pooled_measurement(bounds: HeldOutBounds) -> Measurement:
    """The headline rule's value in the bracket of `bracket_bits`."""
    return _measurement(bounds, headline_bits(bounds))


def bracket_bits(bounds: HeldOutBounds) -> tuple[float, float]:
    """[bound - 1.96 SE, bound + 2 contrast + gap + a fifth of what is beyond the Gaussian + 1.96 SE].

    What is not Gaussian is learnt slowly, and the gap does not show what no network has found: the fifth covers
    it on the frozen suite. Where the bracket is unreliable it reaches up to the Gaussian information plus 1.96
    standard errors, if that is more.
    """
    error = 1.96 * bounds.standard_error_bits
    beyond = _NOT_YET_LEARNT * bounds.beyond_gaussian_bits
    upper = bounds.bound_bits + 2 * bounds.contrast_bits + bounds.gap_bits + beyond + error
    if bounds.gaussian is not None and "unreliable" in bounds.flags:
        terms = bounds.gaussian.terms_bits
        sampling = standard_error_bits(terms - terms.mean(), bounds.group)
        upper = max(upper, bounds.gaussian.value_bits + 1.96 * math.hypot(sampling, bounds.gaussian.chance_bits))
    return bounds.bound_bits - error, upper


def _measurement(bounds: HeldOutBounds, value: float) -> Measurement:
    low, high = bracket_bits(bounds)
    return Measurement(
        value_bits=value,
        low_bits=low,
        high_bits=high,
        floor_bits=bounds.floor.bound_bits,
        flags=bounds.flags,
        diagnostics=bounds.diagnostics,
    )
