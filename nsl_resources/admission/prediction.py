"""What a worker will need: a formula at first, then what workers like it were recorded to use.

Workers are alike if their model, its settings (the batch size among them), the number of genes and the kind of device
are; their training sizes may differ.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from nsl_resources.admission.needs import GPU, HOST, Device, Need

QUANTILES: Final = {HOST: 1.0, GPU: 0.75}
"""Which of the recorded peaks of one size is reserved. Of the host the largest: where that runs out, the kernel kills
whom it likes. Of a GPU less: replicates err either way, and who errs too far is alone to be repeated."""
UNSEEN_SIZE_MARGIN: Final = 1.1
OUT_OF_MEMORY_FACTOR: Final = 1.5
"""By how much what is reserved grows after a worker ran out of memory, over its peak."""


@dataclass(frozen=True)
class Peak:
    """What the formula said of a worker's memory on a device, and what was recorded."""

    formula_mib: float
    peak_mib: float


def predicted_mib(formula_mib: float, recorded: Iterable[Peak], kind: str) -> int:
    """MiB to reserve on a device of a kind for a worker of which the formula says `formula_mib`.

    Where workers of that size are recorded: a quantile of their peaks. Else the formula, corrected by the factor at
    which it was wrong at the next smaller and the next larger size, whichever is more. Else the formula as it is.
    """
    factors = _factors(recorded, QUANTILES[kind])
    same = [factor for size, factor in factors.items() if math.isclose(size, formula_mib, rel_tol=1e-3)]
    if same:
        return math.ceil(formula_mib * max(same))
    smaller = max((size for size in factors if size < formula_mib), default=None)
    larger = min((size for size in factors if size > formula_mib), default=None)
    near = [factors[size] for size in (smaller, larger) if size is not None]
    return math.ceil(formula_mib * (UNSEEN_SIZE_MARGIN * max(near) if near else 1.0))


def _factors(recorded: Iterable[Peak], quantile: float) -> dict[float, float]:
    """What the formula said -> quantile of the peaks over that."""
    peaks: dict[float, list[float]] = defaultdict(list)
    for peak in recorded:
        peaks[peak.formula_mib].append(peak.peak_mib)
    return {size: sorted(found)[math.ceil(quantile * len(found)) - 1] / size for size, found in peaks.items()}


def after_out_of_memory(need: Need, kind: str, peak_mib: float, devices: Iterable[Device]) -> Need | None:
    """What to ask for after a worker ran out of the memory of its host or GPUs (`kind`).

    1.5 × its peak, or × what it had reserved if that is more, but no more than the largest budget. None if it had that.
    """
    reserved_mib = need.gpu_memory_mib if kind == GPU else need.memory_mib
    largest_mib = max((device.budget_mib for device in devices if device.kind == kind), default=0)
    if reserved_mib >= largest_mib:
        return None
    mib = min(math.ceil(OUT_OF_MEMORY_FACTOR * max(reserved_mib, peak_mib)), largest_mib)
    return replace(need, memory_mib=mib) if kind == HOST else replace(need, gpu_memory_mib=mib)
