"""Joint laws on the 16 published surfaces: held-out errors and coverage; the small version on four of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsl_assets.laws import GridCells, JointSettings, Surface, grid_cells_of, held_out_errors

TABLE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "published_mi.csv"
pytestmark = pytest.mark.skipif(not TABLE.exists(), reason="the published measurements are not here")

COLUMNS = ("umis_per_cell", "n_cells", "mi_bits", "seed", "quality")
RIVAL = JointSettings(form="H", misfit_share=0)


def published_surfaces() -> dict[str, GridCells]:
    rows = pd.read_csv(TABLE)
    return {
        f"{task} {model}": grid_cells_of(Surface(*(of_surface[name].to_numpy() for name in COLUMNS)))
        for (task, model), of_surface in rows.groupby(["task", "model"])
    }


def table(surfaces: list[GridCells], settings: JointSettings, n_draws: int) -> tuple[np.ndarray, np.ndarray]:
    """RMSE in bits and coverage, (n_surfaces, 3) each: random, largest, largest three."""
    errors = held_out_errors(surfaces, settings, n_draws=n_draws)
    return tuple(
        np.array([[getattr(one, name) for one in of_surface] for of_surface in errors])
        for name in ("rmse_bits", "covered")
    )


def test_surfaces_are_those_of_the_paper() -> None:
    surfaces = published_surfaces()
    assert len(surfaces) == 16
    assert {len(cells.depth) for cells in surfaces.values()} == {100}


def test_scvi_is_predicted_better_than_by_the_rival() -> None:
    surfaces = [cells for name, cells in published_surfaces().items() if name.endswith("SCVI")]
    rmse, covered = table(surfaces, JointSettings(), 2)
    rival, _ = table(surfaces, RIVAL, 2)
    assert (rmse.mean(axis=0) < rival.mean(axis=0)).all()
    assert (rmse.mean(axis=0) <= [0.075, 0.12, 0.14]).all()
    assert (covered.mean(axis=0) > 0.88).all()


@pytest.mark.slow
def test_all_surfaces_keep_to_the_limits() -> None:
    surfaces = list(published_surfaces().values())
    rmse, covered = table(surfaces, JointSettings(), 20)
    rival, _ = table(surfaces, RIVAL, 20)
    assert (rmse.mean(axis=0) <= [0.065, 0.105, 0.132]).all()
    better = (rmse < rival).sum(axis=0)
    assert min(better[0], better[2]) >= 11
    assert ((covered.mean(axis=0) >= 0.90) & (covered.mean(axis=0) <= 0.98)).all()
    assert ((rmse - rival).max(axis=0)[:2] <= 0.03).all()
