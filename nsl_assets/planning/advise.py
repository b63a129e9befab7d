"""All advice for one task: every question for every model, from measured surfaces."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws import JointSettings, LawSettings, Surface
from nsl_assets.planning.advice import Advice, Question
from nsl_assets.planning.budget import budget_advice
from nsl_assets.planning.cheapest import cheapest_advice
from nsl_assets.planning.costs import Costs, Prices, Sequencing
from nsl_assets.planning.evidence import Evidence, evidence_of
from nsl_assets.planning.frontier import frontier_advice
from nsl_assets.planning.headroom import headroom_advice
from nsl_assets.planning.payoff import what_pays_advice
from nsl_assets.planning.spending import Spending
from nsl_assets.planning.target import target_advice


@dataclass(frozen=True)
class Circumstances:
    """What a lab knows about its experiment; everything may be left open.

    Raises InputError for a budget without prices, or one that does not buy one cell; wanted bits, cells or a depth
    that are not positive; a depth that the library cannot hold.
    """

    sequencing: Sequencing = Sequencing()  # noqa: RUF009
    prices: Prices | None = None
    budget: float | None = None
    """Money for the whole experiment."""
    wanted_bits: float | None = None
    """Information that the cheapest plan must reach; None: the target of the law's settings at today's cells."""
    n_cells: float | None = None
    """Today's training cells, one of the measured sizes; None: the largest."""
    umis_per_cell: float | None = None
    """Today's depth in the genes of the file; None: the deepest measured level."""

    def __post_init__(self) -> None:
        for name in ("wanted_bits", "n_cells"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"'{name}' is {value}: give a positive number.")
        if self.umis_per_cell is not None:
            self.sequencing.check_today(self.umis_per_cell)
        if self.budget is not None:
            if self.costs is None:
                raise InputError(
                    f"a budget of {self.budget:g} was given without prices: add a price per cell and read."
                )
            self.costs.check_budget(self.budget)

    @property
    def costs(self) -> Costs | None:
        """Prices with sequencing; None without prices."""
        return None if self.prices is None else Costs(self.prices, self.sequencing)


def advise(
    surfaces: Mapping[str, Surface],
    circumstances: Circumstances | None = None,
    settings: LawSettings | None = None,
    joint_settings: JointSettings | None = None,
    *,
    ceiling_bits: float | None = None,
) -> tuple[Advice, ...]:
    """Every question that the circumstances allow, for every model of one task; ``surfaces`` by model.

    A surface may hold one training size: then there is advice on depth only. ``ceiling_bits`` is H(Y). A model that
    cannot be fitted gets refusals. Raises InputError, before anything is fitted, where the circumstances contradict
    the measurements.
    """
    lab = circumstances or Circumstances()
    _check(surfaces, lab)
    evidence: dict[str, Evidence] = {}
    problems: dict[str, str] = {}
    for model, surface in surfaces.items():
        try:
            evidence[model] = evidence_of(
                model,
                surface,
                settings or LawSettings(),
                joint_settings or JointSettings(),
                ceiling_bits=ceiling_bits,
                n_cells=lab.n_cells,
                today_umis_per_cell=lab.umis_per_cell,
            )
        except (InputError, MeasurementError) as error:
            problems[model] = str(error)
    return tuple(
        advice
        for model in surfaces
        for advice in (
            _refusals(model, surfaces[model], problems[model], lab)
            if model in problems
            else _answers(evidence[model], evidence, lab)
        )
    )


def _check(surfaces: Mapping[str, Surface], lab: Circumstances) -> None:
    if not surfaces:
        raise InputError("no model was measured on this task: run the study first.")
    for surface in surfaces.values():
        finite = surface.depth[np.isfinite(surface.depth)]
        if lab.umis_per_cell is None and len(finite):
            lab.sequencing.check_today(float(finite.max()))
    sizes = {size for surface in surfaces.values() for size in np.unique(surface.n_cells).tolist()}
    if lab.n_cells is not None and lab.n_cells not in sizes:
        measured = ", ".join(f"{size:,.0f}" for size in sorted(sizes))
        raise InputError(f"no model was measured with {lab.n_cells:,.0f} training cells. Measured: {measured}.")


def _questions(lab: Circumstances) -> tuple[Question, ...]:
    questions: list[Question] = ["target_depth", "headroom"]
    if lab.budget is not None:
        questions.append("budget")
    if lab.prices is not None:
        questions += ["cheapest", "frontier"]
    return (*questions, "what_pays")


def _answers(evidence: Evidence, all_evidence: Mapping[str, Evidence], lab: Circumstances) -> list[Advice]:
    answers = [target_advice(evidence, lab.sequencing), headroom_advice(evidence)]
    if lab.costs is not None:
        spending = Spending(evidence, lab.costs)
        if lab.budget is not None:
            answers.append(budget_advice(spending, lab.budget))
        answers += [cheapest_advice(spending, lab.wanted_bits), frontier_advice(spending)]
    answers.append(what_pays_advice(evidence, all_evidence, lab.sequencing, lab.costs))
    return answers


def _refusals(model: str, surface: Surface, problem: str, lab: Circumstances) -> list[Advice]:
    n_cells = float(surface.n_cells.max())
    sentence = f"No advice for {model}: {problem}"
    return [
        Advice(question, model, n_cells, is_refused=True, sentence=sentence, reason="the curve cannot be fitted")
        for question in _questions(lab)
    ]
