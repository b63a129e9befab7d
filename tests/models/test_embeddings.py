from dataclasses import replace
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from nsl_assets.errors import InputError, MeasurementError, StorageError
from nsl_assets.models import Embeddings, create, model_identity


@pytest.fixture
def values(cells):
    return np.random.default_rng(0).normal(size=(cells.n_cells, 4)).astype(np.float32)


@pytest.fixture
def probe(cells):
    rows = np.array([7, 250, 0, 31])
    return replace(cells, rows=rows, cell_names=cells.cell_names[rows])


def model_of(file, cells, level=1.0):
    task = SimpleNamespace(counts=cells.store, simulation=None)
    return create(Embeddings(files={"1.0": str(file)}), task=task, level=level)


def written(form, folder, cells, values):
    """The same embeddings in each form; tables have the cells in another order."""
    order = np.random.default_rng(1).permutation(cells.n_cells)
    table = pd.DataFrame(values, index=pd.Index(cells.cell_names, name="cell")).iloc[order]
    table.columns = [f"z{i}" for i in range(values.shape[1])]
    path = folder / f"embeddings.{form.partition('-')[0]}"
    if form == "npy":
        np.save(path, values)
    elif form == "csv":
        table.to_csv(path)
    elif form == "parquet-index":
        table.to_parquet(path)
    elif form == "parquet-column":
        table.reset_index().to_parquet(path)
    else:
        data = anndata.AnnData(obs=table[[]], obsm={"X_mine": table if form.endswith("table") else table.to_numpy()})
        data.write_h5ad(path)
        return f"{path}:obsm:X_mine"
    return path


@pytest.mark.parametrize("form", ["npy", "csv", "parquet-index", "parquet-column", "h5ad-array", "h5ad-table"])
def test_cells_are_found_by_name_or_by_row(form, tmp_path, cells, probe, values):
    model = model_of(written(form, tmp_path, cells, values), cells)
    report = model.fit(cells, probe, seed=0)
    assert report.n_parameters == 0 and report.n_train_cells == 300
    embedding = model.embed(probe)
    assert embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, values[probe.rows], rtol=1e-6)


def test_cell_names_like_numbers_keep_their_zeros(tmp_path, cells, probe, values):
    numbered = replace(probe, cell_names=np.array(["007", "0250", "0", "31"]))
    table = pd.DataFrame(values[:4], index=["31", "0", "0250", "007"])
    table.to_csv(tmp_path / "named.csv")
    np.testing.assert_allclose(model_of(tmp_path / "named.csv", cells).embed(numbered), values[[3, 2, 1, 0]], rtol=1e-6)


def test_only_the_cells_asked_for_must_be_there(tmp_path, cells, probe, values):
    pd.DataFrame(values[:40], index=cells.cell_names[:40]).to_csv(tmp_path / "some.csv")
    model = model_of(tmp_path / "some.csv", cells)
    first = replace(cells, rows=np.arange(40), cell_names=cells.cell_names[:40])
    np.testing.assert_allclose(model.embed(first), values[:40], rtol=1e-6)
    with pytest.raises(InputError, match=r"no embedding of 1 of 4 cells, e.g. cell250"):
        model.embed(probe)


def test_files_that_do_not_fit_are_named(tmp_path, cells, probe, values):
    np.save(tmp_path / "short.npy", values[:-1])
    with pytest.raises(InputError, match="299 rows, but the source file has 300 cells"):
        model_of(tmp_path / "short.npy", cells).embed(probe)
    values[250, 1] = np.nan
    np.save(tmp_path / "nan.npy", values)
    with pytest.raises(InputError, match=r"NaN or infinity for 1 of 4 cells, e\.g\. cell250"):
        model_of(tmp_path / "nan.npy", cells).embed(probe)
    np.save(tmp_path / "flat.npy", values[:, 0])
    with pytest.raises(InputError, match=r"shape \(300,\)"):
        model_of(tmp_path / "flat.npy", cells).embed(probe)
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        model_of(tmp_path / "objects.npy", cells).embed(probe)
    pd.DataFrame(values[:2], index=["cell7", "cell7"]).to_csv(tmp_path / "twice.csv")
    with pytest.raises(InputError, match=r"1 cells twice, e\.g\. 'cell7'"):
        model_of(tmp_path / "twice.csv", cells).embed(probe)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match="not a form"):
        model_of(tmp_path / "notes.txt", cells).embed(probe)
    with pytest.raises(InputError, match="There is no file"):
        model_of(tmp_path / "absent.npy", cells).embed(probe)


def test_a_missing_key_of_obsm_lists_those_that_exist(tmp_path, cells, probe, values):
    source = written("h5ad-array", tmp_path, cells, values)
    with pytest.raises(InputError, match=r"no obsm\['X_other'\]. Its keys: X_mine"):
        model_of(source.replace("X_mine", "X_other"), cells).embed(probe)


def test_a_missing_level_lists_those_given(tmp_path, cells):
    with pytest.raises(InputError, match=r"noise level 0.1. There are files for the levels 1.0"):
        model_of(tmp_path / "a.npy", cells, level=0.1)


def test_identity_follows_the_files_content_not_its_place(tmp_path, values):
    for name, content in (("a", values), ("same", values), ("b", values + 1)):
        np.save(tmp_path / f"{name}.npy", content)
    of = {n: Embeddings(files={"1": str(tmp_path / f"{n}.npy")}) for n in ("a", "same", "b")}
    assert model_identity(of["a"]) == model_identity(of["same"]) != model_identity(of["b"])
    two = Embeddings(files={"1.0": str(tmp_path / "a.npy"), "0.1": str(tmp_path / "b.npy")})
    assert model_identity(two, level=1.0) == model_identity(of["a"], level=1.0)
    assert model_identity(two) != model_identity(of["a"])
    np.save(tmp_path / "a.npy", np.vstack([values, values]))
    assert model_identity(of["a"]) != model_identity(of["same"])


def test_nothing_is_trained_and_a_changed_file_is_noticed(tmp_path, cells, probe, values):
    np.save(tmp_path / "a.npy", values)
    model = model_of(tmp_path / "a.npy", cells)
    model.save(tmp_path / "model")
    model_of(tmp_path / "a.npy", cells).load(tmp_path / "model")
    with pytest.raises(MeasurementError, match="no untrained baseline"):
        model.initialise(cells, seed=0)
    np.save(tmp_path / "a.npy", np.vstack([values, values]))
    with pytest.raises(StorageError, match="has changed"):
        model.load(tmp_path / "model")
    with pytest.raises(StorageError, match="does not describe"):
        model.load(tmp_path)
