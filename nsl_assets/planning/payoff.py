"""Which of depth, cells and model pays most: per unit of money where prices are known, else per doubling."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nsl_assets.errors import InputError
from nsl_assets.laws import Difference, compare_information, depth_gain, joint_gain
from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.costs import Costs, Sequencing
from nsl_assets.planning.evidence import Evidence
from nsl_assets.planning.wording import bits_with_interval, money_text

Step = Literal["depth", "cells", "model"]


@dataclass(frozen=True)
class Option:
    """One thing to change from today: what it gains, and what it costs."""

    step: Step
    what: str
    gain: Difference
    """Bits."""
    cost: float
    """Money; 0 for another model, NaN where no prices are known, inf where it cannot be bought."""

    @property
    def rate(self) -> float:
        """Bits for each unit of money; bits per doubling where no prices are known."""
        return self._per_price(self.gain.value)

    @property
    def rate_ends(self) -> tuple[float, float]:
        """Interval of the rate."""
        return self._per_price(self.gain.low), self._per_price(self.gain.high)

    def _per_price(self, bits: float) -> float:
        price = 1.0 if np.isnan(self.cost) else self.cost
        if price == 0:
            return float(np.copysign(np.inf, bits)) if bits else 0.0
        return bits / price


def what_pays_advice(
    evidence: Evidence, others: Mapping[str, Evidence], sequencing: Sequencing, costs: Costs | None
) -> Advice:
    """Twice the depth, twice the cells, or the best other model of the task at today's cells and depth.

    A gain is what a step adds to today's information: of depth by the noise law of today's cells (by the joint law
    where the curve contradicts the noise law), of cells by the joint law, of another model paired by seeds. Without a
    joint law nothing is said about cells.
    """
    found = (_depth(evidence, sequencing, costs), _cells(evidence, costs), _model(evidence, others))
    options = [one for one in found if isinstance(one, Option)]
    missing = [one for one in found if isinstance(one, str)]
    paid = sorted((one for one in options if one.step != "model"), key=lambda one: one.rate, reverse=True)
    told_apart = len(paid) < 2 or paid[0].rate_ends[0] > paid[1].rate_ends[1]
    flags = _flags(evidence, told_apart) + (sequencing.flags if costs else ())
    if not options:
        why = "; ".join(missing)
        sentence = f"{evidence.model}: {why}."
        return Advice(
            "what_pays", evidence.model, evidence.n_cells, True, sentence, (), flags, "nothing can be compared"
        )
    listed = ", ".join(_option_text(one, costs) for one in options)
    parts = [f"{evidence.model} today: {listed}.", *_verdict(options, paid, told_apart, costs)]
    parts += [f"Left out: {'; '.join(missing)}."] if missing else []
    estimates = tuple(estimate for one in options for estimate in _estimates(one, costs))
    return Advice("what_pays", evidence.model, evidence.n_cells, False, " ".join(parts), estimates, flags)


def _flags(evidence: Evidence, told_apart: bool) -> tuple[str, ...]:
    earned = {
        "one_size": len(evidence.sizes) < 2,
        "not_told_apart": not told_apart,
        "extrapolated": _is_extrapolated(evidence),
    }
    return (*evidence.flags, *(flag for flag, is_earned in earned.items() if is_earned))


def _is_extrapolated(evidence: Evidence) -> bool:
    """Twice today's depth or cells lies beyond what was measured, wherever today is the largest that was."""
    is_deeper = 2 * evidence.today_umis_per_cell > evidence.fit.deepest
    return bool(is_deeper or (evidence.joint is not None and 2 * evidence.n_cells > evidence.joint.most_cells))


def _depth(evidence: Evidence, sequencing: Sequencing, costs: Costs | None) -> Option | str:
    today = evidence.today_umis_per_cell
    if evidence.tells_nothing:
        return "what depth adds is not known, as the curve cannot be told from no information"
    if 2 * today >= sequencing.largest_depth:
        return "no amount of sequencing doubles the depth"
    if evidence.joint is not None and "misfit" in evidence.fit.flags:
        gain = _joint_gain(evidence, 2 * today, evidence.n_cells)
    else:
        gain = depth_gain(evidence.curve, evidence.settings, today, 2 * today)
    return Option("depth", "twice the depth", gain, _difference_in_cost(evidence, costs, 2 * today, evidence.n_cells))


def _cells(evidence: Evidence, costs: Costs | None) -> Option | str:
    if evidence.joint is None:
        return evidence.why_no_joint
    today, twice = evidence.today_umis_per_cell, 2 * evidence.n_cells
    return Option(
        "cells",
        "twice the cells",
        _joint_gain(evidence, today, twice),
        _difference_in_cost(evidence, costs, today, twice),
    )


def _joint_gain(evidence: Evidence, depth: float, n_cells: float) -> Difference:
    assert evidence.joint is not None
    gain = joint_gain(evidence.joint, depth, n_cells, over=(evidence.today_umis_per_cell, evidence.n_cells))
    return Difference(float(gain.bits[0]), float(gain.low_bits[0]), float(gain.high_bits[0]))


def _difference_in_cost(evidence: Evidence, costs: Costs | None, depth: float, n_cells: float) -> float:
    if costs is None:
        return float("nan")
    return float(costs.of(n_cells, depth) - costs.of(evidence.n_cells, evidence.today_umis_per_cell))


def _model(evidence: Evidence, others: Mapping[str, Evidence]) -> Option | str:
    """The other model that knows most at today's cells and depth, against this one."""
    same = {
        name: other for name, other in others.items() if other.n_cells == evidence.n_cells and other is not evidence
    }
    differences = {}
    for name, other in same.items():
        try:
            found = compare_information(
                {name: other.curve, evidence.model: evidence.curve}, evidence.today_umis_per_cell, evidence.settings
            )
        except InputError:
            continue
        differences[name] = found[0].bits
    if not differences:
        return "no other model was measured with the same cells and seeds"
    best = max(differences, key=lambda name: differences[name].value)
    return Option("model", f"the model {best}", differences[best], 0.0)


def _estimates(option: Option, costs: Costs | None) -> tuple[Estimate, ...]:
    gain = Estimate(f"{option.step}_gain", "bits", option.gain.value, option.gain.low, option.gain.high)
    if costs is None or option.step == "model":
        return (gain,)
    currency = costs.prices.currency or "money"
    return (
        gain,
        Estimate(f"{option.step}_cost", currency, option.cost, option.cost, option.cost),
        Estimate(f"{option.step}_rate", f"bits per {currency}", option.rate, *option.rate_ends),
    )


def _option_text(option: Option, costs: Costs | None) -> str:
    price = ""
    if costs is not None and option.step != "model":
        price = f" for {money_text(option.cost, costs.prices.currency)}"
    gain = option.gain
    if gain.value < 0 and option.step == "model":
        return f"{option.what} loses {bits_with_interval(Difference(-gain.value, -gain.high, -gain.low))}"
    return f"{option.what} adds {bits_with_interval(gain)}{price}"


def _verdict(options: list[Option], paid: list[Option], told_apart: bool, costs: Costs | None) -> list[str]:
    model = next((one for one in options if one.step == "model"), None)
    parts = []
    if model is not None and model.gain.low > 0:
        parts.append(f"Change to {model.what} first: it needs no sequencing.")
    if paid and paid[0].gain.high <= 0:
        parts.append("More sequencing does not pay.")
    elif len(paid) > 1:
        unit = "for the same money" if costs is not None else "per doubling"
        certainty = "" if told_apart else ", but the intervals overlap"
        parts.append(f"{paid[0].what.capitalize()} pays most {unit}{certainty}.")
    return parts
