"""The depth that keeps a wanted share of what a model could know, or why the data cannot say it."""

from typing import Final

import numpy as np

from nsl_assets.laws import LevelsNeeded, levels_needed
from nsl_assets.planning.advice import Advice, Estimate
from nsl_assets.planning.costs import Sequencing
from nsl_assets.planning.evidence import REACH, Evidence
from nsl_assets.planning.wording import bits_with_interval, count_text, counts_with_interval, percent_text

IMPRECISE_FACTOR: Final = 4.0
DEPTH_UNIT: Final = "UMIs per cell"

ENOUGH_LEVELS: Final = 8
ENOUGH_SEEDS: Final = 3
"""With fewer, more of the same data is asked for before more sequencing: intervals narrow most up to here."""


def target_advice(evidence: Evidence, sequencing: Sequencing) -> Advice:
    """The target depth of the law's settings with its interval, against today's depth.

    Refused where the curve shows no information, where the target lies at or below 0 bits, or where the interval
    does not end within ``REACH`` times the deepest level (within the deepest level, where the curve contradicts the
    law): then the refusal says how many levels are missing. Refused too where the library does not hold the depth.
    Raises InputError for a depth of today that the library cannot hold.
    """
    sequencing.check_today(evidence.today_umis_per_cell)
    fit = evidence.fit
    imax = Estimate("imax_bits", "bits", fit.imax_bits, fit.imax_low_bits, fit.imax_high_bits)
    if evidence.tells_nothing:
        return _refusal(
            evidence,
            "the curve cannot be told from no information",
            f"The curve of {evidence.model} cannot be told from no information (Imax {bits_with_interval(imax)}), so "
            f"there is no depth to aim for. {evidence.remedy}",
            (imax,),
        )
    if fit.target_bits <= 0:
        return _refusal(
            evidence,
            "the target lies at or below 0 bits",
            f"{fit.target_label} is below 0 bits for {evidence.model}, whose Imax is {bits_with_interval(imax)}: any "
            "depth will do. Ask for fewer bits below Imax, or for a fraction of it.",
            (imax,),
        )
    target = Estimate("target_depth", DEPTH_UNIT, fit.target_depth, fit.target_depth_low, fit.target_depth_high)
    reach = 1.0 if "misfit" in fit.flags else REACH
    if not target.high <= reach * fit.deepest:
        return _refused_target(evidence, target, reach)
    if target.value > sequencing.largest_depth:
        return _beyond_library(evidence, target, sequencing)
    return _answer(evidence, target, sequencing)


def _refusal(
    evidence: Evidence, reason: str, sentence: str, estimates: tuple[Estimate, ...], flags: tuple[str, ...] = ()
) -> Advice:
    return Advice(
        "target_depth",
        evidence.model,
        evidence.n_cells,
        is_refused=True,
        sentence=sentence,
        estimates=estimates,
        flags=(*evidence.flags, *flags),
        reason=reason,
    )


def _beyond_library(evidence: Evidence, target: Estimate, sequencing: Sequencing) -> Advice:
    sentence = (
        f"To keep {_share(evidence)} could know, {counts_with_interval(target)} UMIs per cell are needed, but no "
        f"amount of sequencing gives that depth: the library holds {count_text(sequencing.largest_depth)} UMIs per "
        "cell of these genes. A library with more molecules (better capture, more input) is needed, or a lower target."
    )
    return _refusal(evidence, "the library does not hold the depth", sentence, (target,), sequencing.flags)


def _refused_target(evidence: Evidence, target: Estimate, reach: float) -> Advice:
    needed = levels_needed(evidence.curve, evidence.settings, reach=reach)
    doubling = float(np.log2(needed.spacing))
    estimates = (
        target,
        Estimate("levels_needed", "levels", needed.likely, needed.at_least, np.inf),
        Estimate("doublings_needed", "doublings", needed.likely * doubling, needed.at_least * doubling, np.inf),
        Estimate("depth_needed", DEPTH_UNIT, needed.depth(needed.likely), needed.depth(needed.at_least), np.inf),
    )
    found = _found(evidence, target, reach, count_text(needed.deepest))
    flags = ("no_plateau", "open_end") if np.isinf(target.high) else ("no_plateau",)
    is_misfit = "misfit" in evidence.fit.flags
    problem = "contradicts the law and" if is_misfit else ""
    reason = "the curve contradicts the law and has no plateau" if is_misfit else "the curve has no plateau"
    first, then = _measure_first(evidence), _what_to_do(needed)
    advice = f"{first}{then[0].lower()}{then[1:]}" if first else then
    sentence = f"The curve of {evidence.model} {problem} has no plateau: {found}. {advice}"
    return _refusal(evidence, reason, sentence.replace("  ", " "), estimates, flags)


