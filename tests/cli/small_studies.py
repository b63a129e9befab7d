"""Studies of eight cells of the grid that take a second, measured without worker processes."""

from collections.abc import Iterator
from pathlib import Path

from nsl_assets.grid import Measuring, Platform, prepare_data, prepare_noised, register
from nsl_assets.study import load_project
from nsl_assets.worker import CellWork, WorkerOrder
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import Dispatcher, WorkerResult
from nsl_resources.results import Results

STUDY = """
[studies.{name}]
sizes = [60, 90]
n_seeds = 2
untrained_baseline = "none"
keep_models = "{keep_models}"
[studies.{name}.tasks.simulated]
kind = "simulated_cells"
n_cells = 300
n_genes = 30
seed = {seed}
[studies.{name}.models.pca]
kind = "pca"
n_components = 4
[studies.{name}.noise]
kind = "binomial_thinning"
levels = [1.0, 0.3]
[studies.{name}.probing]
estimators = ["gaussian_copula"]
headline = "gaussian_copula"
"""


class InThisProcess(Dispatcher):
    """Workers without processes."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def run(self, jobs, **_) -> Iterator[WorkerResult]:
        for job in jobs:
            CellWork(WorkerOrder.model_validate(job.payload), self.scratch, lambda _: None).run()
            yield WorkerResult(job.label, 0, "succeeded", 1.0, 1.0, 100.0, "")


def write(project: Path, *studies: str, keep_models: str = "all", seed: int = 0) -> None:
    texts = [STUDY.format(name=name, keep_models=keep_models, seed=seed) for name in studies]
    project.write_text("\n".join(texts))


def platform(project: Path, storage: Path) -> Platform:
    return Platform(Artifacts(storage), Results(storage), InThisProcess(project.parent), load_project().machine)


def run(name: str, project: Path, storage: Path, *, n_cells: int | None = None) -> None:
    """Measure the grid of a study, or the first cells of it."""
    study, where = load_project().study(name), platform(project, storage)
    register(name, study, where)
    (task,) = study.tasks
    prepare_data(study, task, where)
    for level in study.levels_of(task):
        for seed in study.seeds:
            prepare_noised(study, task, level, seed, where)
    assert all(one.status != "failed" for one in Measuring(name, study, where).run(list(study.cells())[:n_cells]))
