"""Any .h5ad a user may have is read right, or refused with a message to act on."""

from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from nsl_assets.errors import InputError, NslError
from nsl_assets.tasks import H5adTask, inspect, open_counts, write_auxiliary, write_data
from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.matrix import Matrix

Change = Callable[[anndata.AnnData], None]


def changed(path: Path, change: Change) -> Path:
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path)
    return path


def refusal(path: Path, folder: Path, **settings: object) -> str:
    task = H5adTask.model_validate({"path": path, "auxiliary": "obs:cell_type", **settings})
    with pytest.raises(NslError) as error:
        write_data(task, folder)
        write_auxiliary(task, folder)
    return str(error.value)


@pytest.mark.parametrize("layout", [csr_matrix, csc_matrix, lambda x: np.asarray(x.todense())])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_every_layout_and_number_type_gives_the_same_counts(
    small_h5ad: Path, tmp_path: Path, layout: Callable[[csr_matrix], object], dtype: type
) -> None:
    expected = anndata.read_h5ad(small_h5ad).X.toarray()

    def stored(adata: anndata.AnnData) -> None:
        adata.X = layout(adata.X.astype(dtype))

    task = H5adTask(path=changed(small_h5ad, stored), auxiliary="obs:cell_type")
    write_data(task, tmp_path)
    np.testing.assert_array_equal(open_counts(tmp_path / "counts.zarr").rows(0, expected.shape[0]).toarray(), expected)


def test_raw_is_a_layer_with_genes_of_its_own(small_h5ad: Path) -> None:
    adata = anndata.read_h5ad(small_h5ad)
    adata.raw = adata.copy()
    adata[:, :10].copy().write_h5ad(small_h5ad)
    with open_h5ad(small_h5ad) as file:
        assert (file.matrix(None).shape, file.matrix("raw").shape) == ((400, 10), (400, 60))
        assert file.matrix("raw").gene_names.tolist() == adata.var_names.tolist()


@pytest.mark.filterwarnings("ignore:Element")
def test_files_of_anndata_0_7_are_read(small_h5ad: Path) -> None:
    expected = anndata.read_h5ad(small_h5ad).obs["cell_type"].tolist()
    with h5py.File(small_h5ad, "r+") as file:
        obs = file["obs"]
        labels, codes = obs["cell_type/categories"][:], obs["cell_type/codes"][:]
        for column in ("cell_type", "donor"):
            del obs[column]
        beside = obs.create_group("__categories")
        beside.create_dataset("cell_type", data=labels, dtype=h5py.string_dtype())
        obs.create_dataset("cell_type", data=codes).attrs["categories"] = beside["cell_type"].ref
        obs.attrs["encoding-version"], obs.attrs["column-order"] = "0.1.0", ["cell_type", "age"]
    with open_h5ad(small_h5ad) as file:
        assert file.obs("cell_type").tolist() == expected
        assert file.obs_keys == ["age", "cell_type"]


def test_blocks_are_bounded_and_cover_all_rows(small_h5ad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsl_assets.tasks.matrix._BLOCK_ENTRIES", 500)
    with open_h5ad(small_h5ad) as file:
        matrix: Matrix = file.matrix(None)
        bounds = matrix.block_bounds()
        blocks = [block.toarray() for block in matrix.blocks()]
    assert [start for start, _ in bounds[1:]] == [stop for _, stop in bounds[:-1]]
    assert max(np.count_nonzero(block) for block in blocks) <= 500
    np.testing.assert_array_equal(np.concatenate(blocks), anndata.read_h5ad(small_h5ad).X.toarray())


@pytest.mark.parametrize(("value", "shown"), [(0.37, "0.37"), (-1.0, "-1"), (np.nan, "nan"), (np.inf, "inf")])
def test_a_value_that_is_no_count_is_named(small_h5ad: Path, tmp_path: Path, value: float, shown: str) -> None:
    def spoil(adata: anndata.AnnData) -> None:
        dense = adata.X.toarray().astype(np.float64)
        dense[123, 45] = value
        adata.X = csr_matrix(dense)

    message = refusal(changed(small_h5ad, spoil), tmp_path)
    assert f"X holds {shown} at cell cell123, gene gene45: raw integer counts are needed." in message
    assert "No layer of this file holds counts" in message


def test_the_layer_that_holds_counts_is_suggested(small_h5ad: Path, tmp_path: Path) -> None:
    def swap(adata: anndata.AnnData) -> None:
        adata.layers["counts"], adata.X = adata.X, adata.layers["normalised"]

    path = changed(small_h5ad, swap)
    assert "Layer 'counts' holds counts: name it with --layer counts." in refusal(path, tmp_path)


def test_x_is_suggested_for_a_layer_without_counts(small_h5ad: Path, tmp_path: Path) -> None:
    message = refusal(small_h5ad, tmp_path, layer="normalised")
    assert message.startswith("layer 'normalised' holds ")
    assert message.endswith("X holds counts: leave the layer out.")


def repeat_a_cell(adata: anndata.AnnData) -> None:
    adata.obs_names = ["cell0", *adata.obs_names[:-1]]


def repeat_a_gene(adata: anndata.AnnData) -> None:
    adata.var_names = ["gene0", *adata.var_names[:-1]]


def one_class(adata: anndata.AnnData) -> None:
    adata.obs["cell_type"] = "B"


@pytest.mark.filterwarnings("ignore:.*names are not unique")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (repeat_a_cell, "Cell name 'cell0' occurs 2 times (1 name(s) are repeated)"),
        (repeat_a_gene, "adata.var_names_make_unique()"),
        (one_class, "obs:cell_type has only one value (B)"),
    ],
)
def test_unusable_content_is_refused(small_h5ad: Path, tmp_path: Path, change: Change, expected: str) -> None:
    assert expected in refusal(changed(small_h5ad, change), tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layer": "counts"}, "There is no layer 'counts'. Present: X, normalised."),
        ({"auxiliary": "obs:celltype"}, "no column 'celltype' in obs. Did you mean 'cell_type'?"),
        ({"auxiliary": "obsm:proteins"}, "no key 'proteins' in obsm. Did you mean 'protein'?"),
        ({"group": "donr"}, "Did you mean 'donor'?"),
        ({"unknown_labels": ["b"]}, "There is no class 'b' in obs:cell_type (unknown_labels)"),
        ({"auxiliary_kind": "continuous"}, "a finite number is needed"),
        ({"auxiliary": "obsm:protein", "auxiliary_kind": "categorical"}, "has 3 columns"),
        ({"auxiliary": "obs:age", "auxiliary_kind": "categorical"}, "400 different values in as many cells"),
    ],
)
def test_wrong_settings_are_refused(
    small_h5ad: Path, tmp_path: Path, settings: dict[str, object], expected: str
) -> None:
    assert expected in refusal(small_h5ad, tmp_path, **settings)


