"""The tables of `nsl calibrate`: every problem by number of pairs, and what holds over all problems."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from nsl_assets.cli.output import table
from nsl_assets.probing import ProblemSummary

COLUMNS: Final[dict[str, Callable[[ProblemSummary], str]]] = {
    "bias": lambda one: f"{one.bias_bits:+.2f}",
    "sd": lambda one: f"{one.sd_bits:.2f}",
    "holds": lambda one: f"{one.holds_share:.0%}",
    "width": lambda one: f"{one.median_width_bits:.2f}",
    "flag": lambda one: f"{one.unreliable_share:.0%}",
    "CPU s": lambda one: f"{one.cpu_seconds:.1f}",
}
SUITES: Final = {False: "frozen suite", True: "fresh problems"}
LEGEND: Final = (
    "bias, sd: mean error and standard deviation over the seeds (bits); holds: share of intervals that hold the truth;"
    "\nwidth: their median width (bits); flag: share of estimates flagged unreliable; CPU s: one estimate, one core"
)


def problem_tables(summaries: Sequence[ProblemSummary], estimators: Iterable[str]) -> str:
    """One table an estimator and suite: a line a problem, its figures side by side by number of pairs."""
    parts = []
    for estimator in estimators:
        for is_fresh, suite in SUITES.items():
            chosen = [one for one in summaries if one.estimator == estimator and one.is_fresh == is_fresh]
            if chosen:
                parts.append(f"{estimator}, {suite}\n{_problem_table(chosen)}")
    return "\n\n".join([*parts, LEGEND])


def _problem_table(summaries: Sequence[ProblemSummary]) -> str:
    sizes = sorted({one.n_pairs for one in summaries})
    by_place = {(one.problem, one.n_pairs): one for one in summaries}
    problems = {one.problem: one for one in summaries}
    left = [["", "problem"], ["", "family"], ["", "truth"]]
    for one in problems.values():
        for column, text in zip(left, (one.problem, one.family, f"{one.true_bits:.2f}"), strict=True):
            column.append(text)
    lines = _aligned(left, is_right=(False, False, True))
    for n_pairs in sizes:
        of_size = [by_place.get((name, n_pairs)) for name in problems]
        columns = [[name, *("–" if one is None else write(one) for one in of_size)] for name, write in COLUMNS.items()]
        block = _aligned(columns, is_right=(True,) * len(columns))
        heading = f"{n_pairs:,} pairs".center(len(block[0]), "─")
        lines = [f"{line} │ {right}" for line, right in zip(lines, [heading, *block], strict=True)]
    return "\n".join(lines)


def _aligned(columns: Sequence[Sequence[str]], *, is_right: Sequence[bool]) -> list[str]:
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_right, strict=True)
        )
        for line in zip(*columns, strict=True)
    ]


def totals(summaries: Sequence[ProblemSummary], estimators: Iterable[str]) -> list[dict[str, Any]]:
    """What holds over all problems of a suite at one number of pairs; curved problems count for `above_low` only."""
    return [
        _total(estimator, suite, n_pairs, chosen)
        for estimator in estimators
        for is_fresh, suite in SUITES.items()
        for n_pairs in sorted({one.n_pairs for one in summaries})
        if (chosen := [o for o in summaries if (o.estimator, o.is_fresh, o.n_pairs) == (estimator, is_fresh, n_pairs)])
    ]


def _total(estimator: str, suite: str, n_pairs: int, summaries: Sequence[ProblemSummary]) -> dict[str, Any]:
    straight = [one for one in summaries if one.family != "curved"]
    curved = [one for one in summaries if one.family == "curved"]
    return {
        "estimator": estimator,
        "suite": suite,
        "n_pairs": n_pairs,
        "n_problems": len(summaries),
        "holds_share": _mean(one.holds_share for one in straight),
        "holds_share_curved": _mean(one.holds_share for one in curved),
        "median_width_bits": statistics.median(one.median_width_bits for one in straight) if straight else None,
        "mean_absolute_bias_bits": _mean(abs(one.bias_bits) for one in straight),
        "above_low_share": _mean(one.above_low_share for one in summaries),
    }


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known else None


def totals_table(summaries: Sequence[ProblemSummary], estimators: Iterable[str]) -> str:
    """The totals for people."""
    names = {
        "estimator": "estimator",
        "suite": "suite",
        "n_pairs": "pairs",
        "n_problems": "problems",
        "holds_share": "interval holds",
        "holds_share_curved": "curved",
        "median_width_bits": "median width",
        "mean_absolute_bias_bits": "mean |bias|",
        "above_low_share": "truth above low",
    }
    rows = [
        {names[name]: round(value, 3) if isinstance(value, float) else value for name, value in total.items()}
        for total in totals(summaries, estimators)
    ]
    return f"over all problems (shares and bits; curved ones apart)\n{table(rows)}"
