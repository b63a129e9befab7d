"""The paper's study: its tasks and grids, which need no data, and the files that it points to."""

from pathlib import Path
from typing import get_args

import pytest

from nsl_assets.datasets import DATA_SETS, paper_grid
from nsl_assets.errors import StudyError
from nsl_assets.models import estimate_cost
from nsl_assets.study import Protocol, Study, load_project, paper_study, parse_project
from nsl_assets.study.files import read_project_file

PROJECT_FILE = Path(__file__).resolve().parents[2] / "dagster_project.toml"
PUBLISHED = {  # largest training size, UMIs per cell at the measured depth
    "embryo": (10_000_000, 2_500),
    "pbmc_citeseq": (100_000, 8_100),
    "larry": (100_000, 2_580),
    "merfish": (60_000, 367),
}


def typed(protocol: Protocol = "corrected", names: tuple[str, ...] = tuple(PUBLISHED)) -> Study:
    return parse_project({"studies": {"paper": paper_study(names, protocol)}}).study("paper")


def test_the_shipped_project_file_has_the_study_as_it_is_defined() -> None:
    shipped = read_project_file(PROJECT_FILE)["studies"]["paper"]
    assert parse_project({"studies": {"paper": {**shipped, "owners": []}}}).study("paper") == typed(), (
        "take [studies.paper…] out of dagster_project.toml and run python -m nsl_assets.study"
    )


def test_every_data_set_is_a_task_on_its_published_grid() -> None:
    study = typed()
    assert list(study.tasks) == list(DATA_SETS) == list(PUBLISHED)
    for task, (largest, umis_per_cell) in PUBLISHED.items():
        sizes, levels = study.task_sizes(task), study.levels_of(task)
        assert (len(sizes), sizes[0], sizes[-1]) == (10, 100, largest)
        assert (len(levels), levels[0]) == (10, 1.0)
        assert levels[-1] * umis_per_cell == pytest.approx(10, rel=1e-3)
    assert sum(1 for _ in study.cells()) == 4 * 4 * 10 * 10 * 3
    assert {model.kind for model in study.models.values()} == {"random_projection", "pca", "scvi", "geneformer"}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_the_study_of_one_data_set_is_its_part_of_the_whole(name: str, protocol: Protocol) -> None:
    one, whole = typed(protocol, (name,)), typed(protocol)
    assert one.tasks == {name: whole.tasks[name]}
    assert (one.task_sizes(name), one.levels_of(name)) == (whole.task_sizes(name), whole.levels_of(name))
    assert one.models == whole.models and one.probing == whole.probing
    assert not one.grids and one.sizes == paper_grid(name).sizes


def test_corrected_is_the_default_and_published_sets_the_switches_of_the_paper() -> None:
    corrected, published = typed(), typed("published")
    assert corrected.protocol == "corrected"
    clones, tissue = corrected.tasks["larry"], corrected.tasks["merfish"]
    assert (clones.paired_auxiliary, clones.probe_overlap) == ("fixed", False)
    assert (tissue.spatial_neighbours, tissue.n_neighbours) == ("drawn_once", 5)
    for name in ("larry", "merfish"):
        assert (published.tasks[name].paired_auxiliary, published.tasks[name].probe_overlap) == ("same_model", True)
    assert published.tasks["merfish"].spatial_neighbours == "redrawn"
    assert published.tasks["merfish"].n_neighbours == 4
    assert str(published.tasks["larry"].path) == "data:larry-inversion=truncated"
    assert published.probing.headline == "lmi"


@pytest.mark.parametrize(
    ("task", "scvi_millions", "geneformer_millions"),
    [("larry", 64.9, 8.3), ("pbmc_citeseq", 53.2, 7.1), ("merfish", 1.3, 1.9)],
)
def test_models_have_the_published_numbers_of_parameters_on_the_genes_of_each_data_set(
    task: str, scvi_millions: float, geneformer_millions: float
) -> None:
    n_genes, study = DATA_SETS[task].n_genes, typed()
    assert n_genes is not None
    stored_mib = {name: estimate_cost(study.models[name], 100, n_genes).disk_mib for name in ("scvi", "geneformer")}
    for name, millions in (("scvi", scvi_millions), ("geneformer", geneformer_millions)):
        # Weights are stored as 4-byte numbers; what else is stored is small.
        assert stored_mib[name] * 2**20 / 4e6 == pytest.approx(millions, rel=0.25)


def project_with(folder: Path, path: str) -> None:
    (folder / "dagster_project.toml").write_text(
        f'[studies.s]\nsizes = [10]\n[studies.s.tasks.t]\nkind = "h5ad"\npath = "{path}"\nauxiliary = "obs:x"\n'
        '[studies.s.models.pca]\nkind = "pca"\n[studies.s.noise]\nlevels = [1.0]\nkind = "binomial_thinning"\n'
    )


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("data:larry", "larry/larry.h5ad"),
        ("data:larry-inversion=truncated", "larry/larry-inversion=truncated.h5ad"),
        ("data:embryo-max_cells=1000", "embryo/embryo-max_cells=1000.h5ad"),
    ],
)
def test_a_data_set_is_found_where_fetching_puts_it(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, file: str
) -> None:
    monkeypatch.delenv("NSL_DATA", raising=False)
    project_with(tmp_path, address)
    assert load_project(tmp_path, storage).study("s").tasks["t"].path == storage / "data" / file
    monkeypatch.setenv("NSL_DATA", str(tmp_path / "elsewhere"))
    assert load_project(tmp_path, storage).study("s").tasks["t"].path == tmp_path / "elsewhere" / file


@pytest.mark.parametrize(
    ("address", "said"), [("data:lary", "'larry'"), ("data:larry-inversion=no", "'rounded' or 'truncated'")]
)
def test_an_address_that_there_is_not_names_file_field_and_what_there_is(
    tmp_path: Path, storage: Path, address: str, said: str
) -> None:
    project_with(tmp_path, address)
    with pytest.raises(StudyError) as error:
        load_project(tmp_path, storage)
    for part in ("dagster_project.toml", "studies.s.tasks.t.path", address, said):
        assert part in str(error.value)
