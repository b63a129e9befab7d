"""Curves of stored measurements: read from the results, fitted, drawn, landed as rows of table `noise_law`."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsl_assets import laws
from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.identity import cell_hashes
from nsl_assets.laws import Curve, NoiseLawFit
from nsl_assets.study import Study
from nsl_resources.artifacts import content_hash
from nsl_resources.results import NoiseLawRow, Results

COLUMNS = "level, seed, umis_per_cell, mi_bits, floor_bits, ceiling_bits, truth_bits, measurement_hash"


@dataclass(frozen=True)
class MeasuredCurve:
    """Information against depth of one model at one training size, by one estimator."""

    task: str
    model: str
    n_cells: int
    estimator: str
    curve: Curve
    floor_bits: float
    """Mean of what the estimator finds in shuffled pairs."""
    ceiling_bits: float | None
    """Entropy of a categorical auxiliary signal."""
    truth: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
    """Depths and true bits, where the data are simulated."""
    digest: str
    """Content hash over the measurements."""

    @property
    def title(self) -> str:
        """What a figure of this curve says above itself."""
        return f"{self.task} · {self.model} · {self.n_cells:,} cells · {self.estimator}"


@dataclass(frozen=True)
class FittedCurve:
    """A curve and its noise law; `fit` is None where it cannot be fitted, and `problem` says why."""

    measured: MeasuredCurve
    fit: NoiseLawFit | None
    problem: str = ""


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
    known = ((name, other) for name in study.tasks for other in study.models)
    wanted = {digest for names in known for digest in measurement_hashes(study, *names)}
    frame = frame[frame["measurement_hash"].isin(wanted)]
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
        ),
        floor_bits=float(rows["floor_bits"].mean()),
        ceiling_bits=None if rows["ceiling_bits"].isna().all() else float(rows["ceiling_bits"].mean()),
        truth=_truth(rows),
        digest=content_hash("curve", {"measurements": sorted(rows["measurement_hash"])}),
    )


def _truth(rows: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    if rows["truth_bits"].isna().any():
        return None
    by_level = rows.groupby("level")[["umis_per_cell", "truth_bits"]].mean().sort_values("umis_per_cell")
    return by_level["umis_per_cell"].to_numpy(float), by_level["truth_bits"].to_numpy(float)


def fit_curve(measured: MeasuredCurve, study: Study) -> FittedCurve:
    """Fit the noise law to one curve; a curve that cannot be fitted stops no other."""
    try:
        fit = laws.fit_noise_law(measured.curve, study.laws, ceiling_bits=measured.ceiling_bits)
    except (InputError, MeasurementError) as error:
        return FittedCurve(measured, None, str(error))
    return FittedCurve(measured, fit)


def law_hash(fitted: FittedCurve, study: Study) -> str:
    """Content hash of a fitted law: the measurements and how they were fitted."""
    return content_hash(
        "noise_law",
        {
            "curve": fitted.measured.digest,
            "settings": study.laws.identity(),
            "code_version": laws.CODE_VERSION,
        },
    )


def land_laws(results: Results, name: str, study: Study, fitted: list[FittedCurve]) -> None:
    """Land the fitted laws as rows of table `noise_law` and publish them."""
    results.land("noise_law", [_law_row(name, study, one) for one in fitted if one.fit is not None])
    results.publish()


def _law_row(name: str, study: Study, fitted: FittedCurve) -> NoiseLawRow:
    measured, fit = fitted.measured, fitted.fit
    assert fit is not None
    shared = {column.name for column in fields(NoiseLawRow)} & {column.name for column in fields(fit)}
    return NoiseLawRow(
        study=name,
        task=measured.task,
        model=measured.model,
        n_cells=measured.n_cells,
        estimator=measured.estimator,
        protocol=study.laws.protocol,
        is_headline=measured.estimator == study.probing.headline,
        is_converged=fit.converged,
        diagnostics={column.name: getattr(fit, column.name) for column in fields(fit) if column.name not in shared},
        law_hash=law_hash(fitted, study),
        fitted_at=datetime.now(UTC),
        **{column: getattr(fit, column) for column in shared},
    )
