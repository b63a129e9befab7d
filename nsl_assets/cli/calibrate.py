"""`nsl calibrate`: the estimators on problems of known information, each result landed as soon as it is there."""

import difflib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

from nsl_assets.calibration import land_summaries, stored_rows, summary_of, write_csv
from nsl_assets.cli.calibrate_tables import problem_tables, totals, totals_table
from nsl_assets.cli.output import show, show_json
from nsl_assets.errors import InputError
from nsl_assets.probing import (
    NUMBERS_OF_PAIRS,
    EstimatorName,
    Family,
    KnownProblem,
    Piece,
    ProbingSettings,
    known_problems,
    problem_summaries,
    run_trials,
)
from nsl_assets.progress import Progress, duration
from nsl_assets.study import load_project, storage_root
from nsl_resources.artifacts import Artifacts
from nsl_resources.gpu import host_budget
from nsl_resources.results import CalibrationRow, Results

FEWEST_PAIRS: Final = 50
N_SEEDS: Final = 5
QUICK_PAIRS, QUICK_SEEDS = (500, 2_000), 2
WORKER_MIB: Final = 1_000
"""Memory that a process may need at 20,000 pairs, its libraries included."""
SECONDS: Final[dict[EstimatorName, tuple[float, float]]] = {
    "pooled": (3.0, 2e-3),
    "infonce": (3.0, 2e-3),
    "lmi": (1.5, 1e-3),
    "ksg": (0.1, 3e-4),
    "gaussian_copula": (0.2, 1e-4),
}
"""Rough processor seconds of an estimate: at any number of pairs, and more for each pair."""


@dataclass(frozen=True)
class CalibrateRequest:
    """What the user asks for on the command line; None: the default."""

    study: str | None = None
    estimators: Sequence[str] | None = None
    pairs: Sequence[int] | None = None
    problems: Sequence[str] | None = None
    families: Sequence[str] | None = None
    n_seeds: int | None = None
    is_quick: bool = False
    is_again: bool = False
    n_workers: int | None = None
    csv: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """The request with its names checked and its defaults filled in."""

    settings: ProbingSettings
    estimators: tuple[EstimatorName, ...]
    problems: tuple[KnownProblem, ...]
    pairs: tuple[int, ...]
    n_seeds: int
    n_workers: int


def calibrate_estimators(request: CalibrateRequest, *, as_json: bool) -> None:
    """Measure what is not in the table yet, landing it problem by problem; print all that was asked for.

    Raises InputError for names that do not exist, StorageError for a storage that cannot be used.
    """
    plan = _plan(request)
    Artifacts(storage_root()).require_writable()
    results = Results(storage_root())
    known = [] if request.is_again else stored_rows(results, plan.settings, plan.estimators)
    _measure(plan, _missing(plan, known), results)
    wanted = {(problem.name, n_pairs) for problem in plan.problems for n_pairs in plan.pairs}
    rows = [row for row in stored_rows(results, plan.settings, plan.estimators) if (row.problem, row.n_pairs) in wanted]
    if request.csv is not None:
        write_csv(request.csv, rows)
    if request.study is not None:
        Progress.on_stderr().say(f"`nsl run {request.study}` writes its report anew, with this calibration")
    _show(plan, rows, as_json=as_json)


def _plan(request: CalibrateRequest) -> _Plan:
    settings = ProbingSettings() if request.study is None else load_project().study(request.study).probing
    asked_for = request.estimators or settings.estimators
    _require_known("estimator", asked_for, get_args(EstimatorName))
    pairs = request.pairs or (QUICK_PAIRS if request.is_quick else NUMBERS_OF_PAIRS)
    if min(pairs) < FEWEST_PAIRS:
        raise InputError(f"--pairs {min(pairs)}: an estimate needs at least {FEWEST_PAIRS} pairs.")
    if request.csv is not None and not request.csv.absolute().parent.is_dir():
        raise InputError(f"--csv {request.csv}: there is no folder {request.csv.parent}. Make it, or name another.")
    return _Plan(
        settings=settings,
        estimators=tuple(name for name in get_args(EstimatorName) if name in asked_for),
        problems=_problems(request.problems, request.families),
        pairs=tuple(sorted(set(pairs))),
        n_seeds=request.n_seeds or (QUICK_SEEDS if request.is_quick else N_SEEDS),
        n_workers=request.n_workers or _most_workers(),
    )


