"""Auxiliary signals are read as the kind that they are, with unknown values left out."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from nsl_assets.tasks import Auxiliary, H5adTask
from nsl_assets.tasks.auxiliary import load_auxiliary, read_auxiliary
from nsl_assets.tasks.h5ad import open_h5ad


def read(path: Path, auxiliary: str, **settings: object) -> Auxiliary:
    with open_h5ad(path) as file:
        return read_auxiliary(file, H5adTask.model_validate({"path": path, "auxiliary": auxiliary, **settings}))


def with_column(path: Path, values: object) -> Path:
    adata = anndata.read_h5ad(path)
    adata.obs["signal"] = values
    adata.write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.arange(400) % 3, "categorical"),
        (np.arange(400) % 20, "categorical"),
        (np.arange(400) % 21, "continuous"),
        ((np.arange(400) % 3) / 2, "continuous"),
        (np.arange(400) % 2 == 0, "categorical"),
        (np.array(["a", "b"])[np.arange(400) % 2], "categorical"),
        (pd.array(np.arange(400) % 3, dtype="Int64"), "categorical"),
    ],
)
def test_the_kind_follows_the_stated_rule(small_h5ad: Path, values: object, kind: str) -> None:
    assert read(with_column(small_h5ad, values), "obs:signal").kind == kind


def test_classes_keep_their_cells(small_h5ad: Path) -> None:
    auxiliary = read(small_h5ad, "obs:cell_type")
    labels = np.array(auxiliary.names)[auxiliary.values]
    np.testing.assert_array_equal(labels, anndata.read_h5ad(small_h5ad).obs["cell_type"].to_numpy())
    assert auxiliary.is_observed.all()


def test_unknown_labels_and_missing_values_are_not_observed(small_h5ad: Path) -> None:
    labels = np.array(["a", "b", "unknown", None], dtype=object)[np.arange(400) % 4]
    auxiliary = read(with_column(small_h5ad, labels), "obs:signal", unknown_labels=["unknown"])
    assert auxiliary.names == ("a", "b")
    np.testing.assert_array_equal(auxiliary.values[:4], [0, 1, -1, -1])
    np.testing.assert_array_equal(auxiliary.is_observed[:4], [True, True, False, False])


def test_numbers_are_standardised_and_missing_ones_are_not_observed(small_h5ad: Path) -> None:
    values = np.arange(400.0)
    values[7] = np.nan
    auxiliary = read(with_column(small_h5ad, values), "obs:signal")
    assert np.flatnonzero(~auxiliary.is_observed).tolist() == [7]
    assert np.nanmean(auxiliary.values) == pytest.approx(0, abs=1e-12)
    assert np.nanstd(auxiliary.values) == pytest.approx(1)


def test_proteins_are_log_transformed_and_coordinates_are_not(small_h5ad: Path) -> None:
    adata = anndata.read_h5ad(small_h5ad)
    proteins = np.log1p(np.asarray(adata.obsm["protein"], dtype=float))
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(0, 9, (400, 2))
    adata.write_h5ad(small_h5ad)
    expected = (proteins - proteins.mean(axis=0)) / proteins.std(axis=0)
    np.testing.assert_allclose(read(small_h5ad, "obsm:protein").values, expected)
    raw = read(small_h5ad, "obsm:protein", auxiliary_transform="none").values
    np.testing.assert_array_equal(raw, adata.obsm["protein"])
    where = read(small_h5ad, "obsm:spatial")
    assert where.names == ("spatial 1", "spatial 2")
    assert np.abs(np.corrcoef(where.values[:, 0], adata.obsm["spatial"][:, 0])[0, 1]) == pytest.approx(1)


def test_constant_columns_are_left_out(small_h5ad: Path) -> None:
    adata = anndata.read_h5ad(small_h5ad)
    table = pd.DataFrame({"CD3": np.arange(400), "isotype": 5}, index=adata.obs_names)
    adata.obsm["protein"] = table
    adata.write_h5ad(small_h5ad)
    assert read(small_h5ad, "obsm:protein").names == ("CD3",)


@pytest.mark.parametrize("auxiliary", ["obs:cell_type", "obsm:protein"])
def test_a_saved_signal_comes_back(small_h5ad: Path, tmp_path: Path, auxiliary: str) -> None:
    before = read(small_h5ad, auxiliary)
    before.save(tmp_path)
    after = load_auxiliary(tmp_path)
    assert (after.kind, after.names) == (before.kind, before.names)
    np.testing.assert_array_equal(after.values, before.values)


def test_an_address_without_place_is_refused() -> None:
    with pytest.raises(ValueError, match="obs:cell_type"):
        H5adTask(path=Path("x.h5ad"), auxiliary="cell_type")
