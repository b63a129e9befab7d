from collections.abc import Callable

import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.laws import Surface, noise_law
from nsl_assets.planning import ADVICE_FLAGS, Advice, Circumstances, Prices, Saturation, Sequencing, advise

Make = Callable[..., Surface]
SIZES = (1_000, 3_000, 10_000)
SEQUENCING = Sequencing(Saturation.from_umis(100_000, 40_000), 0.9)
PRICES = Prices(0.1, 2e-6, 200, "EUR")
LAB = Circumstances(SEQUENCING, PRICES, budget=1_500.0)


@pytest.fixture(scope="module")
def two_models() -> dict[str, Surface]:
    surfaces = {}
    for i, (model, imax_bits) in enumerate({"PCA": 2.0, "scVI": 2.6}.items()):
        depth, n_cells, seed = (g.ravel() for g in np.meshgrid(np.geomspace(10, 8000, 8), SIZES, np.arange(3)))
        noise = 0.02 * np.random.default_rng(i).standard_normal(len(depth))
        bits = noise_law(depth, imax_bits - 0.5 * np.sqrt(1000 / n_cells), 300.0) + noise
        surfaces[model] = Surface(depth, n_cells.astype(float), bits, seed)
    return surfaces


@pytest.fixture(scope="module")
def answers(two_models: dict[str, Surface]) -> dict[tuple[str, str], Advice]:
    return {(one.model, one.question): one for one in advise(two_models, LAB)}


def test_every_question_for_every_model(answers: dict[tuple[str, str], Advice]) -> None:
    questions = {"target_depth", "headroom", "budget", "cheapest", "frontier", "what_pays"}
    assert set(answers) == {(model, question) for model in ("PCA", "scVI") for question in questions}
    for advice in answers.values():
        assert not advice.is_refused
        assert set(advice.flags) <= set(ADVICE_FLAGS)
        assert advice.sentence.endswith(".") and "nan" not in advice.sentence and "inf" not in advice.sentence
        for estimate in advice.estimates:
            assert estimate.low <= estimate.value <= estimate.high, estimate


def test_the_budget_is_spent_and_no_more(answers: dict[tuple[str, str], Advice]) -> None:
    advice = answers["scVI", "budget"]
    n_cells, reads = advice.estimate("n_cells").value, advice.estimate("reads_per_cell").value
    assert 200 + n_cells * (0.1 + 2e-6 * reads) == pytest.approx(1_500)
    assert "1,500 EUR is best spent on" in advice.sentence


def test_the_frontier_holds_the_budget(answers: dict[tuple[str, str], Advice]) -> None:
    plans = answers["scVI", "frontier"].plans
    at_budget = np.interp(np.log(1_500), np.log([one.budget for one in plans]), [one.plan.bits for one in plans])
    assert at_budget == pytest.approx(answers["scVI", "budget"].estimate("information").value, abs=0.03)


def test_the_better_model_is_named_first(answers: dict[tuple[str, str], Advice]) -> None:
    advice = answers["PCA", "what_pays"]
    gain = advice.estimate("model_gain")
    assert gain.low < 0.6 < gain.high
    assert "Change to the model scVI first" in advice.sentence
    worse = answers["scVI", "what_pays"]
    assert worse.estimate("model_gain").value == pytest.approx(-gain.value)
    assert "Change" not in worse.sentence


def test_payoff_is_per_money_where_prices_are_known(two_models: dict[str, Surface]) -> None:
    free = {one.question: one for one in advise({"PCA": two_models["PCA"]})}["what_pays"]
    assert {one.name for one in free.estimates} == {"depth_gain", "cells_gain"}
    assert "per doubling" in free.sentence and "no other model" in free.sentence
    deep = Circumstances(SEQUENCING, Prices(0.01, 1e-5), umis_per_cell=4_000.0)
    paid = {one.question: one for one in advise({"PCA": two_models["PCA"]}, deep)}["what_pays"]
    cost = paid.estimate("depth_cost").value
    reads = SEQUENCING.reads_per_cell([8_000.0, 4_000.0])
    assert cost == pytest.approx(10_000 * 1e-5 * (reads[0] - reads[1]))
    assert paid.estimate("depth_rate").value == pytest.approx(paid.estimate("depth_gain").value / cost)


def test_where_depth_is_short_depth_pays_and_where_it_is_ample_cells_pay(simulated_surface: Make) -> None:
    def best(ubar: float, loss_bits: float) -> dict[str, float]:
        surface = simulated_surface(imax_bits=3.0, ubar=ubar, sizes=SIZES, loss_bits=loss_bits, sd_bits=0.005)
        advice = {one.question: one for one in advise({"PCA": surface})}["what_pays"]
        return {step: advice.estimate(f"{step}_gain").value for step in ("depth", "cells")}

    short, ample = best(20_000.0, 0.1), best(20.0, 2.0)
    assert short["depth"] > 2 * short["cells"]
    assert ample["cells"] > 2 * ample["depth"]


