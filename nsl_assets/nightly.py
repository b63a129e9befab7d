"""Which partitions of the grid one night takes on: deepest noise levels first, cheap models first, within a limit."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from nsl_assets.errors import StorageError
from nsl_assets.estimate import cells_cost
from nsl_assets.grid import Platform
from nsl_assets.progress import duration
from nsl_assets.study import GridCell, Night, Study
from nsl_resources.results import Results


@dataclass(frozen=True)
class GridPoint:
    """One partition of the grid: all seeds of a model at one training size and noise level."""

    task: str
    model: str
    n_cells: int
    level: float

    def cells(self, study: Study) -> list[GridCell]:
        """Its replicates."""
        return [
            GridCell(task=self.task, model=self.model, n_cells=self.n_cells, level=self.level, seed=seed)
            for seed in study.seeds
        ]

    @property
    def label(self) -> str:
        """Short text for people."""
        return f"{self.task} {self.model} n={self.n_cells} q={self.level:g}"


@dataclass(frozen=True)
class Missing:
    """A partition that is missing, and what it is expected to take."""

    point: GridPoint
    n_grid_cells: int
    seconds: float


@dataclass(frozen=True)
class NightPlan:
    """What one night takes on, and why no more."""

    chosen: tuple[Missing, ...]
    n_missing: int
    given_up: tuple[GridPoint, ...]
    night: Night

    @property
    def blocks(self) -> list[tuple[GridPoint, ...]]:
        """What is chosen, by noise level, task and model: each block is one run, in the order of the night.

        A block spans training sizes between which none was given up.
        """
        points = [one.point for one in self.chosen]
        return [tuple(block) for _, block in groupby(points, key=self._block_key)]

    def _block_key(self, point: GridPoint) -> tuple[float, str, str, int]:
        row = (point.level, point.task, point.model)
        skipped = [one for one in self.given_up if (one.level, one.task, one.model) == row]
        return (*row, sum(one.n_cells < point.n_cells for one in skipped))

    @property
    def text(self) -> str:
        """The plan in words."""
        return " ".join(filter(None, [self._chosen_text(), self._given_up_text()]))

    def _chosen_text(self) -> str:
        if not self.n_missing:
            return "no partition of the grid is missing." if not self.given_up else "nothing is left to start."
        limit = f"{self.night.max_grid_cells} cells of the grid and {self.night.max_hours:g} h a night"
        if not self.chosen:
            return (
                f"{self.n_missing} partitions are missing, but already the first of them exceeds the limit of {limit}:"
                " raise max_grid_cells or max_hours of [studies.STUDY.night]."
            )
        levels = ", ".join(f"{level:g}" for level in dict.fromkeys(one.point.level for one in self.chosen))
        seconds = sum(one.seconds for one in self.chosen)
        n_grid_cells = sum(one.n_grid_cells for one in self.chosen)
        return (
            f"{len(self.chosen)} of {self.n_missing} missing partitions, {n_grid_cells} cells of the grid,"
            f" {duration(seconds)}, at noise levels {levels}; the limit is {limit}."
        )

    def _given_up_text(self) -> str:
        if not self.given_up:
            return ""
        named = ", ".join(point.label for point in self.given_up[:3]) + ", …" * (len(self.given_up) > 3)
        return (
            f"{len(self.given_up)} partitions failed in {self.night.max_failed_runs} or more runs and are left to you"
            f" ({named}): `nsl status` says why."
        )


def plan_night(missing: Iterable[Missing], given_up: Sequence[GridPoint], night: Night) -> NightPlan:
    """Take missing partitions until the next one would exceed a limit: deepest first, at each level cheapest first."""
    ordered = _by_level_and_cost(missing)
    chosen: list[Missing] = []
    n_grid_cells, seconds = 0, 0.0
    for one in ordered:
        n_grid_cells, seconds = n_grid_cells + one.n_grid_cells, seconds + one.seconds
        if n_grid_cells > night.max_grid_cells or seconds > night.max_hours * 3_600:
            break
        chosen.append(one)
    return NightPlan(tuple(chosen), len(ordered), tuple(given_up), night)


def _by_level_and_cost(missing: Iterable[Missing]) -> list[Missing]:
    """Deepest first; at a level the models in order of their dearest partition, each from few cells to many."""
    every = list(missing)
    dearest: dict[tuple[str, str], float] = {}
    for one in every:
        model = (one.point.task, one.point.model)
        dearest[model] = max(dearest.get(model, 0.0), one.seconds)
    return sorted(
        every,
        key=lambda one: (
            -one.point.level,
            dearest[one.point.task, one.point.model],
            one.point.task,
            one.point.model,
            one.point.n_cells,
        ),
    )


def priced(name: str, study: Study, points: Iterable[GridPoint], platform: Platform) -> list[Missing]:
    """Each partition with its expected wall-clock time on this machine: the mean of its model and training size."""
    alike: dict[tuple[str, str, int], list[GridPoint]] = defaultdict(list)
    for point in points:
        alike[point.task, point.model, point.n_cells].append(point)
    found = []
    for group in alike.values():
        cost = cells_cost(name, study, (cell for point in group for cell in point.cells(study)), platform)
        found += [Missing(point, study.n_seeds, cost.seconds / len(group)) for point in group]
    return found


def failed_runs(name: str, results: Results) -> Mapping[GridPoint, int]:
    """In how many Dagster runs each partition of a study had a worker that failed."""
    results.publish()
    try:
        with results.connect() as database:
            rows = database.execute(
                "select task, model, n_cells, level, count(distinct dagster_run_id) from run"
                " where study = ? and status = 'failed' group by all",
                [name],
            ).fetchall()
    except StorageError:
        return {}
    return {GridPoint(task, model, n_cells, level): n for task, model, n_cells, level, n in rows}
