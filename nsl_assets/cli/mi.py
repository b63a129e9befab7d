"""`nsl mi`: mutual information between two arrays of any origin, by the estimators of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from nsl_assets.cli.mi_pairs import Pairs, read_pairs
from nsl_assets.cli.output import show, show_json, table
from nsl_assets.errors import InputError
from nsl_assets.probing import Estimate, EstimatorName, ProbingSettings, as_auxiliary, estimate_all
from nsl_assets.progress import Progress

FLAG_MEANINGS: Final = {
    "few_pairs": "fewer than 500 pairs: the estimate tends to be low and its interval is wide",
    "constant_representation": "X does not vary, so it has no information",
    "unreliable": "training pairs show far more information than held-out ones: more pairs are needed",
    "near_log_k": "close to the most that the estimator can show: the information may be more",
    "nothing_found": "no fold found any information; a little may be hidden",
    "copula_undefined": "one side fixes a combination of the other: a held-out Gaussian bound is shown instead",
}


@dataclass(frozen=True)
class MiRequest:
    """What the user asks for on the command line; tables as FILE or FILE:PLACE, no estimators for the default."""

    x: str
    y: str
    group: str | None = None
    estimators: tuple[str, ...] = ()
    seed: int = 0
    y_kind: str = "auto"
    is_missing_dropped: bool = False
    device: str = "cpu"


def measure_information(request: MiRequest, *, as_json: bool) -> None:
    """Read, pair and check the tables, estimate, print one estimate or several.

    Raises InputError for tables that cannot be used, MeasurementError for pairs that cannot be measured.
    """
    pairs = read_pairs(
        request.x, request.y, request.group, y_kind=request.y_kind, is_missing_dropped=request.is_missing_dropped
    )
    _require_device(request.device)
    estimates = _estimates(pairs, request)
    if as_json:
        records = [_record(each, pairs, request) for each in estimates]
        show_json(records if len(records) > 1 else records[0])
    else:
        show(_text(estimates, pairs, request))


def _require_device(device: str) -> None:
    """Raises InputError for a GPU that torch does not find; the CPU needs no look."""
    if device == "cpu":
        return
    import torch

    n_found, index = torch.cuda.device_count(), int(device.partition(":")[2] or 0)
    if index >= n_found:
        raise InputError(f"torch finds {n_found} GPUs here, so there is no {device}. Use --device cpu.")


def _estimates(pairs: Pairs, request: MiRequest) -> list[Estimate]:
    names = _estimators(request) or [ProbingSettings().headline]
    progress = Progress.on_stderr() if len(names) > 1 else Progress()
    progress.begin(len(names))
    estimates = []
    for each in estimate_all(
        pairs.x,
        as_auxiliary(pairs.signal.values),
        estimators=names,
        seed=request.seed,
        group=pairs.group,
        device=request.device,
    ):
        estimates.append(each)
        progress.advance(each.estimator)
    return estimates


def _estimators(request: MiRequest) -> list[EstimatorName]:
    asked_for = request.estimators
    return [name for name in get_args(EstimatorName) if name in asked_for or "all" in asked_for]


def _record(each: Estimate, pairs: Pairs, request: MiRequest) -> dict[str, Any]:
    return {
        "mi_bits": each.value_bits,
        "low_bits": each.low_bits,
        "high_bits": each.high_bits,
        "floor_bits": each.floor_bits,
        "ceiling_bits": each.ceiling_bits,
        "estimator": each.estimator,
        "n_pairs": each.n_pairs,
        "flags": each.flags,
        "seconds": each.seconds,
        "seed": request.seed,
        "device": request.device,
        "x": request.x,
        "y": request.y,
        "group": request.group,
        "paired_by": pairs.pairing.paired_by,
        "n_dropped": pairs.pairing.n_dropped,
        "n_missing_dropped": pairs.n_missing_dropped,
        "y_kind": pairs.signal.kind,
        "y_taken_as": pairs.signal.taken_as,
        "diagnostics": each.diagnostics,
    }


def _text(estimates: Sequence[Estimate], pairs: Pairs, request: MiRequest) -> str:
    flags = sorted({flag for each in estimates for flag in each.flags})
    lines = [
        *([_sentence(estimates[0])] if len(estimates) == 1 else [table([_row(each) for each in estimates])]),
        "floor: the same estimator on shuffled pairs, where there is no information",
        *["ceiling: the entropy of Y, which no X can exceed"] * (estimates[0].ceiling_bits is not None),
        *[f"{flag}: {FLAG_MEANINGS.get(flag, 'see the diagnostics (--json)')}" for flag in flags],
        "",
        f"X: {request.x}, {pairs.x.shape[1]} column{'s' * (pairs.x.shape[1] > 1)}",
        f"Y: {request.y}, {pairs.signal.taken_as}",
        *([] if request.group is None else [f"group: {request.group}, {pairs.n_groups} groups"]),
        f"{len(pairs.x):,} pairs, paired by {pairs.pairing.paired_by}; seed {request.seed}",
    ]
    return "\n".join(lines)


def _sentence(each: Estimate) -> str:
    ceiling = "" if each.ceiling_bits is None else f", ceiling {each.ceiling_bits:z.2f}"
    return (
        f"I(X; Y) = {each.value_bits:z.2f} bits, interval {each.low_bits:z.2f} to {each.high_bits:z.2f}, "
        f"floor {each.floor_bits:z.2f}{ceiling} ({each.estimator}, {each.seconds:.1f} s)"
    )


def _row(each: Estimate) -> dict[str, Any]:
    return {
        "estimator": each.estimator,
        "bits": round(each.value_bits, 3),
        "low": round(each.low_bits, 3),
        "high": round(each.high_bits, 3),
        "floor": round(each.floor_bits, 3),
        "ceiling": None if each.ceiling_bits is None else round(each.ceiling_bits, 3),
        "seconds": round(each.seconds, 1),
        "flags": ", ".join(each.flags) or None,
    }