def _found(evidence: Evidence, target: Estimate, reach: float, deepest: str) -> str:
    label = evidence.fit.target_label
    if np.isinf(target.high) and count_text(target.low) == "0":
        return f"at which depth {label} is reached is open on both sides, from levels up to {deepest}"
    if np.isinf(target.high):
        return (
            f"{label} is reached at {count_text(target.low)} UMIs per cell or more, and from levels up to {deepest} no "
            "upper end follows"
        )
    where = "the deepest level" if reach == 1 else f"{reach:g} times the deepest level"
    return (
        f"{label} would be reached at {counts_with_interval(target)} UMIs per cell, and an interval that ends beyond "
        f"{where} ({deepest}) cannot be trusted"
    )


def _measure_first(evidence: Evidence) -> str:
    """What more of the same data could settle, before anything is sequenced; empty where the study is large enough."""
    fit = evidence.fit
    if fit.n_levels >= ENOUGH_LEVELS and fit.n_seeds >= ENOUGH_SEEDS:
        return ""
    return (
        f"First run more noise levels and seeds on the same data, which costs computing only: {ENOUGH_LEVELS} levels "
        f"and {ENOUGH_SEEDS} seeds (now {fit.n_levels} and {fit.n_seeds}). If that leaves it open: "
    )


def _what_to_do(needed: LevelsNeeded) -> str:
    if np.isinf(needed.at_least):
        return (
            "No number of further levels is likely to show it with these seeds: measure more seeds first, or choose a "
            "task on which the model knows more."
        )
    levels = "level" if needed.at_least == 1 else "levels"
    text = (
        f"Sequence at least {needed.at_least:.0f} {levels} deeper, to {count_text(needed.depth(needed.at_least))} UMIs "
        f"per cell ({needed.at_least * np.log2(needed.spacing):.1f} doublings; levels a factor of {needed.spacing:.2g} "
        "apart, as in this study)"
    )
    if np.isinf(needed.likely):
        return f"{text}; by the best fit the plateau may lie beyond any depth."
    return f"{text}; by the best fit {needed.likely:.0f}." if needed.likely > needed.at_least else f"{text}."


def _answer(evidence: Evidence, target: Estimate, sequencing: Sequencing) -> Advice:
    today = evidence.today_umis_per_cell
    factor = _factor_of_reads(target, today, sequencing)
    spare = Estimate("spare_reads_share", "share", 1 - factor.value, 1 - factor.high, 1 - factor.low)
    flags = [*evidence.flags, *sequencing.flags]
    flags += ["extrapolated"] if target.high > evidence.fit.deepest else []
    flags += ["imprecise"] if target.high > IMPRECISE_FACTOR * target.low else []
    sentence = (
        f"Sequence to {counts_with_interval(target)} UMIs per cell to keep {_share(evidence)} could know with "
        f"{evidence.n_cells:,.0f} training cells; {_against_today(target, today, factor)}{evidence.warning}"
    )
    return Advice(
        "target_depth",
        evidence.model,
        evidence.n_cells,
        is_refused=False,
        sentence=sentence,
        estimates=(target, factor, spare, Estimate("today_depth", DEPTH_UNIT, today, today, today)),
        flags=tuple(flags),
    )


def _share(evidence: Evidence) -> str:
    fit = evidence.fit
    if fit.target_fraction is None:
        return f"all but {evidence.settings.target.bits_below:.2g} bits of what {evidence.model}"
    return f"{100 * fit.target_fraction:.3g} % of what {evidence.model}"


def _factor_of_reads(target: Estimate, today: float, sequencing: Sequencing) -> Estimate:
    """Reads for the target over reads of today."""
    reads = sequencing.reads_per_cell([target.value, target.low, target.high]) / sequencing.reads_per_cell(today)
    return Estimate("reads_factor", "reads over today's", *reads.tolist())


def _against_today(target: Estimate, today: float, factor: Estimate) -> str:
    here = f"today's {count_text(today)}"
    if target.high <= today:
        return (
            f"{here} are deep enough: {percent_text(1 - factor.value)} of the reads (at least "
            f"{percent_text(1 - factor.high)}) could go to more cells."
        )
    if target.low > today:
        return f"{here} are too shallow: {_times(factor)} the reads per cell are needed."
    return f"whether {here} are deep enough cannot be told."


def _times(factor: Estimate) -> str:
    high = "more than the library can give" if np.isinf(factor.high) else f"{factor.high:.1f}"
    return f"{factor.value:.1f} ({factor.low:.1f} to {high}) times"
