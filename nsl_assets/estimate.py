"""What a study will cost, before it runs: cells of the grid, time, memory and disk."""

from collections import defaultdict
from dataclasses import dataclass

from nsl_assets.grid import PROBING_MIB, Platform, is_measured
from nsl_assets.identity import cell_hashes
from nsl_assets.models import estimate_cost
from nsl_assets.study import GridCell, Study
from nsl_assets.tasks import outline
from nsl_resources.gpu import host_budget
from nsl_resources.results import Results

START_UP_S = 4.0
"""Start of a worker: interpreter and imports."""
STORED_MIB_PER_MILLION_COUNTS = 1.5
"""Disk of thinned counts: 88 MB for 62 million nonzero counts, rounded up."""
COUNTS_PER_CELL = 1_500
"""Nonzero counts of a cell, where the file was not read yet."""


@dataclass(frozen=True)
class ModelCost:
    """Cost of one model on one task, over its part of the grid."""

    task: str
    model: str
    n_grid_cells: int
    n_left: int
    seconds_a_cell: float
    is_recorded: bool
    """Whether the time comes from earlier runs, rather than from a formula."""
    memory_mib: float
    disk_mib: float


@dataclass(frozen=True)
class StudyCost:
    """Cost of a study."""

    models: tuple[ModelCost, ...]
    n_workers: int
    noised_disk_mib: float

    @property
    def n_grid_cells(self) -> int:
        """Replicates of grid cells: one worker process each."""
        return sum(model.n_grid_cells for model in self.models)

    @property
    def n_left(self) -> int:
        """What is not stored yet."""
        return sum(model.n_left for model in self.models)

    @property
    def seconds(self) -> float:
        """Expected time on this machine, all workers at work."""
        return sum(model.n_left * model.seconds_a_cell for model in self.models) / self.n_workers

    @property
    def memory_mib(self) -> float:
        """Expected memory of all workers at work."""
        return max((model.memory_mib for model in self.models), default=0.0) * self.n_workers

    @property
    def disk_mib(self) -> float:
        """Expected disk of what is left: thinned counts, models, embeddings."""
        return self.noised_disk_mib + sum(model.disk_mib for model in self.models)


def study_cost(name: str, study: Study, platform: Platform) -> StudyCost:
    """Cost of what is left of a study on this machine.

    Time comes from earlier runs of the same model at the same number of training cells, where there are any.
    """
    by_model: dict[tuple[str, str], list[GridCell]] = defaultdict(list)
    for cell in study.cells():
        by_model[cell.task, cell.model].append(cell)
    recorded = _recorded_seconds(platform.results, name)
    models = tuple(_model_cost(study, cells, recorded, platform) for cells in by_model.values())
    noised = sum(_noised_mib(study, task) for task in study.tasks)
    return StudyCost(models, _n_workers(models, platform), noised)


def _model_cost(
    study: Study, cells: list[GridCell], recorded: dict[tuple[str, str], float], platform: Platform
) -> ModelCost:
    task, model = cells[0].task, cells[0].model
    size = outline(study.tasks[task])
    cost = estimate_cost(study.models[model], study.sizes[-1], size.n_genes)
    formula = START_UP_S + cost.seconds + _probing_seconds(study, size.n_probe)
    left = sum(not is_measured(cell_hashes(study, cell), platform.artifacts) for cell in cells)
    return ModelCost(
        task=task,
        model=model,
        n_grid_cells=len(cells),
        n_left=left,
        seconds_a_cell=recorded.get((task, model), formula),
        is_recorded=(task, model) in recorded,
        memory_mib=cost.memory_mib + PROBING_MIB,
        disk_mib=left * cost.disk_mib if study.keep_models == "all" else 0.0,
    )


def _probing_seconds(study: Study, n_pairs: int) -> float:
    """A rough line through measured times of the default estimators on one core; earlier runs replace it."""
    return len(study.probing.estimators) * (4.0 + 1.5e-3 * n_pairs)


def _recorded_seconds(results: Results, study: str) -> dict[tuple[str, str], float]:
    results.publish()
    with results.connect() as database:
        rows = database.execute(
            "select task, model, avg(seconds) from run where study = ? and status = 'succeeded' group by all",
            [study],
        ).fetchall()
    return {(task, model): seconds for task, model, seconds in rows}


def _n_workers(models: tuple[ModelCost, ...], platform: Platform) -> int:
    budget = host_budget(platform.machine.memory_mib, platform.machine.cores)
    largest = max((model.memory_mib for model in models), default=1.0)
    return max(1, min(budget.cores // platform.machine.worker_threads, int(budget.memory_mib / largest)))


def _noised_mib(study: Study, task: str) -> float:
    n_counts = outline(study.tasks[task]).n_cells * COUNTS_PER_CELL
    copies = 1 + sum(level for level in study.levels if level < 1.0) * study.n_seeds
    return n_counts * copies * STORED_MIB_PER_MILLION_COUNTS / 1e6
