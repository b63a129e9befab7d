"""Tables from files: every form, with and without names of rows, and what damaged or foreign files get."""

import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from nsl_assets.errors import InputError
from nsl_assets.tables import Address, read_npy, read_table

VALUES = np.array([[0.5, 1.5], [2.5, -3.5], [4.0, 0.25]])
NAMES = ["007", "b", "c"]


def table_of(file, place=None, **options):
    return read_table(Address(Path(file), place), **options)


def written(folder, text, name="table.csv"):
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def h5ad(tmp_path):
    obs = pd.DataFrame(
        {"kind": pd.Categorical(["T", None, "B"]), "age": [1.5, 2.5, np.nan], "day": [2, 4, 6]}, index=NAMES
    )
    obsm = {
        "dense": VALUES,
        "sparse": scipy.sparse.csr_matrix(VALUES),
        "table": pd.DataFrame(VALUES, index=NAMES, columns=["CD3", "CD4"]),
    }
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(X=np.ones((3, 1), np.float32), obs=obs, obsm=obsm).write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("a.npy", "a.npy", None),
        ("data/a.b.csv:CD3,CD4", "data/a.b.csv", "CD3,CD4"),
        ("a.csv:b.csv", "a.csv", "b.csv"),
        ("a.parquet:x:y", "a.parquet", "x:y"),
        ("a.h5ad:obsm:X_pca", "a.h5ad", "obsm:X_pca"),
        ("with:colon.h5ad:obs:day", "with:colon.h5ad", "obs:day"),
    ],
)
def test_addresses(text, path, place):
    address = Address.parse(text)
    assert (str(address.path), address.place, str(address)) == (path, place, text)


@pytest.mark.parametrize(
    "text", ["a.txt", "a", "a.h5ad", "a.h5ad:X", "a.h5ad:obsm:", "a.h5ad:layers:counts", "a.npy:1"]
)
def test_what_is_no_address_is_told_the_forms(text):
    with pytest.raises(InputError, match=r"[Gg]ive .*a?\.(npy|h5ad)"):
        Address.parse(text)


@pytest.mark.parametrize("key", ["dense", "sparse", "table"])
def test_matrices_of_an_h5ad(h5ad, key):
    table = table_of(h5ad, f"obsm:{key}")
    np.testing.assert_array_equal(table.columns.to_numpy(), VALUES)
    assert table.row_names.tolist() == NAMES
    assert list(table.columns) == (["CD3", "CD4"] if key == "table" else ["0", "1"])


def test_columns_of_an_h5ad_keep_their_types(h5ad):
    kind = table_of(h5ad, "obs:kind").columns["kind"]
    assert kind.dtype == "category"
    assert kind.isna().tolist() == [False, True, False]
    assert table_of(h5ad, "obs:day").columns["day"].dtype.kind == "i"
    assert table_of(h5ad, "obs:age").row_names.tolist() == NAMES


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_old_files_keep_categories_beside_the_columns(h5ad):
    with h5py.File(h5ad, "a") as file:
        obs = file["obs"]
        codes, names = obs["kind/codes"][()], obs["kind/categories"][()]
        del obs["kind"]
        obs.create_dataset("__categories/kind", data=names, dtype=h5py.string_dtype())
        obs.create_dataset("kind", data=codes).attrs["categories"] = obs["__categories/kind"].ref
        obs.attrs["encoding-version"] = "0.1.0"
    kind = table_of(h5ad, "obs:kind").columns["kind"]
    assert kind.astype(object).tolist()[::2] == ["T", "B"]
    assert pd.isna(kind[1])
    with pytest.raises(InputError, match="Its keys: age, day, kind"):
        table_of(h5ad, "obs:__categories")


