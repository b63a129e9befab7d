"""Laws, comparisons and advice of a study as rows of the results tables, each with the hash of its origin."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from nsl_assets import laws, planning
from nsl_assets.laws import ComparedLaws, ComparedModels, FittedCells, FittedCurve, FittedSurface, MeasuredCurve
from nsl_assets.planning import Advice
from nsl_assets.study import Study
from nsl_resources.artifacts import content_hash
from nsl_resources.results import (
    AdviceRow,
    CellNumberLawRow,
    JointLawRow,
    LawComparisonRow,
    ModelComparisonRow,
    NoiseLawRow,
    Results,
    Row,
    TableName,
)

MAIN_JOINT_PARAMETERS = ("i_inf_bits", "ubar", "n0", "exponent")


def law_hash(kind: TableName, digests: Sequence[str], study: Study) -> str:
    """Content hash of a fitted law: the curves that it came from, and how it was fitted."""
    return content_hash(
        kind, {"curves": list(digests), "settings": study.laws.identity(), "code_version": laws.CODE_VERSION}
    )


def land_rows(results: Results, rows: Mapping[TableName, Sequence[Row]]) -> None:
    """Land rows by table, and publish them."""
    for table, of_table in rows.items():
        results.land(table, of_table)
    results.publish()


def noise_law_rows(name: str, study: Study, fitted: Iterable[FittedCurve]) -> list[NoiseLawRow]:
    """Rows of table `noise_law`; curves without a fit have none."""
    return [
        NoiseLawRow(
            study=name,
            n_cells=_size(one.measured.n_cells),
            is_headline=one.measured.estimator == study.probing.headline,
            law_hash=law_hash("noise_law", [one.measured.digest], study),
            **_of_curve(one.measured, study),
            **_of_fit(one.fit, NoiseLawRow),
        )
        for one in fitted
        if one.fit is not None
    ]


def cell_number_law_rows(name: str, study: Study, fitted: Iterable[FittedCells]) -> list[CellNumberLawRow]:
    """Rows of table `cell_number_law`; curves without a fit have none."""
    return [
        CellNumberLawRow(
            study=name,
            level=one.measured.level,
            umis_per_cell=one.measured.depth,
            is_headline=one.measured.estimator == study.probing.headline,
            law_hash=law_hash("cell_number_law", one.measured.digests, study),
            **_of_curve(one.measured, study),
            **_of_fit(one.fit, CellNumberLawRow),
        )
        for one in fitted
        if one.fit is not None
    ]


def joint_law_rows(name: str, study: Study, fitted: Iterable[FittedSurface]) -> list[JointLawRow]:
    """Rows of table `joint_law`; surfaces without a fit have none."""
    return [
        JointLawRow(
            study=name,
            form=one.fit.form,
            **_main_parameters(one.fit),
            prior_decided=[parameter.name for parameter in one.fit.parameters if parameter.prior_decided],
            r2_grid_cells=one.fit.r2_grid_cells,
            r2_points=one.fit.r2_points,
            residual_sd_bits=one.fit.residual_sd_bits,
            n_grid_cells=one.fit.n_grid_cells,
            n_points=one.fit.n_points,
            n_seeds=one.fit.n_seeds,
            is_converged=one.fit.converged,
            flags=one.fit.flags,
            diagnostics={parameter.name: asdict(parameter) for parameter in one.fit.parameters},
            law_hash=law_hash("joint_law", one.measured.digests, study),
            fitted_at=datetime.now(UTC),
            **_of_curve(one.measured, study),
        )
        for one in fitted
        if one.fit is not None
    ]


def law_comparison_rows(name: str, study: Study, compared: Iterable[ComparedLaws]) -> list[LawComparisonRow]:
    """Rows of table `law_comparison`, one for each law and curve."""
    return [
        LawComparisonRow(
            study=name,
            task=one.measured.task,
            model=one.measured.model,
            n_cells=_size(one.measured.n_cells),
            estimator=one.measured.estimator,
            n_levels=one.comparison.n_levels,
            is_converged=score.converged,
            law_hash=law_hash("law_comparison", [one.measured.digest], study),
            fitted_at=datetime.now(UTC),
            **_shared(score, LawComparisonRow),
        )
        for one in compared
        if one.comparison is not None
        for score in one.comparison.scores
    ]


def model_comparison_rows(name: str, study: Study, compared: Iterable[ComparedModels]) -> list[ModelComparisonRow]:
    """Rows of table `model_comparison`, one for each two models; pairs that cannot be compared have none."""
    return [
        ModelComparisonRow(
            study=name,
            task=one.first.task,
            n_cells=_size(one.first.n_cells),
            first_model=one.first.model,
            second_model=one.second.model,
            estimator=one.first.estimator,
            protocol=study.laws.protocol,
            imax_difference_bits=one.comparison.imax_bits.value,
            imax_difference_low_bits=one.comparison.imax_bits.low,
            imax_difference_high_bits=one.comparison.imax_bits.high,
            ubar_ratio=one.comparison.ubar_ratio.value,
            ubar_ratio_low=one.comparison.ubar_ratio.low,
            ubar_ratio_high=one.comparison.ubar_ratio.high,
            target_depth_ratio=one.comparison.target_depth_ratio.value,
            target_depth_ratio_low=one.comparison.target_depth_ratio.low,
            target_depth_ratio_high=one.comparison.target_depth_ratio.high,
            confidence=one.comparison.confidence,
            n_seeds=one.comparison.n_seeds,
            flags=one.comparison.flags,
            law_hash=law_hash("model_comparison", [one.first.digest, one.second.digest], study),
            fitted_at=datetime.now(UTC),
        )
        for one in compared
        if one.comparison is not None
    ]


def advice_rows(
    name: str,
    study: Study,
    task: str,
    curves: Sequence[MeasuredCurve],
    advice: Iterable[Advice],
    *,
    panel_share: float | None = None,
) -> list[AdviceRow]:
    """Rows of table `advice`, one for each question and model; the advice came from ``curves`` and ``panel_share``."""
    return [
        AdviceRow(
            study=name,
            task=task,
            model=one.model,
            n_cells=int(one.n_cells),
            question=one.question,
            estimator=study.probing.headline,
            protocol=study.laws.protocol,
            is_refused=one.is_refused,
            sentence=one.sentence,
            reason=one.reason,
            **_first_estimate(one),
            estimates={estimate.name: asdict(estimate) for estimate in one.estimates},
            plans={f"{best.budget:g}": asdict(best) for best in one.plans},
            flags=one.flags,
            law_hash=advice_hash(curves, study, panel_share),
            advised_at=datetime.now(UTC),
        )
        for one in advice
    ]


def advice_hash(curves: Sequence[MeasuredCurve], study: Study, panel_share: float | None) -> str:
    """Content hash of the advice on a task: its curves, and the settings of laws and planning.

    ``panel_share`` is the measured one, which counts where the settings name none.
    """
    how: dict[str, Any] = {"laws": study.laws.identity(), "planning": study.planning.identity()}
    if panel_share is not None and study.planning.panel_share is None:
        how["panel_share"] = f"{panel_share:.9g}"  # an average: its last digits follow the order of the rows
    return content_hash(
        "advice", {"curves": [one.digest for one in curves], "settings": how, "code_version": planning.CODE_VERSION}
    )


def _first_estimate(advice: Advice) -> dict[str, Any]:
    if not advice.estimates:
        return dict.fromkeys(("quantity", "unit", "value", "value_low", "value_high"))
    first = advice.estimates[0]
    return {
        "quantity": first.name,
        "unit": first.unit,
        "value": first.value,
        "value_low": first.low,
        "value_high": first.high,
    }


def _of_curve(measured: Any, study: Study) -> dict[str, Any]:
    return {
        "task": measured.task,
        "model": measured.model,
        "estimator": measured.estimator,
        "protocol": study.laws.protocol,
    }


def _of_fit(fit: Any, row_type: type[Row]) -> dict[str, Any]:
    """Columns that a fit and a row have in common; all else goes into the diagnostics."""
    shared = _shared(fit, row_type)
    rest = {field.name: getattr(fit, field.name) for field in fields(fit) if field.name not in shared}
    return {**shared, "is_converged": fit.converged, "diagnostics": rest, "fitted_at": datetime.now(UTC)}


def _shared(source: Any, row_type: type[Row]) -> dict[str, Any]:
    names = {field.name for field in fields(row_type)} & {field.name for field in fields(source)}
    return {name: getattr(source, name) for name in names}


def _main_parameters(fit: laws.JointLawFit) -> dict[str, Any]:
    """Columns of the parameters that both forms have: the value and the ends of its interval, the unit last."""
    columns: dict[str, Any] = {}
    for parameter in map(fit.parameter, MAIN_JOINT_PARAMETERS):
        stem, unit = parameter.name.removesuffix("_bits"), "_bits" if parameter.name.endswith("_bits") else ""
        columns[parameter.name] = parameter.value
        columns[f"{stem}_low{unit}"] = parameter.low
        columns[f"{stem}_high{unit}"] = parameter.high
    return columns


def _size(n_cells: int | None) -> int:
    """The training size, which curves of a study always have."""
    assert n_cells is not None
    return n_cells