def test_a_missing_file_names_its_neighbours(small_h5ad: Path, tmp_path: Path) -> None:
    assert "In that folder: cells.h5ad." in refusal(tmp_path / "cell.h5ad", tmp_path)


def test_a_folder_is_no_file(small_h5ad: Path, tmp_path: Path) -> None:
    assert "is a folder: name the .h5ad file itself. In that folder: cells.h5ad." in refusal(tmp_path, tmp_path / "a")


def cut_column(file: h5py.File) -> None:
    attributes, values = dict(file["obs/age"].attrs), file["obs/age"][:-5]
    del file["obs/age"]
    file.create_dataset("obs/age", data=values).attrs.update(attributes)


def unknown_encoding(file: h5py.File) -> None:
    file["obs/age"].attrs["encoding-type"] = "of-the-future"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda file: file.__delitem__("obs/_index"), "the names of obs cannot be read"),
        (lambda file: file.__delitem__("var/_index"), "the names of var cannot be read"),
        (lambda file: file.__delitem__("X/indices"), "X lacks its indices"),
        (lambda file: file.__delitem__("obs/age"), "no column 'age'"),
        (cut_column, "obs:age has 395 values, but the file names 400 cells"),
        (unknown_encoding, "obs:age cannot be read"),
    ],
)
def test_damage_is_named_and_said_what_to_do_about(
    small_h5ad: Path, damage: Callable[[h5py.File], None], what: str
) -> None:
    with h5py.File(small_h5ad, "r+") as file:
        damage(file)
    errors = [one.message for one in inspect(H5adTask(path=small_h5ad, auxiliary="obs:age")) if one.level == "error"]
    assert any(what in error for error in errors), errors


def test_bytes_that_were_overwritten_anywhere_are_an_error_or_harmless(small_h5ad: Path) -> None:
    intact = small_h5ad.read_bytes()
    said = []
    for start in range(600, len(intact), len(intact) // 40):
        small_h5ad.write_bytes(intact[:start] + bytes(range(256)) + intact[start + 256 :])
        said += inspect(H5adTask(path=small_h5ad, auxiliary="obs:age"))
    errors = {finding.message for finding in said if finding.level == "error"}
    assert errors
    assert all("\n" not in error and len(error) > 40 for error in errors)


def test_a_truncated_file_is_recognised(small_h5ad: Path, tmp_path: Path) -> None:
    small_h5ad.write_bytes(small_h5ad.read_bytes()[:-1000])
    assert "cut short" in refusal(small_h5ad, tmp_path)


def test_a_text_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "counts.h5ad"
    path.write_text("gene,cell\n")
    assert "not an HDF5 file" in refusal(path, tmp_path)


def test_a_10x_file_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "filtered_feature_bc_matrix.h5"
    with h5py.File(path, "w") as file:
        file.create_group("matrix")
    assert "scanpy.read_10x_h5" in refusal(path, tmp_path)


def test_an_empty_matrix_is_refused(small_h5ad: Path, tmp_path: Path) -> None:
    anndata.read_h5ad(small_h5ad)[:0].copy().write_h5ad(small_h5ad)
    assert "X is empty (0 cells x 60 genes)" in refusal(small_h5ad, tmp_path)


def test_damaged_indices_are_refused(small_h5ad: Path, tmp_path: Path) -> None:
    with h5py.File(small_h5ad, "r+") as file:
        file["X/indices"][5] = 1000
    assert "The file is damaged" in refusal(small_h5ad, tmp_path)


def test_damaged_row_pointers_are_refused(small_h5ad: Path, tmp_path: Path) -> None:
    with h5py.File(small_h5ad, "r+") as file:
        file["X/indptr"][5] = 0
    with pytest.raises(InputError, match="index arrays do not fit"):
        write_data(H5adTask(path=small_h5ad, auxiliary="obs:age"), tmp_path)
