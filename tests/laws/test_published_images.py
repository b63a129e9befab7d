"""The 12 published image curves: Caltech-101 with Gaussian noise (x = 1/σ²) and pixelated by a factor f (x = 1/f)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsl_assets.laws import Curve, LawSettings, fit_noise_law

TABLE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "published_caltech101.csv"
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the published measurements are not here")
POWER = {"Caltech101_Gaussian": 2, "Caltech101_resolution": 1}


def mean_r_squared(power: dict[str, int]) -> float:
    rows = pd.read_csv(TABLE)
    r2 = []
    for (source, _), of_curve in rows[rows["source"].isin(power)].groupby(["source", "label"]):
        x = 1 / of_curve["noise_level"].to_numpy() ** power[source]
        curve = Curve(x, of_curve["mi_bits"].to_numpy(), np.zeros(len(x), dtype=int), level=x)
        r2.append(fit_noise_law(curve, LawSettings(protocol="published")).r2_points)
    assert len(r2) == 6 * len(power)
    return float(np.mean(r2))


def test_mean_r_squared_of_the_12_curves() -> None:
    assert mean_r_squared(POWER) == pytest.approx(0.986, abs=5e-4)


@pytest.mark.parametrize(("source", "other_power"), [("Caltech101_Gaussian", 1), ("Caltech101_resolution", 2)])
def test_the_other_exponent_fits_worse(source: str, other_power: int) -> None:
    assert mean_r_squared({source: other_power}) < mean_r_squared({source: POWER[source]}) - 0.02