def test_one_training_size_gives_depth_advice_only(simulated_surface: Make) -> None:
    found = {one.question: one for one in advise({"PCA": simulated_surface()}, LAB)}
    assert {question for question, one in found.items() if one.is_refused} == {"cheapest", "frontier"}
    assert "at least two more sizes" in found["cheapest"].sentence
    budget = found["budget"]
    assert budget.estimate("n_cells").value == 10_000
    reads = (1_500 - 200) / 10_000 - 0.1
    assert budget.estimate("depth").value == pytest.approx(float(SEQUENCING.umis_per_cell(reads / 2e-6)))
    assert "at least two more sizes" in budget.sentence
    assert all(
        "one_size" in one.flags for question, one in found.items() if question not in {"target_depth", "headroom"}
    )


def test_a_budget_below_todays_cells_is_refused_with_one_size(simulated_surface: Make) -> None:
    lab = Circumstances(SEQUENCING, PRICES, budget=900.0)
    advice = {one.question: one for one in advise({"PCA": simulated_surface()}, lab)}["budget"]
    assert advice.is_refused and "does not buy today's 10,000 cells" in advice.sentence


def test_a_budget_below_the_smallest_plan_is_refused(two_models: dict[str, Surface]) -> None:
    lab = Circumstances(SEQUENCING, PRICES, budget=250.0)
    advice = {one.question: one for one in advise({"PCA": two_models["PCA"]}, lab)}["budget"]
    assert advice.is_refused and "1,000 cells at 10 UMIs per cell cost" in advice.sentence


def test_bits_out_of_reach_are_refused_with_what_is_predicted(two_models: dict[str, Surface]) -> None:
    lab = Circumstances(SEQUENCING, PRICES, wanted_bits=5.0)
    advice = {one.question: one for one in advise({"PCA": two_models["PCA"]}, lab)}["cheapest"]
    assert advice.is_refused
    assert advice.estimate("most_bits").high < 5
    assert "No plan reaches 5.00 bits" in advice.sentence


def test_assumptions_are_flagged(two_models: dict[str, Surface]) -> None:
    found = advise({"PCA": two_models["PCA"]}, Circumstances(prices=PRICES))
    for one in found:
        assumed = {"saturation_assumed", "panel_assumed_complete"} <= set(one.flags)
        assert assumed == (one.question != "headroom"), one.question


def test_depth_that_costs_nothing_pays_most(two_models: dict[str, Surface]) -> None:
    lab = Circumstances(Sequencing(Saturation(np.inf), 1.0), Prices(per_cell=0.1, per_read=0.0))
    advice = {one.question: one for one in advise({"PCA": two_models["PCA"]}, lab)}["what_pays"]
    assert advice.estimate("depth_rate").value == np.inf
    assert "Twice the depth pays most" in advice.sentence


def test_a_depth_of_today_far_beyond_the_levels_is_refused(two_models: dict[str, Surface]) -> None:
    found = advise({"PCA": two_models["PCA"]}, Circumstances(umis_per_cell=30_000.0))
    assert all(one.is_refused and "measured from 10 to 8,000" in one.sentence for one in found)


def test_a_model_that_cannot_be_fitted_is_refused_and_stops_no_other(simulated_surface: Make) -> None:
    few = simulated_surface(n_levels=2)
    found = advise({"broken": few, "PCA": simulated_surface()})
    assert {one.is_refused for one in found if one.model == "broken"} == {True}
    assert "at least 3 are needed" in next(one.sentence for one in found if one.model == "broken")
    assert not any(one.is_refused for one in found if one.model == "PCA")


def test_numbers_do_not_depend_on_the_order_of_models(two_models: dict[str, Surface]) -> None:
    turned = dict(reversed(two_models.items()))
    once, again = ({(one.model, one.question): one for one in advise(of, LAB)} for of in (two_models, turned))
    for key, one in once.items():
        if key[1] != "what_pays":
            assert one == again[key]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"budget": 100.0}, "without prices"),
        ({"budget": 200.0, "prices": PRICES}, "one sequenced cell"),
        ({"budget": -5.0, "prices": PRICES}, "one sequenced cell"),
        ({"budget": float("nan"), "prices": PRICES}, "one sequenced cell"),
        ({"wanted_bits": 0.0}, "wanted_bits"),
        ({"n_cells": -3.0}, "n_cells"),
        ({"umis_per_cell": 0.0}, "positive"),
        ({"umis_per_cell": 200_000.0, "sequencing": SEQUENCING}, "no amount of sequencing"),
    ],
)
def test_contradictions_are_refused_before_any_work(options: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Circumstances(**options)  # type: ignore[arg-type]


def test_circumstances_that_contradict_the_measurements_are_refused(two_models: dict[str, Surface]) -> None:
    with pytest.raises(InputError, match="Measured: 1,000, 3,000, 10,000"):
        advise(two_models, Circumstances(n_cells=777.0))
    with pytest.raises(InputError, match="no amount of sequencing reaches 5,000"):
        advise(two_models, Circumstances(Sequencing(Saturation(5_000), 1.0)))
    with pytest.raises(InputError, match="no model"):
        advise({})