def _most_workers() -> int:
    budget = host_budget()
    return max(1, min(budget.cores, int(budget.memory_mib // WORKER_MIB)))


def _problems(names: Sequence[str] | None, families: Sequence[str] | None) -> tuple[KnownProblem, ...]:
    problems = known_problems()
    _require_known("problem", names or (), [problem.name for problem in problems])
    _require_known("family", families or (), get_args(Family))
    chosen = [
        problem
        for problem in problems
        if (not names or problem.name in names) and (not families or problem.family in families)
    ]
    if not chosen:
        raise InputError(f"none of the problems {', '.join(names or ())} is of family {', '.join(families or ())}.")
    return tuple(chosen)


def _require_known(kind: str, names: Sequence[str], there_are: Sequence[str]) -> None:
    unknown = [name for name in names if name not in there_are]
    if not unknown:
        return
    close = difflib.get_close_matches(unknown[0], there_are, n=1)
    hint = f" Is it {close[0]!r}?" if close else ""
    raise InputError(f"there is no {kind} {unknown[0]!r}.{hint} There are: {', '.join(there_are)}.")


def _missing(plan: _Plan, known: Sequence[CalibrationRow]) -> list[Piece]:
    """What the table does not hold with as many seeds."""
    stored: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in known:
        if row.n_seeds >= plan.n_seeds:
            stored[row.problem, row.n_pairs].add(row.estimator)
    pieces = [
        Piece(problem, n_pairs, tuple(name for name in plan.estimators if name not in stored[problem.name, n_pairs]))
        for problem in plan.problems
        for n_pairs in plan.pairs
    ]
    return [piece for piece in pieces if piece.estimators]


def _measure(plan: _Plan, pieces: Sequence[Piece], results: Results) -> None:
    progress = Progress.on_stderr()
    n_all = len(plan.problems) * len(plan.pairs)
    seconds = sum(_seconds(piece) for piece in pieces) * plan.n_seeds / plan.n_workers
    left = f"{len(pieces)} to compute, at a rough guess {duration(seconds)} with {plan.n_workers} processes"
    progress.say(
        f"{len(plan.problems)} problems × {len(plan.pairs)} numbers of pairs × {plan.n_seeds} seeds, estimators"
        f" {', '.join(plan.estimators)}: {n_all - len(pieces)} of {n_all} stored already, {left if pieces else 'done'}"
    )
    progress.begin(len(pieces) * plan.n_seeds)

    def done(piece: Piece) -> None:
        progress.advance(f"{piece.problem.name} at {piece.n_pairs:,} pairs")

    n_processes = min(plan.n_workers, len(pieces) * plan.n_seeds)
    trials = run_trials(pieces, n_seeds=plan.n_seeds, settings=plan.settings, n_processes=n_processes, done=done)
    with closing(trials):
        for of_piece in trials:
            land_summaries(results, plan.settings, problem_summaries(of_piece))


def _seconds(piece: Piece) -> float:
    """Rough processor time of one sample; "infonce" comes for nothing with "pooled"."""
    counted = [name for name in piece.estimators if name != "infonce" or "pooled" not in piece.estimators]
    return sum(SECONDS[name][0] + SECONDS[name][1] * piece.n_pairs for name in counted)


def _show(plan: _Plan, rows: Sequence[CalibrationRow], *, as_json: bool) -> None:
    order = [problem.name for problem in plan.problems]
    summaries = sorted((summary_of(row) for row in rows), key=lambda one: (order.index(one.problem), one.n_pairs))
    if as_json:
        show_json({"calibration": [asdict(row) for row in rows], "totals": totals(summaries, plan.estimators)})
    else:
        show(f"{problem_tables(summaries, plan.estimators)}\n\n{totals_table(summaries, plan.estimators)}")