@pytest.mark.parametrize(
    ("text", "names", "columns"),
    [
        (",CD3,CD4\n007,1,2\nb,3,4\n", ["007", "b"], {"CD3": [1, 3], "CD4": [2, 4]}),
        ("Cell Barcode,CD3\n007,1\n010,3\n", ["007", "010"], {"CD3": [1, 3]}),
        ("who,CD3\na,1\nb,3\n", ["a", "b"], {"CD3": [1, 3]}),
        ("kind,CD3\nT,1\nB,3\nT,1\nT,4\n", None, {"kind": ["T", "B", "T", "T"], "CD3": [1, 3, 1, 4]}),
        ("CD3,CD4\n1,2\n3,4\n", None, {"CD3": [1, 3], "CD4": [2, 4]}),
        ("kind\nT\nB\n", None, {"kind": ["T", "B"]}),
        ('"CD3","CD4"\n"a",1,2\n"b",3,4\n', ["a", "b"], {"CD3": [1, 3], "CD4": [2, 4]}),
        ("CD3,CD3\n1,2\n3,4\n", None, {"CD3": [1, 3], "CD3.1": [2, 4]}),
        ("\ufeffCD3,CD4\n1,2\n3,4\n", None, {"CD3": [1, 3], "CD4": [2, 4]}),
    ],
)
def test_csv_with_a_header(tmp_path, text, names, columns):
    table = table_of(written(tmp_path, text))
    assert (None if table.row_names is None else table.row_names.tolist()) == names
    assert table.columns.to_dict("list") == columns
    assert table.note == ""


@pytest.mark.parametrize(
    ("text", "names", "columns"),
    [
        ("0.5,1.5\n2.5,3.5\n", None, {"0": [0.5, 2.5], "1": [1.5, 3.5]}),
        ("a,0.5,1.5\nb,2.5,3.5\n", ["a", "b"], {"1": [0.5, 2.5], "2": [1.5, 3.5]}),
        ("3\n1\n2\n", None, {"0": [3, 1, 2]}),
    ],
)
def test_csv_without_a_header_is_said(tmp_path, text, names, columns):
    table = table_of(written(tmp_path, text))
    assert (None if table.row_names is None else table.row_names.tolist()) == names
    assert table.columns.to_dict("list") == columns
    assert "no header" in table.note


def test_a_blank_line_of_a_single_column_is_a_missing_value(tmp_path):
    column = table_of(written(tmp_path, "kind\nT\n\nB\n")).columns["kind"]
    assert column.isna().tolist() == [False, True, False]


def test_numbered_columns_are_a_header(tmp_path):
    pd.DataFrame(VALUES).to_csv(tmp_path / "plain.csv", index=False)
    plain = table_of(tmp_path / "plain.csv")
    np.testing.assert_array_equal(plain.columns.to_numpy(), VALUES)
    assert "column names" in plain.note
    pd.DataFrame(VALUES, index=NAMES).to_csv(tmp_path / "named.csv")
    named = table_of(tmp_path / "named.csv")
    np.testing.assert_array_equal(named.columns.to_numpy(), VALUES)
    assert (named.row_names.tolist(), named.note) == (NAMES, "")


def test_a_first_column_is_names_where_the_caller_knows_it(tmp_path):
    file = written(tmp_path, "CD3,CD4\n1,2\n03,4\n")
    table = table_of(file, first_column_is_names=True)
    assert (table.row_names.tolist(), list(table.columns)) == (["1", "03"], ["CD4"])


def test_chosen_columns(tmp_path):
    file = written(tmp_path, 'cell,kind,"a,b",age\nx,T,1,1.5\ny,B,2,2.5\n')
    both = table_of(file, "age, kind")
    assert both.columns.to_dict("list") == {"age": [1.5, 2.5], "kind": ["T", "B"]}
    assert both.row_names.tolist() == ["x", "y"]
    assert list(table_of(file, "a,b").columns) == ["a,b"]
    assert list(table_of(file, "age,age").columns) == ["age"]
    assert table_of(file, "cell").row_names is None
    with pytest.raises(InputError, match=r"no column 'kid'\. Its columns: cell, kind"):
        table_of(file, "age,kid")


