"""Measured curves of a study, read from the results."""

from typing import Any

import pandas as pd

from nsl_assets.errors import InputError
from nsl_assets.identity import cell_hashes
from nsl_assets.laws import Curve, MeasuredCurve, Truth
from nsl_assets.study import Study
from nsl_assets.tasks import lacks_total_umis
from nsl_resources.artifacts import content_hash
from nsl_resources.results import Results

COLUMNS = (
    "level, seed, umis_per_cell, mi_bits, low_bits, high_bits, floor_bits, ceiling_bits, truth_bits, measurement_hash"
)


def read_curves(
    results: Results, name: str, study: Study, *, task: str | None = None, model: str | None = None
) -> list[MeasuredCurve]:
    """All curves of trained models of a study, optionally of one task or model.

    Only measurements that the study as it stands now asks for: what earlier settings left in the table stays out.
    """
    frame = _measurements(results, name)
    if task is not None:
        frame = frame[frame["task"] == task]
    if model is not None:
        frame = frame[frame["model"] == model]
    frame = frame[is_asked_for(frame, study)]
    groups = frame.groupby(["task", "model", "n_cells", "estimator"], sort=True)
    return [_measured(names, group) for names, group in groups]


def _measurements(results: Results, name: str) -> pd.DataFrame:
    results.publish()
    with results.connect() as database:
        return database.execute(
            f"""select task, model, n_cells, estimator, {COLUMNS} from measurement
            where study = ? and is_trained order by level desc, seed""",
            [name],
        ).df()


def measurement_hashes(study: Study, task: str, model: str) -> set[str]:
    """Hashes of the measurements of trained models that the study asks for as it stands now."""
    return {
        digest
        for cell in study.cells()
        if (cell.task, cell.model) == (task, model)
        for digest in cell_hashes(study, cell).trained.measurement.values()
    }


def is_asked_for(frame: pd.DataFrame, study: Study) -> pd.Series:
    """By row of a frame of measurements: whether the study as it stands now asks for it.

    Where the file of a task is not here (the study was imported), its rows count if they are in the grid.
    """
    wanted: set[str] = set()
    absent: set[str] = set()
    for task in study.tasks:
        try:
            wanted.update(*(measurement_hashes(study, task, model) for model in study.models))
        except InputError:
            absent.add(task)
    is_wanted: pd.Series = frame["measurement_hash"].isin(wanted)
    if not absent:
        return is_wanted
    grid = {(cell.task, cell.model, cell.n_cells, cell.level, cell.seed) for cell in study.cells()}
    points = zip(*(frame[name] for name in ("task", "model", "n_cells", "level", "seed")), strict=True)
    is_in_grid = pd.Series([point in grid for point in points], index=frame.index, dtype=bool)
    return is_wanted | (frame["task"].isin(absent) & frame["estimator"].isin(study.probing.estimators) & is_in_grid)


def _measured(names: Any, rows: pd.DataFrame) -> MeasuredCurve:
    task, model, n_cells, estimator = names
    return MeasuredCurve(
        task=task,
        model=model,
        n_cells=int(n_cells),
        estimator=estimator,
        curve=Curve(
            depth=rows["umis_per_cell"].to_numpy(float),
            mi_bits=rows["mi_bits"].to_numpy(float),
            seed=rows["seed"].to_numpy(int),
            level=rows["level"].to_numpy(float),
            low_bits=rows["low_bits"].to_numpy(float),
            high_bits=rows["high_bits"].to_numpy(float),
        ),
        floor_bits=float(rows["floor_bits"].mean()),
        ceiling_bits=None if rows["ceiling_bits"].isna().all() else float(rows["ceiling_bits"].mean()),
        truth=_truth(rows),
        digest=content_hash("curve", {"measurements": sorted(rows["measurement_hash"])}),
    )


def _truth(rows: pd.DataFrame) -> Truth | None:
    if rows["truth_bits"].isna().any():
        return None
    by_level = rows.groupby("level")[["umis_per_cell", "truth_bits"]].mean().sort_values("umis_per_cell")
    return by_level["umis_per_cell"].to_numpy(float), by_level["truth_bits"].to_numpy(float)


def unscaled_panels(study: Study) -> frozenset[str]:
    """Tasks whose genes are a selection of unknown share; a file that is not here is not taken for one."""
    found: set[str] = set()
    for task, settings in study.tasks.items():
        try:
            found.update({task} if lacks_total_umis(settings) else ())
        except InputError:
            continue
    return frozenset(found)


def panel_shares(results: Results, name: str) -> dict[str, float]:
    """Share of all UMIs that lie in the genes of the data, by task, where a study measured both."""
    results.publish()
    with results.connect() as database:
        rows = database.execute(
            """select task, avg(umis_per_cell / total_umis_per_cell) from measurement
            where study = ? and total_umis_per_cell > 0 group by task""",
            [name],
        ).fetchall()
    return {task: min(float(share), 1.0) for task, share in rows}
