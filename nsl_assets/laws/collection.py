"""Fits every law to every curve of a study or a table; a curve that cannot be fitted says why and stops no other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ParamSpec, TypeVar

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws.cell_number_fit import CellNumberLawFit, fit_cell_number_law
from nsl_assets.laws.curve import levels_of
from nsl_assets.laws.flags import FLAGS
from nsl_assets.laws.joint_fit import JointLawFit, fit_joint_law
from nsl_assets.laws.joint_settings import JointSettings
from nsl_assets.laws.law_comparison import LawComparison, compare_laws_of
from nsl_assets.laws.measured import MeasuredCells, MeasuredCurve, MeasuredSurface
from nsl_assets.laws.model_comparison import ModelComparison, compare_models
from nsl_assets.laws.noise_law_fit import NoiseLawFit, fit_noise_law
from nsl_assets.laws.settings import LawSettings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class FittedCurve:
    """A curve and its noise law; `fit` is None where it cannot be fitted, and `problem` says why."""

    measured: MeasuredCurve
    fit: NoiseLawFit | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class FittedCells:
    """A curve over training cells and its law; `fit` is None where it cannot be fitted, and `problem` says why."""

    measured: MeasuredCells
    fit: CellNumberLawFit | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class FittedSurface:
    """A surface and its joint law; `fit` is None where it cannot be fitted, and `problem` says why."""

    measured: MeasuredSurface
    fit: JointLawFit | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class ComparedLaws:
    """A curve and how well each law describes it; None where it cannot be fitted, and `problem` says why."""

    measured: MeasuredCurve
    comparison: LawComparison | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class ComparedModels:
    """Two models of one task at one training size; None where they cannot be compared, and `problem` says why."""

    first: MeasuredCurve
    second: MeasuredCurve
    comparison: ModelComparison | None
    problem: str = ""


def fit_curves(curves: Sequence[MeasuredCurve], settings: LawSettings) -> list[FittedCurve]:
    """The noise law of each curve."""
    return [FittedCurve(one, *_tried(_fitted, one, settings)) for one in curves]


def _fitted(measured: MeasuredCurve, settings: LawSettings) -> NoiseLawFit:
    fit = fit_noise_law(measured.curve, settings, ceiling_bits=measured.ceiling_bits)
    if not measured.is_of_few_pairs:
        return fit
    earned = {*fit.flags, "few_pairs"}
    return replace(fit, flags=tuple(flag for flag in FLAGS if flag in earned))


def fit_cells(curves: Sequence[MeasuredCells], settings: LawSettings) -> list[FittedCells]:
    """The cell-number law of each curve over training cells."""
    return [
        FittedCells(one, *_tried(fit_cell_number_law, one.curve, settings, ceiling_bits=one.ceiling_bits))
        for one in curves
    ]


def fit_surfaces(surfaces: Sequence[MeasuredSurface], settings: JointSettings) -> list[FittedSurface]:
    """The joint law of each surface."""
    return [
        FittedSurface(one, *_tried(fit_joint_law, one.surface, settings, ceiling_bits=one.ceiling_bits))
        for one in surfaces
    ]


def compare_laws_of_each(curves: Sequence[MeasuredCurve]) -> list[ComparedLaws]:
    """The noise law against its rivals on each curve; all curves as one batch."""
    problems = [_tried(levels_of, one.curve)[1] for one in curves]
    comparable = [one.curve for one, problem in zip(curves, problems, strict=True) if not problem]
    comparisons = iter(compare_laws_of(comparable)) if comparable else iter(())
    return [
        ComparedLaws(one, None if problem else next(comparisons), problem)
        for one, problem in zip(curves, problems, strict=True)
    ]


def compare_models_of_each(curves: Sequence[MeasuredCurve], settings: LawSettings) -> list[ComparedModels]:
    """Every two models of one task, at the same training size and by the same estimator."""
    pairs = [
        (first, second)
        for first, second in combinations(curves, 2)
        if (first.task, first.n_cells, first.estimator) == (second.task, second.n_cells, second.estimator)
    ]
    return [ComparedModels(first, second, *_tried(_compared, first, second, settings)) for first, second in pairs]


def _compared(first: MeasuredCurve, second: MeasuredCurve, settings: LawSettings) -> ModelComparison:
    return compare_models({first.model: first.curve, second.model: second.curve}, settings)[0]


def _tried(
    fit: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> tuple[Result | None, str]:
    """The result, or None and why there is none."""
    try:
        return fit(*args, **kwargs), ""
    except (InputError, MeasurementError) as error:
        return None, str(error)
