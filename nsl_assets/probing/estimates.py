"""Estimates of mutual information: checks the pairs, runs an estimator, adds what all estimators share."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.arrays import as_auxiliary
from nsl_assets.probing.measurement import Measurement
from nsl_assets.probing.pairs import Pairs, checked_pairs
from nsl_assets.probing.settings import EstimatorName, ProbingSettings

if TYPE_CHECKING:
    from nsl_assets.probing.held_out import HeldOutBounds
    from nsl_assets.tasks import Auxiliary

FEW_PAIRS: Final = 500


@dataclass(frozen=True)
class Estimate:
    """Mutual information between a representation and an auxiliary signal, in bits.

    Attributes
    ----------
    estimator
        Name of the estimator.
    value_bits, low_bits, high_bits
        The estimate and its interval, which holds sampling error and, where the estimator knows it, the gap
        between training and held-out pairs; it does not hold every bias.
    floor_bits
        The estimator on shuffled pairs, where the true information is zero.
    ceiling_bits
        H(Y) of a categorical auxiliary (plug-in entropy of the observed classes), else None.
    n_pairs
        Cells that the estimate rests on.
    seconds
        Wall-clock time; of estimators that share a training, the first bears it.
    flags
        "few_pairs" (below 500), "constant_representation", "unreliable" (gap above 0.5 bit or 30 % of the
        value), "near_log_k" (the bound is within one bit of the most that it could show),
        "nothing_found" (validation found no information in any fold; little may be hidden),
        "copula_undefined" (one side fixes a combination of the other; a held-out Gaussian bound instead).
    diagnostics
        Estimator-specific JSON values, and what was done to the columns ("dropped_constant_columns").
    """

    estimator: EstimatorName
    value_bits: float
    low_bits: float
    high_bits: float
    floor_bits: float
    ceiling_bits: float | None
    n_pairs: int
    seconds: float
    flags: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Checked pairs and how to look at them; what several estimators need is computed once."""

    pairs: Pairs
    settings: ProbingSettings
    seed: int
    device: str

    @cached_property
    def held_out(self) -> "HeldOutBounds":
        """Cross-fitted bounds of base and network: the classifier's for classes, else those of the critic."""
        if self.pairs.classes is not None:
            from nsl_assets.probing.classifier import bounds_of_classes

            return bounds_of_classes(self.pairs, self.settings.infonce, self.seed, self.device)
        from nsl_assets.probing.infonce import bounds_of_columns

        return bounds_of_columns(self.pairs, self.settings.infonce, self.seed, self.device)


def estimate(
    representation: npt.NDArray[np.floating],
    auxiliary: "Auxiliary | npt.NDArray[Any]",
    *,
    estimator: EstimatorName = "pooled",
    settings: ProbingSettings | None = None,
    seed: int = 0,
    group: npt.NDArray[np.integer] | None = None,
    device: str = "cpu",
) -> Estimate:
    """Information between a representation (n_cells, n_dimensions) and the auxiliary signal of the same cells.

    An auxiliary signal given as an array is read by `as_auxiliary`. ``group`` (n_cells,) codes keep cells of
    one group on one side of every split. The same arguments give the same numbers, bit for bit, on a CPU;
    ``device`` is where the networks train ("cpu", "cuda", "cuda:1"). Raises MeasurementError for an unknown
    estimator, fewer than 50 cells, non-finite or unknown values, an auxiliary that does not vary, or a single
    group.
    """
    (one,) = estimate_all(
        representation, auxiliary, estimators=(estimator,), settings=settings, seed=seed, group=group, device=device
    )
    return one


def estimate_all(
    representation: npt.NDArray[np.floating],
    auxiliary: "Auxiliary | npt.NDArray[Any]",
    *,
    estimators: Sequence[EstimatorName] | None = None,
    settings: ProbingSettings | None = None,
    seed: int = 0,
    group: npt.NDArray[np.integer] | None = None,
    device: str = "cpu",
) -> Iterator[Estimate]:
    """One estimate by every estimator named (default: those of the settings), in their order; see `estimate`.

    Estimates come one by one as they are ready; "pooled" and "infonce" share one training.
    """
    settings = settings or ProbingSettings()
    names = settings.estimators if estimators is None else estimators
    measures = [(name, _estimator(name)) for name in names]
    signal = as_auxiliary(auxiliary) if isinstance(auxiliary, np.ndarray) else auxiliary
    evidence = Evidence(checked_pairs(representation, signal, group), settings, seed, device)
    return (_estimate(name, measure, evidence) for name, measure in measures)


def _estimate(name: EstimatorName, measure: "Estimator", evidence: Evidence) -> Estimate:
    start = time.perf_counter()
    pairs = evidence.pairs
    is_constant = pairs.representation.shape[1] == 0
    measured = Measurement(0.0, 0.0, 0.0, 0.0) if is_constant else measure(evidence)
    shared = ("few_pairs",) * (len(pairs) < FEW_PAIRS) + ("constant_representation",) * is_constant
    return Estimate(
        estimator=name,
        value_bits=measured.value_bits,
        low_bits=measured.low_bits,
        high_bits=measured.high_bits,
        floor_bits=measured.floor_bits,
        ceiling_bits=pairs.ceiling_bits,
        n_pairs=len(pairs),
        seconds=time.perf_counter() - start,
        flags=shared + measured.flags,
        diagnostics=measured.diagnostics | pairs.handling,
    )


Estimator = Callable[[Evidence], Measurement]


def _pooled(evidence: Evidence) -> Measurement:
    from nsl_assets.probing.held_out import pooled_measurement

    return pooled_measurement(evidence.held_out)


def _infonce(evidence: Evidence) -> Measurement:
    from nsl_assets.probing.held_out import infonce_measurement

    return infonce_measurement(evidence.held_out)


def _latent(evidence: Evidence) -> Measurement:
    from nsl_assets.probing.latent import measure_latent

    return measure_latent(evidence.pairs, evidence.settings.lmi, evidence.seed, evidence.device)


def _ksg(evidence: Evidence) -> Measurement:
    from nsl_assets.probing.ksg import measure_ksg

    return measure_ksg(evidence.pairs, evidence.settings.ksg, evidence.seed)


def _gaussian_copula(evidence: Evidence) -> Measurement:
    from nsl_assets.probing.gaussian_estimate import measure_gaussian

    return measure_gaussian(evidence.pairs, evidence.settings.infonce, evidence.seed)


_ESTIMATORS: Final[dict[str, Estimator]] = {
    "pooled": _pooled,
    "infonce": _infonce,
    "lmi": _latent,
    "ksg": _ksg,
    "gaussian_copula": _gaussian_copula,
}
_SETTINGS_OF: Final = {"pooled": "infonce", "gaussian_copula": "infonce"}


def _estimator(name: str) -> Estimator:
    if name not in _ESTIMATORS:
        raise MeasurementError(f"there is no estimator {name!r}: choose one of {', '.join(get_args(EstimatorName))}.")
    return _ESTIMATORS[name]


def estimator_identity(settings: ProbingSettings, estimator: EstimatorName) -> dict[str, Any]:
    """What decides the numbers of one estimator, as JSON values: changing another estimator leaves it alone."""
    return {"estimator": estimator, "settings": settings.identity()[_SETTINGS_OF.get(estimator, estimator)]}
