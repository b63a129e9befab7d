"""One Dagster run over some partitions of the grid of one model: dispatch, record, report."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import dagster as dg

from nsl_assets import noise
from nsl_assets.defs import keys
from nsl_assets.defs.events import Read, combined_version, just_recorded, newest, record_partition
from nsl_assets.defs.metadata import measurement_metadata, noised_metadata, training_metadata
from nsl_assets.defs.versions import grid_version, noised_version
from nsl_assets.errors import NslError
from nsl_assets.estimate import cells_cost
from nsl_assets.grid import Measuring, Noised, Outcome, Platform, prepare_noised
from nsl_assets.identity import noised_hash
from nsl_assets.launching import require_launchable
from nsl_assets.progress import Progress
from nsl_assets.public_data import require_data_sets
from nsl_assets.study import GridCell, Study

LINE_EVERY_S = 2.0
"""Between lines in the log of a run about work that goes well; failures are logged at once."""


@dataclass
class GridRun:
    """One Dagster run over some partitions of the grid of one model."""

    study_name: str
    study: Study
    of_task: keys.TaskKeys
    model: str
    context: dg.AssetExecutionContext
    platform: Platform
    progress: Progress
    ended: dict[tuple[int, float], list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    noised: dict[float, list[Read]] = field(default_factory=dict)
    next_line_s: float = 0.0

    def execute(self) -> None:
        """Measure all cells; record a partition the moment that its last seed succeeded; fail with the list.

        Nothing starts where the machine has too little memory or disk. What is missing of the noise levels is thinned
        first. Cells whose worker was killed are tried again when all others are done; for want of memory, at once.
        """
        cells = [cell for partition in self.context.partition_keys for cell in self._cells(partition)]
        with plain_failures():
            require_data_sets(self.study, [self.of_task.task])
            self._require_launchable(cells)
            self._thin({level for cell in cells for level in (cell.level, *self.study.probe_levels_of(cell))})
            self.progress.begin(len(cells))
            failed = self._measure(cells, n_retries=self.platform.machine.worker_retries)
        if failed:
            raise dg.Failure(_failure_text(failed), allow_retries=False)

    def _measure(self, cells: list[GridCell], n_retries: int) -> list[Outcome]:
        """Those that failed for good."""
        failed, lost = [], []
        measuring = Measuring(self.study_name, self.study, self.platform, self.context.run.run_id)
        with closing(measuring.run(cells, on_step=self._step)) as outcomes:
            for outcome in outcomes:
                if n_retries and is_worth_a_retry(outcome):
                    lost.append(outcome)
                    self.context.log.warning(f"tried again later: {outcome.cell.label} ({outcome.reason})")
                else:
                    self._take_in(outcome)
                    failed += [outcome] * (outcome.status == "failed")
        return failed + (self._measure([outcome.cell for outcome in lost], n_retries - 1) if lost else [])

    def _take_in(self, outcome: Outcome) -> None:
        self._report(outcome)
        of_partition = self.ended[outcome.cell.n_cells, outcome.cell.level]
        of_partition.append(outcome)
        if len(of_partition) == self.study.n_seeds:
            self._record(of_partition)

    def _require_launchable(self, cells: list[GridCell]) -> None:
        cost = cells_cost(self.study_name, self.study, cells, self.platform)
        require_launchable(cost, self.platform.machine, self.platform.artifacts)

    def _thin(self, levels: set[float]) -> None:
        """Partitions of `noised` that are missing, thinned and recorded in this run."""
        there = self.context.instance.get_materialized_partitions(self.of_task.noised)
        for level in sorted(levels, reverse=True):
            if noise.level_key(level) not in there or not self._is_stored(level):
                thin(self.context, self.study, self.of_task, level, self.platform)

    def _is_stored(self, level: float) -> bool:
        hashes = (noised_hash(self.study, self.of_task.task, level, seed) for seed in self.study.seeds)
        return all(self.platform.artifacts.is_complete("noised", digest) for digest in hashes)

    def _cells(self, partition: str) -> list[GridCell]:
        n_cells, level = keys.grid_point(partition)
        return [
            GridCell(task=self.of_task.task, model=self.model, n_cells=n_cells, level=level, seed=seed)
            for seed in self.study.seeds
        ]

    def _step(self, text: str) -> None:
        self.progress.step(text)
        if self._is_due():
            self.context.log.debug(text)

    def _report(self, outcome: Outcome) -> None:
        is_failed = outcome.status == "failed"
        self.progress.advance(outcome.cell.label, is_reused=outcome.status == "reused", is_failed=is_failed)
        text = f"{outcome.status}: {self.progress.line(outcome.cell.label)}"
        if is_failed:
            self.context.log.error(f"{text} ({outcome.reason})")
        elif self._is_due() or self.progress.done == self.progress.total:
            self.context.log.info(text)

    def _is_due(self) -> bool:
        """Whether the last line is some time ago: every line is a transaction of the event log."""
        now_s = time.monotonic()
        if now_s < self.next_line_s:
            return False
        self.next_line_s = now_s + LINE_EVERY_S
        return True

    def _record(self, outcomes: list[Outcome]) -> None:
        if any(outcome.status == "failed" for outcome in outcomes):
            return
        partition = keys.grid_key(outcomes[0].cell.n_cells, outcomes[0].cell.level)
        versions = _data_versions(outcomes)
        upstream = self._noised_as_read(outcomes[0].cell.level)
        for asset in keys.GRID_ASSETS:
            key = self.of_task.of_model(self.model, asset)
            record_partition(
                self.context,
                key,
                partition,
                data_version=versions[asset],
                code_version=grid_version(asset, self.study, self.model),
                dependencies=upstream,
                metadata=training_metadata(outcomes) if asset == "trained" else measurement_metadata(outcomes),
            )
            upstream = [just_recorded(self.context.instance, key, versions[asset])]

    def _noised_as_read(self, level: float) -> list[Read]:
        if level not in self.noised:
            self.noised[level] = newest(self.context.instance, self.of_task.noised, [noise.level_key(level)])
        return self.noised[level]


def thin(
    context: dg.AssetExecutionContext, study: Study, of_task: keys.TaskKeys, level: float, platform: Platform
) -> list[Noised]:
    """Store one noise level, one artifact a seed, and record that partition of `noised`."""
    stored = [prepare_noised(study, of_task.task, level, seed, platform) for seed in study.seeds]
    record_partition(
        context,
        of_task.noised,
        noise.level_key(level),
        data_version=combined_version(one.hash for one in stored),
        code_version=noised_version(study),
        dependencies=newest(context.instance, of_task.source),
        metadata=noised_metadata(stored),
    )
    return stored


def is_worth_a_retry(outcome: Outcome) -> bool:
    """Whether a cell of the grid failed by what happened to its worker, not by its data, settings or code.

    Who ran out of memory was run again with more already (`run_repeating`).
    """
    reason = "" if outcome.worker is None else outcome.worker.reason
    return reason == "lost" or reason.startswith("killed by signal")


@contextmanager
def plain_failures() -> Iterator[None]:
    """An error that the user can act on fails the step with its message, not with a traceback."""
    try:
        yield
    except NslError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _data_versions(outcomes: list[Outcome]) -> dict[str, str]:
    hashes = [outcome.hashes for outcome in outcomes]
    measurements = [digest for one in hashes for model in one.probed() for digest in model.measurement.values()]
    return {
        "trained": combined_version(one.trained.model for one in hashes),
        "embedding": combined_version(model.embedding for one in hashes for model in (one.trained, *one.crossed)),
        "mutual_information": combined_version(measurements),
    }


def _failure_text(failed: list[Outcome]) -> str:
    lines = [f"{outcome.cell.label}: {outcome.reason}" for outcome in failed]
    return f"{len(failed)} cells of the grid failed; what succeeded is stored and published.\n" + "\n".join(lines)