def test_parquet_with_names_in_index_or_first_column_or_none(tmp_path):
    frame = pd.DataFrame(VALUES, index=pd.Index(NAMES, name="cell"), columns=["z0", "z1"])
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index().to_parquet(tmp_path / "column.parquet")
    frame.reset_index(drop=True).to_parquet(tmp_path / "none.parquet")
    for name, names in (("index", NAMES), ("column", NAMES), ("none", None)):
        table = table_of(tmp_path / f"{name}.parquet")
        assert (None if table.row_names is None else table.row_names.tolist()) == names
        np.testing.assert_array_equal(table.columns.to_numpy(), VALUES)
    assert table_of(tmp_path / "index.parquet", "z1").columns["z1"].tolist() == VALUES[:, 1].tolist()


def test_text_that_looks_like_numbers_stays_text_in_parquet(tmp_path):
    pd.DataFrame({"cluster": ["1", "2", "1"], "z": [0.1, 0.2, 0.3]}).to_parquet(tmp_path / "a.parquet")
    assert table_of(tmp_path / "a.parquet", "cluster").columns["cluster"].tolist() == ["1", "2", "1"]


def test_arrays(tmp_path):
    for values in (VALUES, VALUES[:, 0], np.array(["T", "B"]), np.array([b"T", b"B"]), np.array([True, False])):
        np.save(tmp_path / "a.npy", values)
        table = table_of(tmp_path / "a.npy")
        expected = np.array(["T", "B"]) if values.dtype.kind == "S" else values
        np.testing.assert_array_equal(table.columns.to_numpy(), expected.reshape(len(values), -1))
        assert table.row_names is None


@pytest.mark.parametrize("values", [np.ones((2, 2, 2)), np.float64(3.0), np.ones(3) * 1j, np.zeros(3, "f4,i4")])
def test_arrays_of_other_kinds_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy holds .* of shape"):
        table_of(tmp_path / "a.npy")


def damaged_files(folder):
    np.save(folder / "pickled.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(folder / "no_rows.npy", np.empty((0, 3)))
    np.savez(folder / "archive.npz", VALUES)
    (folder / "archive.npz").rename(folder / "archive.npy")
    np.save(folder / "cut.npy", VALUES)
    (folder / "cut.npy").write_bytes((folder / "cut.npy").read_bytes()[:-8])
    for suffix in ("npy", "csv", "parquet", "h5ad"):
        (folder / f"empty.{suffix}").write_bytes(b"")
        (folder / f"bytes.{suffix}").write_bytes(bytes(range(128, 256)) * 3)
    written(folder, "a,b\n", "header_only.csv")
    written(folder, "a,b\n1,2\n1,2,3,4\n", "ragged.csv")
    written(folder, "a;b\n1;2\n", "semicolons.csv")
    written(folder, "cell,b\nx,1\n,2\n", "unnamed.csv")
    with h5py.File(folder / "other.h5ad", "w") as file:
        file["x"] = [1]
    (folder / "folder.csv").mkdir()
    return [*sorted(folder.iterdir()), folder / "absent.npy"]


def test_damaged_and_foreign_files_get_one_line_with_their_name(tmp_path):
    files = damaged_files(tmp_path)
    for file in files:
        with pytest.raises(InputError) as caught:
            table_of(file, "obsm:X" if file.suffix == ".h5ad" else None)
        message = str(caught.value)
        assert file.name in message, message
        assert "\n" not in message, message
        assert message.endswith("."), message


def test_missing_keys_list_what_there_is(h5ad):
    with pytest.raises(InputError, match=r"no obsm\['PCA'\]. Its keys: dense, sparse, table"):
        table_of(h5ad, "obsm:PCA")
    with pytest.raises(InputError, match=r"no obs\['_index'\]. Its keys: age, day, kind"):
        table_of(h5ad, "obs:_index")


def test_columns_that_are_no_numbers_are_named(tmp_path):
    table = table_of(written(tmp_path, "cell,z,kind\nx,1,T\ny,2,B\n"))
    with pytest.raises(InputError, match=r"m\.csv: column 'kind' holds 'T'.*numbers are needed"):
        table.require_numbers(Address(Path("m.csv")))


def test_arrays_are_mapped_not_loaded(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    assert isinstance(read_npy(tmp_path / "a.npy"), np.memmap)


def test_tables_are_imported_without_heavy_libraries():
    program = "import sys, nsl_assets.tables; print([m for m in ('pandas', 'h5py', 'anndata') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
