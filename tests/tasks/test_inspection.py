"""A check finds everything at once, and says what a biologist would want to know."""

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from nsl_assets.errors import NslError
from nsl_assets.tasks import Finding, H5adTask, SimulatedCells, inspect, write_auxiliary, write_data
from nsl_assets.tasks.association import association, cramers_v, is_technical, variance_explained
from nsl_assets.tasks.auxiliary import Auxiliary
from nsl_assets.tasks.depth_summary import summarise_depth


def found(path: Path, level: str, auxiliary: str = "obs:cell_type", **settings: object) -> list[str]:
    task = H5adTask.model_validate({"path": path, "auxiliary": auxiliary, **settings})
    return [f"{f.topic}: {f.message}" for f in inspect(task) if f.level == level]


def edited(path: Path, **obs: object) -> Path:
    adata = anndata.read_h5ad(path)
    for key, values in obs.items():
        adata.obs[key] = values
    adata.write_h5ad(path)
    return path


def test_a_sound_file_has_no_errors(small_h5ad: Path) -> None:
    assert found(small_h5ad, "error") == []
    ok = found(small_h5ad, "ok")
    assert ok[0].startswith("counts: X: 400 cells x 60 genes, all values are counts")
    assert any("3 classes, known in 400 of 400 cells, entropy 1.58 bits" in line for line in ok)
    assert any("240 cells to train on, 40 to validate, 120 to probe" in line for line in ok)


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_all_errors_are_found_at_once(small_h5ad: Path) -> None:
    adata = anndata.read_h5ad(small_h5ad)
    adata.obs_names = ["cell0", *adata.obs_names[:-1]]
    adata.var_names = ["gene0", *adata.var_names[:-1]]
    adata.write_h5ad(small_h5ad)
    errors = found(small_h5ad, "error", "obs:celltype", layer="normalised", group="donr")
    assert len(errors) == 5
    for part in ("Gene name", "layer 'normalised' holds", "Cell name", "Did you mean 'cell_type'", "'donor'"):
        assert any(part in error for error in errors)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"layer": "normalised"},
        {"layer": "none"},
        {"group": "donor"},
        {"group": "none"},
        {"group": "sex"},
    ],
)
def test_an_error_is_found_exactly_where_the_task_cannot_be_written(
    small_h5ad: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    edited(small_h5ad, sex=np.array(["f", "m"])[np.arange(400) % 2])
    task = H5adTask.model_validate({"path": small_h5ad, "auxiliary": "obs:cell_type", **settings})
    try:
        write_data(task, tmp_path)
        write_auxiliary(task, tmp_path)
        fails = False
    except NslError:
        fails = True
    assert any(f.level == "error" for f in inspect(task)) is fails


def test_a_probe_of_one_class_is_an_error(small_h5ad: Path) -> None:
    errors = found(small_h5ad, "error", group="cell_type")
    assert any("all probe cells are of class" in error for error in errors)


def test_a_missing_file_is_a_finding(tmp_path: Path) -> None:
    errors = found(tmp_path / "none.h5ad", "error")
    assert len(errors) == 1
    assert errors[0].startswith("file: There is no file")


def test_too_few_pairs_are_an_error(small_h5ad: Path) -> None:
    labels = np.array(["a"] * 30 + ["b"] * 30 + ["unknown"] * 340)
    errors = found(edited(small_h5ad, label=labels), "error", "obs:label", unknown_labels=["unknown"])
    assert any("at least 50 are needed" in error for error in errors)
    assert any("not known: unknown_labels" in w for w in found(small_h5ad, "warning", "obs:label"))


def test_a_batch_that_predicts_the_auxiliary_is_a_warning(small_h5ad: Path) -> None:
    types = anndata.read_h5ad(small_h5ad).obs["cell_type"].astype(str)
    edited(small_h5ad, sample=("run of " + types).to_numpy())
    warnings = found(small_h5ad, "warning")
    assert any("obs:sample (3 values)" in w and "Cramér's V 1.00" in w for w in warnings)
    assert any("--group sample" in w for w in warnings)
    assert any("share of variance 0.9" in w for w in found(small_h5ad, "warning", "obs:age"))


def test_an_independent_donor_is_only_suggested_as_group(small_h5ad: Path) -> None:
    assert not any("donor" in w for w in found(small_h5ad, "warning"))
    assert any("--group donor" in note for note in found(small_h5ad, "note"))
    assert not any("donor" in note for note in found(small_h5ad, "note", group="donor"))


def test_library_size_as_auxiliary_is_a_warning(small_h5ad: Path) -> None:
    umis = np.asarray(anndata.read_h5ad(small_h5ad).X.sum(axis=1)).ravel()
    warnings = found(edited(small_h5ad, n_umi=umis), "warning", "obs:n_umi")
    assert any("n_umi shares 9" in w for w in warnings)


def test_empty_cells_are_counted(small_h5ad: Path) -> None:
    adata = anndata.read_h5ad(small_h5ad)
    dense = adata.X.toarray()
    dense[:8] = 0
    adata.X = csr_matrix(dense)
    adata.write_h5ad(small_h5ad)
    assert any("2.00% of the cells have no UMI" in w for w in found(small_h5ad, "warning"))


def test_a_huge_matrix_is_looked_at_in_parts(small_h5ad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsl_assets.tasks.matrix._BLOCK_ENTRIES", 1000)
    monkeypatch.setattr("nsl_assets.tasks.file_inspection.MOST_SCANNED_ENTRIES", 5000)
    assert "blocks are counts" in found(small_h5ad, "ok")[0]


def test_simulated_cells_are_described() -> None:
    findings = inspect(SimulatedCells())
    assert {f.level for f in findings} == {"ok", "note"}
    assert any("3.36 bits" in f.message for f in findings)


@pytest.mark.parametrize(
    ("name", "auxiliary"),
    [
        ("citeseq_pbmc10k", "obsm:protein"),
        ("celltype_pbmc3k", "obs:cell_type"),
        ("clonal_larry781", "obs:day"),
        ("devtime_worm_embryo", "obs:time_point"),
        ("spatial_merfish_poa", "obsm:spatial"),
    ],
)
def test_real_files_are_sound(shared_data: Path, name: str, auxiliary: str) -> None:
    path = shared_data / f"{name}.h5ad"
    assert found(path, "error", auxiliary) == []
    umis = anndata.read_h5ad(path).obs["n_umi"]
    depth = next(line for line in found(path, "ok", auxiliary) if line.startswith("depth"))
    assert depth.startswith(f"depth: {np.median(umis):,.0f} UMIs per cell")


def test_worm_time_points_are_confounded_with_batch(shared_data: Path) -> None:
    warnings = found(shared_data / "devtime_worm_embryo.h5ad", "warning", "obs:time_point")
    assert any("obs:batch (7 values) and the auxiliary: Cramér's V 1.00" in w for w in warnings)


def test_variance_explained_is_adjusted_r_squared() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, 200)
    values = codes + rng.normal(size=200)
    design = np.eye(5)[codes]
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    r_squared = 1 - residual.var() / values.var()
    assert variance_explained(values, codes) == pytest.approx(1 - (1 - r_squared) * 199 / 195)


def test_cramers_v_is_one_for_copies_and_about_zero_for_chance() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 15, 500), rng.integers(0, 15, 500)
    assert cramers_v(first, first) == pytest.approx(1)
    assert cramers_v(first, second) < 0.08  # uncorrected: about 0.16
    merged = Auxiliary("categorical", first.astype(np.int32), tuple("abcdefghijklmno"))
    assert association(merged, np.where(first < 7, 0, 1)) > 0.98
    assert association(merged, np.zeros(500, int)) == 0


@pytest.mark.parametrize("column", ["batch", "orig.ident", "Donor_ID", "library_prep", "patient", "sampleName"])
def test_technical_columns_are_recognised(column: str) -> None:
    assert is_technical(column)
    assert not is_technical("cell_type")


def test_depth_is_summarised_in_one_line() -> None:
    depth = summarise_depth(np.array([0, *range(1, 100)]))
    assert (depth.median, depth.low, depth.empty_fraction) == (49.5, 4.95, 0.01)
    assert "\n" not in str(depth)
    assert depth.bars.startswith("1 ")
    assert depth.bars.endswith("█ 99")


def test_findings_are_one_line_each(small_h5ad: Path) -> None:
    findings: list[Finding] = inspect(H5adTask(path=small_h5ad, auxiliary="obsm:protein"))
    assert all("\n" not in finding.message for finding in findings)
