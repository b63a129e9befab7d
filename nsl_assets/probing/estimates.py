"""One estimate of mutual information: checks the pairs, runs an estimator, adds what all estimators share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np
import numpy.typing as npt

from nsl_assets.errors import MeasurementError
from nsl_assets.probing.measurement import Measurement
from nsl_assets.probing.pairs import Pairs, checked_pairs
from nsl_assets.probing.settings import EstimatorName, ProbingSettings

if TYPE_CHECKING:
    from nsl_assets.tasks import Auxiliary

FEW_PAIRS: Final = 500

Estimator = Callable[[Pairs, ProbingSettings, int], Measurement]


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
        Wall-clock time.
    flags
        "few_pairs" (below 500), "constant_representation", "unreliable" (gap above 0.5 bit or 30 % of the
        value), "near_log_k" (the bound is within one bit of the most that it could show).
    diagnostics
        Estimator-specific JSON values.
    """

    estimator: str
    value_bits: float
    low_bits: float
    high_bits: float
    floor_bits: float
    ceiling_bits: float | None
    n_pairs: int
    seconds: float
    flags: tuple[str, ...] = ()
    diagnostics: dict[str, Any] = field(default_factory=dict)


def estimate(
    representation: npt.NDArray[np.floating],
    auxiliary: "Auxiliary",
    *,
    estimator: EstimatorName,
    settings: ProbingSettings,
    seed: int,
    group: npt.NDArray[np.integer] | None = None,
) -> Estimate:
    """Information between a representation (n_cells, n_dimensions) and the auxiliary signal of the same cells.

    ``group`` (n_cells,) codes keep cells of one group on one side of every split. The same arguments give the
    same numbers, bit for bit, on a CPU. Raises MeasurementError for fewer than 50 cells, non-finite or unknown
    values, an auxiliary that does not vary, or a single group.
    """
    start = time.perf_counter()
    measure = _estimator(estimator)
    pairs = checked_pairs(representation, auxiliary, group)
    is_constant = pairs.representation.shape[1] == 0
    measured = Measurement(0.0, 0.0, 0.0, 0.0) if is_constant else measure(pairs, settings, seed)
    shared = ("few_pairs",) * (len(pairs) < FEW_PAIRS) + ("constant_representation",) * is_constant
    return Estimate(
        estimator=estimator,
        value_bits=measured.value_bits,
        low_bits=measured.low_bits,
        high_bits=measured.high_bits,
        floor_bits=measured.floor_bits,
        ceiling_bits=pairs.ceiling_bits,
        n_pairs=len(pairs),
        seconds=time.perf_counter() - start,
        flags=shared + measured.flags,
        diagnostics=measured.diagnostics,
    )


def estimate_all(
    representation: npt.NDArray[np.floating],
    auxiliary: "Auxiliary",
    *,
    settings: ProbingSettings,
    seed: int,
    group: npt.NDArray[np.integer] | None = None,
) -> list[Estimate]:
    """One estimate by every estimator of the settings, in their order; see `estimate`."""
    return [
        estimate(representation, auxiliary, estimator=name, settings=settings, seed=seed, group=group)
        for name in settings.estimators
    ]


def _infonce(pairs: Pairs, settings: ProbingSettings, seed: int) -> Measurement:
    if pairs.classes is not None:
        from nsl_assets.probing.classifier import measure_classes

        return measure_classes(pairs, settings.infonce, seed)
    from nsl_assets.probing.infonce import measure_continuous

    return measure_continuous(pairs, settings.infonce, seed)


def _latent(pairs: Pairs, settings: ProbingSettings, seed: int) -> Measurement:
    from nsl_assets.probing.latent import measure_latent

    return measure_latent(pairs, settings.lmi, seed)


_ESTIMATORS: Final[dict[str, Estimator]] = {"infonce": _infonce, "lmi": _latent}


def _estimator(name: str) -> Estimator:
    if name not in _ESTIMATORS:
        raise MeasurementError(f"there is no estimator {name!r}: choose one of {', '.join(get_args(EstimatorName))}.")
    return _ESTIMATORS[name]


def estimator_identity(settings: ProbingSettings, estimator: EstimatorName) -> dict[str, Any]:
    """What decides the numbers of one estimator, as JSON values: changing another estimator leaves it alone."""
    return {"estimator": estimator, "settings": settings.identity()[estimator]}
