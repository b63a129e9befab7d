"""One piece of advice: numbers with intervals, a sentence that a lab can act on, and what is doubtful about it."""

from dataclasses import dataclass
from typing import Final, Literal

from nsl_assets.planning.plans import BestPlan

Question = Literal["target_depth", "headroom", "budget", "cheapest", "frontier", "what_pays"]

QUESTIONS: Final[dict[str, str]] = {
    "target_depth": "How deep?",
    "headroom": "What is left to gain?",
    "budget": "What does the budget buy?",
    "cheapest": "What is cheapest?",
    "frontier": "And for other money?",
    "what_pays": "What pays most?",
}
"""Every question in words, in the order of the answers."""

ADVICE_FLAGS: Final = {
    "extrapolated": "a depth or number of cells lies beyond what was measured; the interval holds if the law does",
    "imprecise": "the interval spans more than a factor of 4",
    "open_end": "the data set no upper (or lower) end",
    "no_plateau": "the curve does not bend enough within the measured depths to fix Imax or ū",
    "only_plateau": "even the shallowest level lies beyond the target depth: shallower levels would say how far",
    "misfit": "the curve contradicts the law by more than its noise: take the interval as too narrow",
    "not_monotone": "information falls with depth by more than seeds and noise explain",
    "few_pairs": "most estimates were made from fewer than 500 pairs and are unreliable: nothing follows from them",
    "above_ceiling": "Imax exceeds the entropy of the auxiliary signal, which is impossible",
    "few_levels": "fewer than 4 distinct noise levels",
    "one_seed": "one seed: differences between seeds cannot be seen, and the intervals leave them out",
    "not_replicated": "seeds repeat the same numbers: they are counted once",
    "not_converged": "a search did not settle",
    "at_edge": "the best plan lies at the edge of what was searched: a better one may lie beyond",
    "saturation_assumed": "no saturation was given: every read is taken for a new UMI, so reads are counted too low",
    "panel_assumed_complete": "no panel share was given: the file is taken to hold all genes",
    "one_size": "one training size was measured: nothing is known about cells",
    "not_told_apart": "the intervals overlap: the order of what pays is not certain",
}
"""Every flag of advice with its meaning."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; open ends are infinite (or 0 for a depth)."""

    name: str
    unit: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Advice:
    """The answer to one question about one model, or the refusal of an answer with what to do instead."""

    question: Question
    model: str
    n_cells: float
    """Training cells of the curve that was asked."""
    is_refused: bool
    sentence: str
    """Plain English; of a refusal, what was found and what to do."""
    estimates: tuple[Estimate, ...] = ()
    """Also of a refusal, as far as the data reach."""
    flags: tuple[str, ...] = ()
    """What is doubtful: keys of ``ADVICE_FLAGS``."""
    reason: str = ""
    """Of a refusal: why, in one clause."""
    plans: tuple[BestPlan, ...] = ()
    """Of the frontier: the best plan of each budget, cheapest first."""

    def __post_init__(self) -> None:
        ordered = tuple(flag for flag in ADVICE_FLAGS if flag in self.flags)
        object.__setattr__(self, "flags", ordered)

    def estimate(self, name: str) -> Estimate:
        """An estimate by its name. Raises KeyError where there is none."""
        for one in self.estimates:
            if one.name == name:
                return one
        raise KeyError(name)
