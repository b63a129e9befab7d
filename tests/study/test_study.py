"""Studies: what files may say, and what a mistake in them says."""

from pathlib import Path

import pytest

from nsl_assets.errors import StudyError
from nsl_assets.study import Project, load_project, parse_project, render_project, render_study, save_study
from nsl_assets.study.files import read_project_file

STUDY = {
    "sizes": [100, 200],
    "n_seeds": 2,
    "tasks": {"cells": {"kind": "simulated_cells", "n_cells": 500}},
    "models": {"pca": {"kind": "pca"}, "oracle": {"kind": "oracle"}},
    "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.1]},
}


def parsed(**changes: object):
    return parse_project({"studies": {"s": {**STUDY, **changes}}}).study("s")


def test_the_grid_is_all_sizes_levels_and_seeds_but_one_size_for_what_learns_nothing():
    cells = list(parsed().cells())
    assert sum(cell.model == "pca" for cell in cells) == 2 * 2 * 2
    assert {cell.n_cells for cell in cells if cell.model == "oracle"} == {200}
    assert len({cell.label for cell in cells}) == len(cells)


def test_the_untrained_baseline_is_measured_once_a_level_at_the_largest_size():
    study = parsed()
    assert study.measures_untrained("cells", "pca", 200, 1.0)
    assert not study.measures_untrained("cells", "pca", 100, 1.0)
    assert not study.measures_untrained("cells", "pca", 200, 0.1)
    assert not study.measures_untrained("cells", "oracle", 200, 1.0)
    assert parsed(untrained_baseline="all").measures_untrained("cells", "pca", 200, 0.1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"noise": {"kind": "binomial_thinning", "levels": [1.0, 1.5]}}, ["noise", "1.5"]),
        ({"models": {"pca": {"kind": "pcaa"}}}, ["models.pca", "'pcaa'", "'random_projection'"]),
        ({"models": {"Pca!": {"kind": "pca"}}}, ["'Pca!'", "small letters"]),
        ({"sizes": [1]}, ["sizes", "at least 2"]),
        ({"n_seeds": "many"}, ["n_seeds", "'many'", "integer"]),
        ({"sice": [100]}, ["sice"]),
        ({"tasks": {"cells": {"kind": "h5ad", "path": "a.h5ad", "auxiliary": "cell_type"}}}, ["obs:COLUMN"]),
    ],
)
def test_a_mistake_names_field_value_and_what_is_allowed(changes, named):
    with pytest.raises(StudyError) as error:
        parsed(**changes)
    for part in named:
        assert part in str(error.value)


def test_the_published_protocol_sets_what_the_study_leaves_open():
    models = {"pca": {"kind": "pca"}, "rp": {"kind": "random_projection", "input": "normalised"}}
    study = parsed(protocol="published", models=models)
    assert study.probing.headline == "lmi"
    assert study.laws.protocol == "published"
    assert study.models["pca"].centred is False
    assert study.models["rp"].input == "normalised"
    assert study.models["rp"].fixed_seed == 42
    assert parsed().models["pca"].centred is True
    only = parsed(protocol="published", probing={"estimators": ["infonce"]})
    assert only.probing.headline in only.probing.estimators


def test_a_saved_study_comes_back_equal_and_its_paths_stay(tmp_path: Path, small_h5ad: Path):
    task = {"kind": "h5ad", "path": str(small_h5ad), "auxiliary": "obs:age"}
    content = {**STUDY, "tasks": {"cells": task}, "models": {"pca": {"kind": "pca"}}}
    path = save_study("mine", content, tmp_path, header="Made by a test.")
    (tmp_path / "dagster_project.toml").write_text("")
    loaded = load_project(tmp_path, tmp_path).study("mine")
    assert loaded == parse_project({"studies": {"mine": content}}).study("mine")
    assert path.read_text().startswith("# Made by a test.")


def test_relative_paths_are_relative_to_the_file_that_names_them(tmp_path: Path):
    (tmp_path / "dagster_project.toml").write_text(
        '[studies.s]\nsizes = [10]\n[studies.s.tasks.t]\nkind = "h5ad"\npath = "data/a.h5ad"\nauxiliary = "obs:x"\n'
        '[studies.s.models.pca]\nkind = "pca"\n[studies.s.noise]\nlevels = [1.0]\nkind = "binomial_thinning"\n'
    )
    task = load_project(tmp_path, tmp_path / "none").study("s").tasks["t"]
    assert task.path == tmp_path / "data" / "a.h5ad"


def test_two_files_with_one_study_name_are_refused(tmp_path: Path):
    save_study("mine", STUDY, tmp_path)
    saved = tmp_path / "studies" / "mine.toml"
    (tmp_path / "dagster_project.toml").write_text(saved.read_text())
    with pytest.raises(StudyError, match="rename or remove one"):
        load_project(tmp_path, tmp_path)


def test_broken_toml_and_a_missing_file_are_named(tmp_path: Path):
    with pytest.raises(StudyError, match="nsl init"):
        load_project(tmp_path, tmp_path)
    (tmp_path / "dagster_project.toml").write_text("[studies\n")
    with pytest.raises(StudyError, match="is not TOML"):
        load_project(tmp_path, tmp_path)


def test_the_project_file_documents_every_field_as_the_code_does():
    root = Path(__file__).resolve().parents[2]
    written = (root / "dagster_project.toml").read_text()
    project = Project.model_validate(read_project_file(root / "dagster_project.toml"))
    assert render_project(project) == written, "run .venv/bin/python -m nsl_assets.study"


def test_paths_of_models_are_relative_to_their_file(tmp_path: Path):
    models = {"mine": {"kind": "custom", "class_path": "mine.py:Mine"}}
    files = {"made": {"kind": "embeddings", "files": {"1.0": "full.npy"}}}
    text = render_study("s", parsed(models=models | files))
    (tmp_path / "dagster_project.toml").write_text(text)
    study = load_project(tmp_path, tmp_path / "none").study("s")
    assert study.models["mine"].class_path == f"{tmp_path}/mine.py:Mine"
    assert study.models["made"].files == {"1.0": f"{tmp_path}/full.npy"}
