"""The published measurements: Table C1, the mean R² and the corrected depths of section 7 of the science text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsl_assets.laws import Curve, LawSettings, fit_noise_law

TABLE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "published_mi.csv"
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the published measurements are not here")

TABLE_C1 = {
    ("author_day", "Geneformer"): (2571.69, 201.05),
    ("author_day", "PCA"): (5606.36, 993.97),
    ("author_day", "RandomProjection"): (8012.47, 1028.85),
    ("author_day", "SCVI"): (2815.46, 198.79),
    ("clone", "Geneformer"): (4212.89, 854.17),
    ("clone", "PCA"): (20190.04, 3764.73),
    ("clone", "RandomProjection"): (7339.64, 1673.02),
    ("clone", "SCVI"): (5073.33, 456.98),
    ("ng_idx", "Geneformer"): (2212.04, 537.27),
    ("ng_idx", "PCA"): (32107.48, 31922.48),
    ("ng_idx", "RandomProjection"): (1339.94, 177.00),
    ("ng_idx", "SCVI"): (5000.44, 830.70),
    ("protein_counts", "Geneformer"): (8090.07, 1510.31),
    ("protein_counts", "PCA"): (46266.58, 9330.52),
    ("protein_counts", "RandomProjection"): (46989.55, 5007.84),
    ("protein_counts", "SCVI"): (44958.50, 6071.71),
}


@pytest.fixture(scope="module")
def measurements() -> pd.DataFrame:
    return pd.read_csv(TABLE)


def curve_of(rows: pd.DataFrame) -> Curve:
    return Curve(rows["umis_per_cell"].to_numpy(), rows["mi_bits"].to_numpy(), rows["seed"].to_numpy())


def largest(measurements: pd.DataFrame, task: str, model: str) -> Curve:
    rows = measurements[(measurements["task"] == task) & (measurements["model"] == model)]
    return curve_of(rows[rows["n_cells"] == rows["n_cells"].max()])


@pytest.mark.parametrize(("task", "model"), TABLE_C1)
def test_table_c1(measurements: pd.DataFrame, task: str, model: str) -> None:
    fit = fit_noise_law(largest(measurements, task, model), LawSettings(protocol="published"))
    depth, one_sigma = TABLE_C1[task, model]
    assert fit.target_depth == pytest.approx(depth, rel=1e-3)
    assert fit.target_depth_high - fit.target_depth == pytest.approx(one_sigma, rel=1e-3)


def test_mean_r_squared_of_the_160_curves(measurements: pd.DataFrame) -> None:
    curves = [curve_of(rows) for _, rows in measurements.groupby(["task", "model", "n_cells"])]
    settings = LawSettings(protocol="published")
    r2 = np.array([fit_noise_law(curve, settings).r2_seed_means for curve in curves])
    assert len(r2) == 160
    assert r2.mean() == pytest.approx(0.97897, abs=5e-6)
    assert r2.std(ddof=1) / np.sqrt(160) == pytest.approx(0.00372, abs=5e-6)


@pytest.mark.parametrize(
    ("task", "depth"), [("protein_counts", 4624), ("clone", 1835), ("author_day", 737), ("ng_idx", 1256)]
)
def test_corrected_depth_of_scvi(measurements: pd.DataFrame, task: str, depth: float) -> None:
    fit = fit_noise_law(largest(measurements, task, "SCVI"), LawSettings())
    assert fit.target_depth == pytest.approx(depth, abs=0.6)
    assert fit.target_depth_low < fit.target_depth < fit.target_depth_high


def test_repeated_random_projections_are_seen(measurements: pd.DataFrame) -> None:
    fit = fit_noise_law(largest(measurements, "clone", "RandomProjection"), LawSettings())
    assert {"not_replicated", "one_seed", "not_monotone"} <= set(fit.flags)
    assert fit.n_points == 10
