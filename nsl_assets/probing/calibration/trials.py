"""Trials of estimators on problems of known information, in several processes, and their summary by problem."""

import multiprocessing
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from nsl_assets.probing.calibration.problems import Family, KnownProblem, problem_named
from nsl_assets.probing.estimates import Estimate, estimate_all
from nsl_assets.probing.settings import EstimatorName, ProbingSettings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NUMBERS_OF_PAIRS: Final = (500, 2_000, 10_000)
FIRST_SEED: Final = 10
_ROUNDING_BITS: Final = 1e-9


@dataclass(frozen=True)
class Trial:
    """One estimate on one sample of a problem, and the CPU seconds that it took."""

    problem: str
    n_pairs: int
    seed: int
    true_bits: float
    estimate: Estimate
    cpu_seconds: float

    @property
    def error_bits(self) -> float:
        """Estimate minus truth."""
        return self.estimate.value_bits - self.true_bits

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth."""
        return self.is_above_low and self.true_bits <= self.estimate.high_bits + _ROUNDING_BITS

    @property
    def is_above_low(self) -> bool:
        """Whether the truth lies above the interval's lower end."""
        return self.estimate.low_bits <= self.true_bits + _ROUNDING_BITS


@dataclass(frozen=True)
class ProblemSummary:
    """What an estimator did on the samples of one problem at one number of pairs; means over seeds, in bits."""

    problem: str
    family: Family
    is_fresh: bool
    is_categorical: bool
    estimator: EstimatorName
    n_pairs: int
    n_seeds: int
    true_bits: float
    value_bits: float
    bias_bits: float
    sd_bits: float
    low_bits: float
    high_bits: float
    median_width_bits: float
    floor_bits: float
    gap_bits: float | None
    beyond_gaussian_bits: float | None
    holds_share: float
    above_low_share: float
    unreliable_share: float
    cpu_seconds: float


@dataclass(frozen=True)
class Piece:
    """One problem at one number of pairs, and the estimators that are tried on its samples."""

    problem: KnownProblem
    n_pairs: int
    estimators: tuple[EstimatorName, ...]


def run_trials(
    pieces: Sequence[Piece],
    *,
    n_seeds: int,
    settings: ProbingSettings,
    n_processes: int = 1,
    done: Callable[[Piece], None] = lambda _: None,
) -> Generator[list[Trial], None, None]:
    """The trials of one piece after the other, each on ``n_seeds`` samples; numbers do not depend on the processes.

    ``done`` is called after each of the len(pieces) × n_seeds samples. The processes end with this one, and when
    the generator is closed.
    """
    samples = [(p.problem.name, p.n_pairs, p.estimators, seed) for p in pieces for seed in _seeds(n_seeds)]
    with closing(_mapped(partial(_trials_of_sample, settings=settings), samples, n_processes)) as of_samples:
        for piece in pieces:
            trials: list[Trial] = []
            for _ in range(n_seeds):
                trials.extend(next(of_samples))
                done(piece)
            yield trials


Sample = tuple[str, int, tuple[EstimatorName, ...], int]


def _seeds(n_seeds: int) -> range:
    """Samples that the headline rule was not chosen on: it has seen those before ``FIRST_SEED``."""
    return range(FIRST_SEED, FIRST_SEED + n_seeds)


def _mapped(
    work: Callable[[Sample], list[Trial]], samples: Sequence[Sample], n_processes: int
) -> Generator[list[Trial], None, None]:
    if n_processes == 1:
        yield from map(work, samples)
        return
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    # The pipe is closed before the pool, which would else wait for all that its processes have begun.
    with ProcessPoolExecutor(n_processes, context, _end_with, (receiver,)) as pool, receiver, sender:
        yield from pool.map(work, samples)


def _end_with(receiver: "Connection") -> None:
    """End this process when the other end of the pipe is closed, also by the death of its owner."""

    def wait() -> None:
        receiver.poll(None)
        os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()


_problem_named = cache(problem_named)
"""Problems that remember their true information, which takes seconds by Monte Carlo."""


def _trials_of_sample(sample: Sample, *, settings: ProbingSettings) -> list[Trial]:
    from threadpoolctl import threadpool_limits

    name, n_pairs, estimators, seed = sample
    problem = _problem_named(name)
    x, y = problem.sample(n_pairs, seed=seed)
    trials = []
    with threadpool_limits(1):
        start = time.process_time()
        for estimate in estimate_all(x, y, estimators=estimators, settings=settings, seed=seed):
            stop = time.process_time()
            trials.append(Trial(name, n_pairs, seed, problem.true_bits, estimate, stop - start))
            start = time.process_time()
    return trials


def problem_summaries(trials: Sequence[Trial]) -> list[ProblemSummary]:
    """One summary by problem, number of pairs and estimator, in the order of the trials."""

    def key(trial: Trial) -> tuple[str, int, str]:
        return trial.problem, trial.n_pairs, trial.estimate.estimator

    order = {k: number for number, k in enumerate(dict.fromkeys(map(key, trials)))}
    ordered = sorted(trials, key=lambda trial: order[key(trial)])
    return [_summary(list(group)) for _, group in groupby(ordered, key)]


def _summary(trials: Sequence[Trial]) -> ProblemSummary:
    first = trials[0]
    problem, estimates = _problem_named(first.problem), [trial.estimate for trial in trials]
    return ProblemSummary(
        problem=problem.name,
        family=problem.family,
        is_fresh=problem.is_fresh,
        is_categorical=estimates[0].ceiling_bits is not None,
        estimator=estimates[0].estimator,
        n_pairs=first.n_pairs,
        n_seeds=len(trials),
        true_bits=first.true_bits,
        value_bits=statistics.fmean(one.value_bits for one in estimates),
        bias_bits=statistics.fmean(trial.error_bits for trial in trials),
        sd_bits=float(np.std([one.value_bits for one in estimates], ddof=1)) if len(trials) > 1 else 0.0,
        low_bits=statistics.fmean(one.low_bits for one in estimates),
        high_bits=statistics.fmean(one.high_bits for one in estimates),
        median_width_bits=statistics.median(one.high_bits - one.low_bits for one in estimates),
        floor_bits=statistics.fmean(one.floor_bits for one in estimates),
        gap_bits=_mean_diagnostic(estimates, "gap_bits"),
        beyond_gaussian_bits=_mean_diagnostic(estimates, "beyond_gaussian_bits"),
        holds_share=statistics.fmean(trial.holds for trial in trials),
        above_low_share=statistics.fmean(trial.is_above_low for trial in trials),
        unreliable_share=statistics.fmean("unreliable" in one.flags for one in estimates),
        cpu_seconds=statistics.fmean(trial.cpu_seconds for trial in trials),
    )


def _mean_diagnostic(estimates: Sequence[Estimate], name: str) -> float | None:
    known = [one.diagnostics[name] for one in estimates if name in one.diagnostics]
    return statistics.fmean(known) if known else None
