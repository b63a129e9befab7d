"""Typed studies: tasks × models × training sizes × noise levels × seeds + probing + laws + protocol.

The settings of a room are defined by that room; here they are composed.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, Self, TypeVar
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from nsl_assets.errors import StudyError
from nsl_assets.laws import LawSettings
from nsl_assets.models import ModelSettings, Pca, RandomProjection, depends_on_size, needs_training
from nsl_assets.noise import BinomialThinning, deepest_first
from nsl_assets.planning import PlanningSettings
from nsl_assets.probing import ProbingSettings
from nsl_assets.settings import Settings
from nsl_assets.tasks import PairedTask, SpatialPairs, TaskSettings
from nsl_resources.dispatch import DispatcherChoice, DispatcherName, NodeBudget
from nsl_resources.gpu import Device

LONGEST_NAME = 63
NAME_PATTERN = re.compile(rf"^[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}$")
Protocol = Literal["corrected", "published"]
SettingsT = TypeVar("SettingsT", bound=Settings)


class Machine(Settings):
    """Where workers run, and what they may spend there. Empty fields are read off the machine."""

    dispatcher: DispatcherName = "local"
    """Where workers run: `local` (this machine), `ray` (docs/dispatch-ray.md) or `slurm` (docs/dispatch-slurm.md)."""
    memory_mib: int | None = Field(default=None, gt=0)
    """Memory that all workers together may use on this machine, or on each node of a cluster, MiB. Default: 80 % of
    what it (or its cgroup) has."""
    cores: int | None = Field(default=None, gt=0)
    """Cores that all workers together may use on this machine, or on each node. Default: all that it has."""
    max_workers: int | None = Field(default=None, gt=0)
    """The most workers at a time (with Slurm: of each array). Default: as many as memory and cores allow."""
    worker_threads: int = Field(default=1, ge=1)
    """Threads of one worker. Fixed and recorded, so that the same study gives the same numbers."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: models that can use a GPU are trained on one where this machine has one with room. `cpu`: never."""
    gpu_precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of matrix products on a GPU. Recorded with each run, not part of its identity."""
    worker_timeout_s: float = Field(default=86_400.0, gt=0)
    """A worker that runs longer is stopped and its cell reported as failed, seconds."""
    worker_retries: int = Field(default=2, ge=0)
    """How often a cell of the grid is tried again in one run after its worker was killed or ran out of memory."""
    chunk_entries: int = Field(default=262_144, ge=1_024)
    """Nonzero counts per zarr chunk. It changes speed and file sizes, never a number."""
    ray_address: str = "auto"
    """HOST:PORT of the head of a Ray cluster; `auto`: that of this machine or of RAY_ADDRESS; `local`: one that is
    started here for the run."""
    node_gpus: int = Field(default=0, ge=0)
    """GPUs of a node of the Ray or Slurm cluster, which this machine cannot see; 0: workers train on CPUs there."""
    node_gpu_memory_mib: int | None = Field(default=None, gt=0)
    """Memory of one GPU of the cluster, MiB: named together with `node_gpus`. Workers on Ray then share GPUs."""
    slurm_options: tuple[str, ...] = ()
    """Further options of `sbatch`, such as "--partition=gpu" or "--account=lab"."""

    @model_validator(mode="after")
    def _gpus_of_a_node_have_memory(self) -> Self:
        if self.node_gpus and self.node_gpu_memory_mib is None:
            raise ValueError(f"node_gpus = {self.node_gpus} needs node_gpu_memory_mib: the memory of one of them, MiB")
        return self

    def node_devices(self) -> tuple[Device, ...]:
        """The GPUs of one node of the cluster, as they were declared."""
        memory = self.node_gpu_memory_mib or 0
        return tuple(Device("gpu", f"node GPU {i}", memory, 0, memory, 0) for i in range(self.node_gpus))

    def dispatcher_choice(self) -> DispatcherChoice:
        """The dispatcher that these settings name."""
        return DispatcherChoice(
            self.dispatcher,
            NodeBudget(self.memory_mib, self.cores, self.device == "auto"),
            self.max_workers,
            self.node_gpu_memory_mib,
            self.ray_address,
            self.slurm_options,
        )


class Night(Settings):
    """What the schedule `night_STUDY` may start in one night, once it is switched on in the UI."""

    starts_at: str = Field(default="20:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """Hour and minute at which it starts, every day."""
    timezone: str = "UTC"
    """Time zone of that, such as "Europe/Berlin"."""
    max_grid_cells: int = Field(default=200, ge=1)
    """The most cells of the grid (replicates counted) in one night."""
    max_hours: float = Field(default=10.0, gt=0)
    """The most hours that they are expected to take on this machine."""
    max_failed_runs: int = Field(default=2, ge=1)
    """A partition that failed in so many runs is left to people."""

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, timezone: str) -> str:
        if timezone not in available_timezones():
            raise ValueError("a name of the IANA time zone database is needed, such as Europe/Berlin")
        return timezone


class TaskGrid(Settings):
    """Training sizes and noise levels of one task, where they are not those of the study."""

    sizes: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Training sizes of this task; left out: those of the study."""
    levels: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Noise levels of this task: fractions of the molecules that are kept; left out: those of the study."""

    @field_validator("sizes")
    @classmethod
    def _sizes_are_distinct(cls, sizes: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if sizes is None else _usable_sizes(sizes)

    @field_validator("levels")
    @classmethod
    def _deepest_first(cls, levels: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if levels is None else deepest_first(levels)


class Study(Settings):
    """One study. Its name is the table name `[studies.NAME]` of the file that it is in."""

    description: str = ""
    """One line for people: what is asked, of which data."""
    owners: tuple[str, ...] = ()
    """E-mail addresses or `team:name`, shown on every asset."""
    protocol: Protocol = "corrected"
    """`corrected` (default), or `published`: as the paper did it where that is implemented."""
    tasks: dict[str, TaskSettings] = Field(min_length=1)
    """Data sets with their auxiliary signals, by name: `[studies.NAME.tasks.TASK]`."""
    models: dict[str, ModelSettings] = Field(min_length=1)
    """Representation models, by name: `[studies.NAME.models.MODEL]`."""
    noise: BinomialThinning
    """Noise levels: fractions of the molecules that are kept."""
    probe_levels: tuple[float, ...] | Literal["all"] = ()
    """Noise levels at which every trained model is probed beside its own, or "all": what becomes of a model that was
    trained at another depth than its cells have. By the headline estimator; baselines and embeddings that were made
    elsewhere are not crossed. A finished study is not trained again for it, but for models that `keep_models` removed.
    """
    sizes: tuple[int, ...] = Field(min_length=1)
    """Training sizes: numbers of cells that fit parameters. Validation cells come on top."""
    grids: dict[str, TaskGrid] = Field(default_factory=dict)
    """Training sizes and noise levels of single tasks, where they differ: `[studies.NAME.grids.TASK]`."""
    n_seeds: int = Field(default=3, ge=1, le=1_000)
    """Replicates. A seed changes the thinning, the subsample, the initialisation and the probe."""
    untrained_baseline: Literal["deepest", "all", "none"] = "deepest"
    """Where the model before training is measured too: at the deepest level, at all levels, or nowhere."""
    keep_models: Literal["all", "best", "none"] = "all"
    """Whether trained models stay on disk. "none" removes each as soon as its embedding is stored. "best": once all of
    a task and model is measured, `nsl gc` leaves those of the training size and noise level of most information."""
    probing: ProbingSettings = ProbingSettings()
    """How information is estimated."""
    laws: LawSettings = LawSettings()
    """How the laws are fitted."""
    planning: PlanningSettings = PlanningSettings()
    """What an experiment costs, and how reads become UMIs: for advice."""
    night: Night = Night()
    """What the schedule may start in one night."""

    @field_validator("tasks", "models")
    @classmethod
    def _names_are_usable(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            require_name(name)
        return named

    @field_validator("sizes")
    @classmethod
    def _sizes_are_distinct(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return _usable_sizes(sizes)

    @model_validator(mode="after")
    def _grids_are_of_its_tasks(self) -> "Study":
        for task in self.grids:
            if task not in self.tasks:
                raise ValueError(f"grids.{task}: no task has this name; the tasks are {', '.join(self.tasks)}")
        return self

    @model_validator(mode="after")
    def _oracles_know_the_truth(self) -> "Study":
        for name, model in self.models.items():
            real = [task for task, settings in self.tasks.items() if settings.kind != "simulated_cells"]
            if model.kind == "oracle" and real:
                raise ValueError(f"model '{name}' is an oracle, which simulated cells have; task '{real[0]}' is real")
        return self

    @model_validator(mode="after")
    def _probe_levels_are_levels(self) -> "Study":
        known = sorted({level for task in self.tasks for level in self.levels_of(task)}, reverse=True)
        unknown = [] if self.probe_levels == "all" else sorted(set(self.probe_levels) - set(known), reverse=True)
        if unknown:
            raise ValueError(
                f"probe_levels {', '.join(f'{level:g}' for level in unknown)}: no noise level of this study. Its levels"
                f' are {", ".join(f"{level:g}" for level in known)}; name some of them, or "all"'
            )
        return self

    @model_validator(mode="after")
    def _follow_protocol(self) -> "Study":
        if self.protocol == "published":
            for field, value in _published(self).items():
                # Frozen settings: the validator itself is the one place that may fill them in.
                object.__setattr__(self, field, value)
        return self

    @property
    def seeds(self) -> range:
        """The replicates: 0, 1, …"""
        return range(self.n_seeds)

    def levels_of(self, task: str) -> tuple[float, ...]:
        """Noise levels of a task, deepest first."""
        return self._grid(task).levels or self.noise.levels

    def task_sizes(self, task: str) -> tuple[int, ...]:
        """Training sizes of a task, ascending."""
        return self._grid(task).sizes or self.sizes

    def sizes_of(self, task: str, model: str) -> tuple[int, ...]:
        """Training sizes at which this model is run: only the largest where nothing is learned from cells."""
        sizes = self.task_sizes(task)
        return sizes if depends_on_size(self.models[model]) else sizes[-1:]

    def measures_untrained(self, task: str, model: str, n_cells: int, level: float) -> bool:
        """Whether the model before training is measured beside this cell of the grid."""
        is_deepest = level == self.levels_of(task)[0]
        wanted = {"deepest": is_deepest, "all": True, "none": False}[self.untrained_baseline]
        return wanted and n_cells == self.task_sizes(task)[-1] and needs_training(self.models[model])

    def _grid(self, task: str) -> TaskGrid:
        return self.grids.get(task, TaskGrid())

    def cells(self) -> "Iterator[GridCell]":
        """All cells of the grid of this study, model by model, deepest level first."""
        for task in self.tasks:
            for model in self.models:
                for n_cells in self.sizes_of(task, model):
                    for level in self.levels_of(task):
                        for seed in self.seeds:
                            yield GridCell(task=task, model=model, n_cells=n_cells, level=level, seed=seed)

    def probe_levels_of(self, cell: "GridCell") -> tuple[float, ...]:
        """Noise levels at which the model of this cell is probed beside its own, deepest first."""
        if not self.probe_levels or not self.models[cell.model].READS_COUNTS:
            return ()
        levels = self.levels_of(cell.task)
        wanted = levels if self.probe_levels == "all" else self.probe_levels
        return tuple(level for level in levels if level in wanted and level != cell.level)


class GridCell(Settings):
    """One replicate of one cell of the grid: what one worker process computes."""

    task: str
    model: str
    n_cells: int
    """Training cells."""
    level: float
    """Fraction of the molecules that are kept, in training."""
    seed: int

    @property
    def label(self) -> str:
        """Short text for progress lines and process lists."""
        return f"{self.task} {self.model} n={self.n_cells} q={self.level:g} seed={self.seed}"


class Project(Settings):
    """All studies that are known, and the machine that they run on."""

    machine: Machine = Machine()
    studies: dict[str, Study] = Field(default_factory=dict)

    @field_validator("studies")
    @classmethod
    def _names_are_usable(cls, studies: dict[str, Study]) -> dict[str, Study]:
        for name in studies:
            require_name(name)
        return studies

    def study(self, name: str) -> Study:
        """The study of that name. StudyError if there is none."""
        if name not in self.studies:
            raise StudyError(f"no study is named '{name}'. There are: {', '.join(sorted(self.studies)) or 'none'}.")
        return self.studies[name]


def _published(study: Study) -> dict[str, Any]:
    """Settings of the published protocol (docs/decisions/protocols.md) wherever the study does not set them itself."""
    models = dict(study.models)
    for name, model in study.models.items():
        if isinstance(model, RandomProjection):
            models[name] = _unless_set(model, input="raw", fixed_seed=42)
        elif isinstance(model, Pca):
            models[name] = _unless_set(model, centred=False)
    tasks = {name: _published_task(task) for name, task in study.tasks.items()}
    probing = _unless_set(study.probing, headline="lmi")
    if probing.headline not in probing.estimators:
        probing = probing.model_copy(update={"estimators": (*probing.estimators, probing.headline)})
    laws = _unless_set(study.laws, protocol="published")
    return {"tasks": tasks, "models": models, "probing": probing, "laws": laws}


def _published_task(task: TaskSettings) -> TaskSettings:
    """Paired cells as published; all other tasks are the same in both protocols."""
    if isinstance(task, PairedTask):
        task = _unless_set(task, paired_auxiliary="same_model", probe_overlap=True)
    if isinstance(task, SpatialPairs):
        task = _unless_set(task, spatial_neighbours="redrawn", n_neighbours=4)
    return task


def _unless_set(settings: SettingsT, **values: Any) -> SettingsT:
    return settings.model_copy(
        update={field: value for field, value in values.items() if field not in settings.model_fields_set}
    )


def _usable_sizes(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if min(sizes) < 2:
        raise ValueError(f"a training size of {min(sizes)} cells: at least 2 are needed")
    return tuple(sorted(set(sizes)))


def require_name(name: str) -> None:
    """ValueError where a name cannot be part of an asset key."""
    if not NAME_PATTERN.match(name):
        raise ValueError(
            f"the name '{name}': small letters, digits and _ are allowed, beginning with a letter,"
            f" at most {LONGEST_NAME} characters"
        )
