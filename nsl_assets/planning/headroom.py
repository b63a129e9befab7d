"""How many bits more depth would still give: without limit, and at twice today's depth."""

import numpy as np

from nsl_assets.laws import depth_gain, noise_law, noise_law_band
from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.evidence import Evidence
from nsl_assets.planning.wording import bits_text, bits_with_interval, count_text


def headroom_advice(evidence: Evidence) -> Advice:
    """Gains in bits from today's depth at one training size; profile-likelihood intervals, open where the data are."""
    if evidence.tells_nothing:
        return _refusal(evidence)
    today = evidence.today_umis_per_cell
    infinite, doubled = (
        Estimate(name, "bits", gain.value, gain.low, gain.high)
        for name, gain in (
            ("gain_at_infinite_depth", depth_gain(evidence.curve, evidence.settings, today, np.inf)),
            ("gain_at_twice_the_depth", depth_gain(evidence.curve, evidence.settings, today, 2 * today)),
        )
    )
    now = information_at(evidence, today)
    flags = [*evidence.flags]
    flags += ["open_end"] if np.isinf(infinite.high) else []
    flags += ["extrapolated"] if today > evidence.fit.deepest else []
    return Advice(
        "headroom",
        evidence.model,
        evidence.n_cells,
        is_refused=False,
        sentence=_sentence(evidence, now, infinite, doubled),
        estimates=(infinite, doubled, now),
        flags=tuple(flags),
    )


def _refusal(evidence: Evidence) -> Advice:
    return Advice(
        "headroom",
        evidence.model,
        evidence.n_cells,
        is_refused=True,
        sentence=f"The curve of {evidence.model} cannot be told from no information, so nothing can be said about what "
        f"depth would add. {evidence.remedy}",
        flags=evidence.flags,
        reason="the curve cannot be told from no information",
    )


def information_at(evidence: Evidence, umis_per_cell: float) -> Estimate:
    """Information by the noise law at one depth, with the band of the fit."""
    depth = np.array([umis_per_cell])
    low, high = noise_law_band(evidence.curve, evidence.fit, depth)
    value = noise_law(depth, evidence.fit.imax_bits, evidence.fit.ubar)
    return Estimate("information", "bits", float(value[0]), float(low[0]), float(high[0]))


def _sentence(evidence: Evidence, now: Estimate, infinite: Estimate, doubled: Estimate) -> str:
    today = count_text(evidence.today_umis_per_cell)
    twice = f"twice today's {today} UMIs per cell would add {bits_with_interval(doubled)} to {bits_text(now.value)}"
    if np.isinf(infinite.high):
        without_limit = (
            f"how much depth without limit would add cannot be bounded: at least {bits_text(infinite.low)} bits"
        )
    else:
        without_limit = f"depth without limit {bits_with_interval(infinite)}"
    return f"{evidence.model} with {evidence.n_cells:,.0f} training cells: {twice}; {without_limit}.{evidence.warning}"
