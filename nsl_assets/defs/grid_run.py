"""One Dagster run over some partitions of the grid of one model: dispatch, record, report."""

from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import dagster as dg

from nsl_assets import noise
from nsl_assets.defs import keys
from nsl_assets.defs.events import combined_version, record_partition
from nsl_assets.defs.metadata import measurement_metadata, training_metadata
from nsl_assets.defs.versions import grid_version
from nsl_assets.errors import NslError
from nsl_assets.grid import Measuring, Outcome, Platform
from nsl_assets.progress import Progress
from nsl_assets.study import GridCell, Study


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

    def execute(self) -> None:
        """Measure all cells; record a partition the moment that its last seed succeeded; fail with the list."""
        cells = [cell for partition in self.context.partition_keys for cell in self._cells(partition)]
        self.progress.begin(len(cells))
        ended: dict[tuple[int, float], list[Outcome]] = defaultdict(list)
        failed: list[Outcome] = []
        with plain_failures(), closing(self._measure(cells)) as outcomes:
            for outcome in outcomes:
                self._report(outcome)
                failed += [outcome] * (outcome.status == "failed")
                of_partition = ended[outcome.cell.n_cells, outcome.cell.level]
                of_partition.append(outcome)
                if len(of_partition) == self.study.n_seeds:
                    self._record(of_partition)
        if failed:
            raise dg.Failure(_failure_text(failed), allow_retries=False)

    def _cells(self, partition: str) -> list[GridCell]:
        n_cells, level = keys.grid_point(partition)
        return [
            GridCell(task=self.of_task.task, model=self.model, n_cells=n_cells, level=level, seed=seed)
            for seed in self.study.seeds
        ]

    def _measure(self, cells: list[GridCell]) -> Generator[Outcome, None, None]:
        measuring = Measuring(self.study_name, self.study, self.platform, self.context.run.run_id)
        return measuring.run(cells, on_step=self._step)

    def _step(self, text: str) -> None:
        self.context.log.debug(text)
        self.progress.step(text)

    def _report(self, outcome: Outcome) -> None:
        is_failed = outcome.status == "failed"
        self.progress.advance(outcome.cell.label, is_reused=outcome.status == "reused", is_failed=is_failed)
        say = self.context.log.error if is_failed else self.context.log.info
        say(f"{outcome.status}: {self.progress.line(outcome.cell.label)}" + f" ({outcome.reason})" * is_failed)

    def _record(self, outcomes: list[Outcome]) -> None:
        if any(outcome.status == "failed" for outcome in outcomes):
            return
        partition = keys.grid_key(outcomes[0].cell.n_cells, outcomes[0].cell.level)
        versions = _data_versions(outcomes)
        upstream: dg.AssetKey = self.of_task.noised
        upstream_partition: str = noise.level_key(outcomes[0].cell.level)
        for asset in keys.GRID_ASSETS:
            key = self.of_task.of_model(self.model, asset)
            record_partition(
                self.context,
                key,
                partition,
                data_version=versions[asset],
                code_version=grid_version(asset, self.study, self.model),
                dependencies=[(upstream, [upstream_partition])],
                metadata=training_metadata(outcomes) if asset == "trained" else measurement_metadata(outcomes),
            )
            upstream, upstream_partition = key, partition


@contextmanager
def plain_failures() -> Iterator[None]:
    """An error that the user can act on fails the step with its message, not with a traceback."""
    try:
        yield
    except NslError as error:
        raise dg.Failure(str(error), allow_retries=False) from None


def _data_versions(outcomes: list[Outcome]) -> dict[str, str]:
    hashes = [outcome.hashes for outcome in outcomes]
    measurements = [digest for one in hashes for model in one.measured() for digest in model.measurement.values()]
    return {
        "trained": combined_version(one.trained.model for one in hashes),
        "embedding": combined_version(one.trained.embedding for one in hashes),
        "mutual_information": combined_version(measurements),
    }


def _failure_text(failed: list[Outcome]) -> str:
    lines = [f"{outcome.cell.label}: {outcome.reason}" for outcome in failed]
    return f"{len(failed)} cells of the grid failed; what succeeded is stored and published.\n" + "\n".join(lines)
