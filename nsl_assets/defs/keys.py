"""Names of assets and partitions. Keys begin with the study, so that studies with other grids never collide."""

from dataclasses import dataclass

import dagster as dg

from nsl_assets.noise import level_key, level_of
from nsl_assets.study import Project, Study

CELLS, NOISE = "cells", "noise"
SIZE_DIGITS = 9
CELL_NUMBER_LAW_SIZES, JOINT_LAW_SIZES = 4, 2
"""The fewest training sizes that each law can be fitted to."""
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
"""Tags by which a run takes a range of partitions."""
GRID_ASSETS = ("trained", "embedding", "mutual_information")


@dataclass(frozen=True)
class TaskKeys:
    """Asset keys of one task of one study."""

    study: str
    task: str

    @property
    def source(self) -> dg.AssetKey:
        """Counts, auxiliary signal and split."""
        return dg.AssetKey([self.study, self.task, "source"])

    @property
    def noised(self) -> dg.AssetKey:
        """Thinned counts, by noise level."""
        return dg.AssetKey([self.study, self.task, "noised"])

    @property
    def model_comparison(self) -> dg.AssetKey:
        """Differences between the models."""
        return dg.AssetKey([self.study, self.task, "model_comparison"])

    @property
    def advice(self) -> dg.AssetKey:
        """What depth, how many cells, which model."""
        return dg.AssetKey([self.study, self.task, "advice"])

    def of_model(self, model: str, name: str) -> dg.AssetKey:
        """`trained`, `embedding`, `mutual_information` or a law of a model."""
        return dg.AssetKey([self.study, self.task, model, name])


def law_names(study: Study, task: str, model: str) -> list[str]:
    """The laws that the grid of a model on a task is large enough for."""
    n_sizes = len(study.sizes_of(task, model))
    smallest = {"noise_law": 1, "cell_number_law": CELL_NUMBER_LAW_SIZES, "joint_law": JOINT_LAW_SIZES}
    return [law for law, needed in smallest.items() if n_sizes >= needed]


def law_keys_of(of_task: TaskKeys, study: Study) -> list[dg.AssetKey]:
    """All laws that are fitted to the measurements of a task."""
    return [of_task.of_model(model, law) for model in study.models for law in law_names(study, of_task.task, model)]


def finding_keys(name: str, study: Study) -> list[dg.AssetKey]:
    """Everything that follows from the measurements of a study: laws, comparisons, advice."""
    found = []
    for of_task in (TaskKeys(name, task) for task in study.tasks):
        found += law_keys_of(of_task, study)
        found += [of_task.model_comparison] * (len(study.models) > 1)
        found.append(of_task.advice)
    return found


def landing_keys(name: str, study: Study) -> list[dg.AssetKey]:
    """Everything of a study that lands rows."""
    measured = [
        TaskKeys(name, task).of_model(model, "mutual_information") for task in study.tasks for model in study.models
    ]
    return measured + finding_keys(name, study)


def all_landing_keys(project: Project) -> list[dg.AssetKey]:
    """Everything that lands rows, over all studies."""
    return [key for name, study in project.studies.items() for key in landing_keys(name, study)]


def report_key(study: str) -> dg.AssetKey:
    """Figures and tables of one study."""
    return dg.AssetKey([study, "report"])


RESULTS = dg.AssetKey(["results"])


def size_key(n_cells: int) -> str:
    """Partition key of a training size: zero-padded, so that it sorts by number."""
    return f"n{n_cells:0{SIZE_DIGITS}d}"


def size_of(key: str) -> int:
    """The training size of a partition key."""
    return int(key.removeprefix("n"))


def noise_partitions(study: Study, task: str) -> dg.StaticPartitionsDefinition:
    """One partition a noise level."""
    return dg.StaticPartitionsDefinition(sorted(level_key(level) for level in study.levels_of(task)))


def size_partitions(study: Study, task: str, model: str) -> dg.StaticPartitionsDefinition:
    """One partition a training size."""
    return dg.StaticPartitionsDefinition([size_key(n_cells) for n_cells in study.sizes_of(task, model)])


def grid_partitions(study: Study, task: str, model: str) -> dg.MultiPartitionsDefinition:
    """Training sizes × noise levels; Dagster takes exactly two dimensions, so the seeds are inside."""
    sizes, levels = size_partitions(study, task, model), noise_partitions(study, task)
    return dg.MultiPartitionsDefinition({CELLS: sizes, NOISE: levels})


def grid_key(n_cells: int, level: float) -> dg.MultiPartitionKey:
    """Partition key of one training size at one noise level."""
    return dg.MultiPartitionKey({CELLS: size_key(n_cells), NOISE: level_key(level)})


def grid_point(key: str) -> tuple[int, float]:
    """Training size and noise level of a grid partition key. Dimensions are ordered by name: cells, noise."""
    size, level = key.split("|")
    return size_of(size), level_of(level)
