"""What a study will cost, before it runs: cells of the grid, time, memory and disk."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nsl_assets.errors import StorageError
from nsl_assets.grid import Platform, is_measured
from nsl_assets.identity import CellHashes, ModelHashes, cell_hashes, data_hash, noised_hash
from nsl_assets.jobs import JobMaker
from nsl_assets.models import estimate_cost
from nsl_assets.probing import EstimatorName
from nsl_assets.study import GridCell, Study
from nsl_assets.tasks import outline
from nsl_resources.artifacts import Artifacts
from nsl_resources.gpu import Need, gpu_devices, host_budget
from nsl_resources.results import Results

START_UP_S = 0.5
"""Start of a worker that is forked from a process with everything imported (benchmarks/worker_startup.py)."""
STORED_MIB_PER_MILLION_COUNTS = 1.5
"""Disk of thinned counts: 88 MB for 62 million nonzero counts, rounded up."""
COUNTS_PER_CELL = 1_500
"""Nonzero counts of a cell, where the file was not read yet."""


Recorded = dict[tuple[str, str, int], float]
"""Seconds of a worker by task, model and number of training cells."""


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
    device: str
    """Where it trains: "cpu" or "gpu"."""
    cores: int
    """Cores of one worker."""
    n_workers: int
    """Workers that this machine has room for at a time."""
    memory_mib: float
    """Host memory of one worker."""
    disk_mib: float

    @property
    def seconds(self) -> float:
        """Expected time of what is left of this model."""
        return self.n_left * self.seconds_a_cell / self.n_workers


@dataclass(frozen=True)
class StudyCost:
    """Cost of a study."""

    models: tuple[ModelCost, ...]
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
    def n_workers(self) -> int:
        """The most workers that are at work at a time."""
        return max((model.n_workers for model in self.models), default=1)

    @property
    def seconds(self) -> float:
        """Expected time on this machine: one model after the other."""
        return sum(model.seconds for model in self.models)

    @property
    def memory_mib(self) -> float:
        """Expected memory of all workers at work."""
        return max((model.memory_mib * model.n_workers for model in self.models), default=0.0)

    @property
    def disk_mib(self) -> float:
        """Expected disk of what is left: thinned counts, models, embeddings."""
        return self.noised_disk_mib + sum(model.disk_mib for model in self.models)


def study_cost(name: str, study: Study, platform: Platform, tasks: Collection[str] | None = None) -> StudyCost:
    """Cost of what is left of a study, or of some of its tasks, on this machine; see `cells_cost`."""
    return cells_cost(name, study, (cell for cell in study.cells() if tasks is None or cell.task in tasks), platform)


def cells_cost(name: str, study: Study, cells: Iterable[GridCell], platform: Platform) -> StudyCost:
    """Cost of what is left of some cells of the grid of a study on this machine.

    Time comes from earlier runs of the same model at the same number of training cells, where there are any.
    """
    by_model: dict[tuple[str, str], list[GridCell]] = defaultdict(list)
    levels: dict[str, set[float]] = defaultdict(set)
    for cell in cells:
        by_model[cell.task, cell.model].append(cell)
        levels[cell.task].update((cell.level, *study.probe_levels_of(cell)))
    recorded = _recorded_seconds(platform.results, name)
    models = tuple(_model_cost(study, group, recorded, platform) for group in by_model.values())
    noised = sum(_noised_mib(study, task, levels[task], platform.artifacts) for task in levels)
    return StudyCost(models, noised)


def _model_cost(study: Study, cells: list[GridCell], recorded: Recorded, platform: Platform) -> ModelCost:
    task, model = cells[0].task, cells[0].model
    size = outline(study.tasks[task])
    chains = {cell: cell_hashes(study, cell) for cell in cells}
    left = [cell for cell in cells if not is_measured(chains[cell], platform.artifacts)]
    sizes = sorted({cell.n_cells for cell in cells})
    costs = {n_cells: estimate_cost(study.models[model], n_cells, size.n_genes) for n_cells in sizes}
    # A record speaks for the present settings only where one of its cells is stored under their hashes.
    stored_sizes = {cell.n_cells for cell in set(cells).difference(left)}
    known = {n_cells: recorded[task, model, n_cells] for n_cells in stored_sizes if (task, model, n_cells) in recorded}
    lefts = [_left(chains[cell], platform.artifacts) for cell in left]
    seconds = [
        known[cell.n_cells]
        if one.is_untouched and cell.n_cells in known
        else one.seconds(study, costs[cell.n_cells].seconds, size.n_probe)
        for cell, one in zip(left, lefts, strict=True)
    ]
    is_kept = study.keep_models != "none"
    kept_mib = [costs[cell.n_cells].disk_mib for cell, one in zip(left, lefts, strict=True) if one.trains and is_kept]
    largest = max(costs.values(), key=lambda cost: cost.memory_mib)
    needs = JobMaker(study, platform.machine, platform.storage).need(model, largest, size.n_genes)
    return ModelCost(
        task=task,
        model=model,
        n_grid_cells=len(cells),
        n_left=len(left),
        seconds_a_cell=sum(seconds) / len(seconds) if seconds else 0.0,
        is_recorded=any(cell.n_cells in known and one.is_untouched for cell, one in zip(left, lefts, strict=True)),
        device="gpu" if needs.n_gpus else "cpu",
        cores=needs.cores,
        n_workers=_n_workers(needs, platform),
        memory_mib=needs.memory_mib,
        disk_mib=sum(kept_mib),
    )


@dataclass(frozen=True)
class _Left:
    """What a worker of one cell of the grid has left to do."""

    trains: bool
    is_untouched: bool
    """Whether the model is not measured at its own level either."""
    n_crossed: int
    """Other noise levels at which the model is not measured yet."""

    def seconds(self, study: Study, training_seconds: float, n_pairs: int) -> float:
        """Expected wall time of the worker, by formula."""
        of_own_level = _probing_seconds(study.probing.estimators, n_pairs) if self.is_untouched else 0.0
        of_crossed = self.n_crossed * _probing_seconds([study.probing.headline], n_pairs)
        return START_UP_S + training_seconds * self.trains + of_own_level + of_crossed


def _left(hashes: CellHashes, artifacts: Artifacts) -> _Left:
    def is_stored(model: ModelHashes) -> bool:
        return all(artifacts.is_complete("measurement", digest) for digest in model.measurement.values())

    missing = [model for model in hashes.probed() if not is_stored(model)]
    embeds = any(not artifacts.is_complete("embedding", model.embedding) for model in missing)
    return _Left(
        trains=embeds and not artifacts.is_complete("model", hashes.trained.model),
        is_untouched=any(model in hashes.measured() for model in missing),
        n_crossed=sum(model in hashes.crossed for model in missing),
    )


def _probing_seconds(estimators: Iterable[EstimatorName], n_pairs: int) -> float:
    """A rough line through measured times on one core; "pooled" and "infonce" share one training."""
    networks = {"pooled": "critic", "infonce": "critic", "lmi": "autoencoders"}
    n_trainings = len({networks[name] for name in estimators if name in networks})
    return n_trainings * (4.0 + 1.5e-3 * n_pairs)


def _recorded_seconds(results: Results, study: str) -> Recorded:
    """Mean seconds of earlier workers by task, model and training cells; empty where nothing ran yet."""
    try:
        with results.connect() as database:
            rows = database.execute(
                "select task, model, n_cells, avg(seconds) from run where study = ? and status = 'succeeded'"
                " group by all",
                [study],
            ).fetchall()
    except StorageError:
        return {}
    return {(task, model, n_cells): seconds for task, model, n_cells, seconds in rows}


def _n_workers(need: Need, platform: Platform) -> int:
    """How often the machine can grant a need at a time; 1 where it never can, which is refused elsewhere.

    Of a cluster nothing is known but the bound of the settings.
    """
    if platform.machine.dispatcher != "local":
        return platform.machine.max_workers or 1
    host = host_budget(platform.machine.memory_mib, platform.machine.cores)
    room = [host.cores // max(need.cores, 1), host.memory_mib // max(need.memory_mib, 1)]
    if need.n_gpus:
        room.append(sum(gpu.budget_mib // need.gpu_memory_mib for gpu in gpu_devices()) // need.n_gpus)
    return max(1, min(room))


def _noised_mib(study: Study, task: str, levels: Iterable[float], artifacts: Artifacts) -> float:
    """Disk of the counts that are not stored yet. Thinning keeps at most all nonzero counts, and few of the shallow."""
    n_counts = outline(study.tasks[task]).n_cells * COUNTS_PER_CELL
    missing = {} if artifacts.is_complete("data", data_hash(study.tasks[task])) else {"data": 1.0}
    for level in levels:
        for seed in study.seeds:
            digest = noised_hash(study, task, level, seed)
            if level < 1.0 and not artifacts.is_complete("noised", digest):
                missing[digest] = level
    return n_counts * sum(min(1.0, 2 * level) for level in missing.values()) * STORED_MIB_PER_MILLION_COUNTS / 1e6
