"""What a report shows, as plain records: curves with their laws, comparisons, advice, training, provenance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nsl_assets.laws import (
    ComparedLaws,
    ComparedModels,
    FittedCells,
    FittedCurve,
    FittedSurface,
    LawSettings,
    MeasuredCurve,
)
from nsl_assets.probing import ExpectedBias, ProblemSummary
from nsl_assets.report.noise_matrix import NoiseMatrix

Kind = Literal["study", "table"]


@dataclass(frozen=True)
class Advice:
    """One answer of the planner."""

    task: str
    model: str
    n_cells: int | None
    question: str
    """Which one: one of the planner's, or `planning` where its settings contradict the measurements."""
    sentence: str
    """The answer in words; why there is none where it is refused."""
    is_refused: bool = False
    flags: tuple[str, ...] = ()
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class CalibratedCurve:
    """The bias to be expected of one curve, one entry a level."""

    task: str
    model: str
    n_cells: int
    expected: tuple[ExpectedBias, ...]


@dataclass(frozen=True)
class Calibration:
    """What is known of the headline estimator from problems of known information."""

    estimator: str
    summaries: tuple[ProblemSummary, ...]
    curves: tuple[CalibratedCurve, ...]


@dataclass(frozen=True)
class Training:
    """One cell of the grid that was trained and measured with one seed."""

    task: str
    model: str
    n_cells: int
    level: float
    seed: int
    losses: Mapping[str, Sequence[float]]
    """Loss curves by name, one value an epoch or evaluation; empty for a closed form."""
    n_parameters: int | None
    seconds: float | None
    """Wall time of training."""
    cpu_seconds: float | None
    """Processor time of all attempts together."""
    peak_memory_mib: float | None
    device: str
    stop_reason: str


@dataclass(frozen=True)
class Leakage:
    """The split of one task: what probe cells share with the cells that models saw."""

    task: str
    n_shared_cells: int
    n_shared_groups: int | None
    """None where the split knows no groups."""
    n_shared_partners: int | None
    """None where cells are not paired."""
    n_train_pool_cells: int
    n_validation_cells: int
    n_probe_cells: int


@dataclass(frozen=True)
class Provenance:
    """What decides the numbers of a study."""

    definition: str
    """The study as TOML, every default written out."""
    seeds: tuple[int, ...]
    code_versions: Mapping[str, str]
    library_versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ReportContent:
    """All that a report is made from. Curves are those of the headline estimator, unless said otherwise."""

    title: str
    kind: Kind
    """What it is about: a study, or anybody's table of measurements."""
    headline: str
    """The estimator whose values are fitted."""
    protocol: str
    law_settings: LawSettings
    curves: Sequence[FittedCurve]
    """Of all tasks, models and training sizes."""
    cells: Sequence[FittedCells] = ()
    surfaces: Sequence[FittedSurface] = ()
    laws: Sequence[ComparedLaws] = ()
    models: Sequence[ComparedModels] = ()
    estimators: Sequence[MeasuredCurve] = ()
    """By every estimator, at the largest training sizes."""
    noise_matrices: Sequence[NoiseMatrix] = ()
    """Of models that were probed at other noise levels than that of their training."""
    advice: Sequence[Advice] = ()
    calibration: Calibration | None = None
    calibration_note: str = ""
    """Why there is no calibration, and how to get one."""
    training: Sequence[Training] = ()
    leakage: Sequence[Leakage] = ()
    provenance: Provenance | None = None
    description: str = ""
    notes: Sequence[str] = field(default=())
    """What was left out or is doubtful about the input."""
