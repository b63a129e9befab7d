"""`nsl export` and `nsl import`: a study moves with its rows, whole or not at all."""

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from scipy.sparse import csr_matrix

from nsl_assets.cli.commands import nsl
from nsl_assets.cli.transfer import export_study, import_study
from nsl_assets.errors import InputError, NslError, StorageError
from nsl_assets.identity import auxiliary_hash, data_hash
from nsl_assets.study import load_project
from nsl_resources.results import Results

from .small_studies import run, write

NUMBERS = "select * exclude (landed_file) from measurement where study = '{}' order by all"


def write_h5ad(path: Path) -> Path:
    """Counts of two cell types."""
    rng = np.random.default_rng(0)
    is_second = rng.random(300) < 0.5
    counts = rng.poisson(np.where(is_second[:, None], np.linspace(1, 5, 30), np.linspace(5, 1, 30)))
    obs = pd.DataFrame({"cell_type": np.where(is_second, "B", "T")}, index=[f"cell{i}" for i in range(300)])
    anndata.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(30)])).write_h5ad(
        path
    )
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a study of a file, and its export beside it. The file and all artifacts are gone."""
    folder = tmp_path_factory.mktemp("original")
    project, storage = folder / "dagster_project.toml", folder / "storage"
    file = write_h5ad(folder / "cells.h5ad")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NSL_PROJECT", str(folder))
        environment.setenv("NSL_STORAGE", str(storage))
        write(project, "one")
        text = project.read_text()
        start, stop = text.index('kind = "simulated_cells"'), text.index("[studies.one.models")
        task = f'kind = "h5ad"\npath = "{file}"\nauxiliary = "obs:cell_type"\n'
        project.write_text(text[:start] + task + text[stop:])
        run("one", project, storage)
        shutil.rmtree(storage / "artifacts")
        export_study("one", folder / "exported", as_json=False)
    file.unlink()
    for remembered in (data_hash, auxiliary_hash):
        remembered.cache_clear()  # as in a process that did not read the file
    return folder


@pytest.fixture
def exported(original: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder."""
    return shutil.copytree(original / "exported", tmp_path / "exported")


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    write(tmp_path / "dagster_project.toml", "other", seed=5)
    return tmp_path / "dagster_project.toml"


@pytest.fixture
def elsewhere(project: Path, storage: Path) -> Results:
    """An empty storage and a project with another study."""
    Results(storage).publish()
    return Results(storage)


def rows_of(results: Results, study: str) -> list[dict[str, object]]:
    return results.query(NUMBERS.format(study))


def command(*arguments: str) -> Result:
    return CliRunner().invoke(nsl, arguments, catch_exceptions=False)


def test_a_study_moves_into_a_storage_with_other_studies(
    original: Path, exported: Path, elsewhere: Results, project: Path, tmp_path: Path
) -> None:
    run("other", project, elsewhere.root, n_cells=2)
    other = rows_of(elsewhere, "other")
    import_study(exported, None, as_json=False)
    assert rows_of(elsewhere, "one") == rows_of(Results(original / "storage"), "one") != []
    assert rows_of(elsewhere, "other") == other
    assert load_project().study("one").models.keys() == {"pca"}
    before = elsewhere.row_counts()
    import_study(exported, None, as_json=False)
    assert elsewhere.row_counts() == before, "the same study again changes nothing"
    # What needs neither artifacts nor the file: report, advice, a law of the exported table.
    assert command("report", "one", "--output", str(tmp_path / "report")).exit_code == 0
    assert "pca" in command("advise", "one").output
    assert command("fit", str(exported / "measurement.parquet"), "--json").exit_code in (0, 1)
    assert len(json.loads(command("fit", str(exported / "measurement.parquet"), "--json").output)) == 2
    assert command("status", "one", "--json").exit_code == 0


def test_the_manifest_says_what_is_in_the_folder(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (manifest["study"], manifest["schema_version"], manifest["format"]) == ("one", 1, 1)
    rows = {one["table"]: one["n_rows"] for one in manifest["tables"]}
    assert rows["measurement"] == rows["run"] == 8
    assert rows["study"] == 1
    names = {one["file"] for one in manifest["tables"]} | {"manifest.json", "study.toml"}
    assert {path.name for path in exported.iterdir()} == names


def test_a_taken_name_is_refused_unless_it_is_the_same_study(exported: Path, elsewhere: Results, project: Path) -> None:
    write(project, "one", "other", seed=5)
    with pytest.raises(InputError, match=r"differs in tasks.*nsl import FOLDER --name one_imported"):
        import_study(exported, None, as_json=False)
    assert rows_of(elsewhere, "one") == []
    import_study(exported, "one_imported", as_json=False)
    assert len(rows_of(elsewhere, "one_imported")) == 8
    assert len(load_project().studies) == 3


def test_rows_of_a_forgotten_study_of_the_name_are_not_mixed_in(
    exported: Path, elsewhere: Results, project: Path
) -> None:
    write(project, "one", seed=5)
    run("one", project, elsewhere.root, n_cells=1)
    write(project, "other", seed=5)
    with pytest.raises(InputError, match="differs in tasks"):
        import_study(exported, None, as_json=False)


@pytest.mark.parametrize("name", ["measurement.parquet", "run.parquet", "study.toml", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_file_is_named_before_anything_lands(
    exported: Path, elsewhere: Results, name: str, damage: str
) -> None:
    content = bytearray((exported / name).read_bytes())
    (exported / name).unlink()
    if damage == "truncated":
        (exported / name).write_bytes(content[:-20])
    elif damage == "flipped":
        content[0 if name == "manifest.json" else len(content) // 2] ^= 1
        (exported / name).write_bytes(content)
    before = elsewhere.row_counts()
    with pytest.raises(NslError, match=name):
        import_study(exported, None, as_json=False)
    assert elsewhere.row_counts() == before
    assert "one" not in load_project().studies


def test_a_newer_export_is_refused_and_an_older_one_upgraded(exported: Path, elsewhere: Results) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    (exported / "manifest.json").write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(StorageError, match=r"schema 99; this nsl knows .* Upgrade nsl"):
        import_study(exported, None, as_json=False)
    path = exported / "measurement.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["recorded_at", "n_shared_cells"]), path)
    content = path.read_bytes()
    entry = next(one for one in manifest["tables"] if one["table"] == "measurement")
    entry |= {"size_bytes": len(content), "blake2b": _digest(content)}
    (exported / "manifest.json").write_text(json.dumps(manifest))
    import_study(exported, None, as_json=False)
    assert {row["n_shared_cells"] for row in rows_of(elsewhere, "one")} == {None}


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.blake2b(content, digest_size=32).hexdigest()


def test_exporting_refuses_used_folders_and_empty_studies(
    exported: Path, elsewhere: Results, project: Path, tmp_path: Path
) -> None:
    import_study(exported, None, as_json=False)
    with pytest.raises(InputError, match="not an empty folder"):
        export_study("one", exported, as_json=False)
    with pytest.raises(InputError, match="no measurements yet"):
        export_study("other", tmp_path / "new", as_json=False)
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        import_study(tmp_path, None, as_json=False)
