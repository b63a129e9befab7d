"""Trials on problems of known information, what is made of them, and the map that tells what bias to expect."""

import math
import multiprocessing
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.probing import (
    CalibrationMap,
    Features,
    InfoNceSettings,
    Piece,
    ProbingSettings,
    ProblemSummary,
    estimate,
    problem_named,
    problem_summaries,
    run_trials,
)

QUICK = ProbingSettings(infonce=InfoNceSettings(hidden_width=16, max_steps_few_pairs=50))
SUMMARY = ProblemSummary(
    problem="made_up",
    family="gaussian",
    is_fresh=False,
    is_categorical=False,
    estimator="pooled",
    n_pairs=2_000,
    n_seeds=5,
    true_bits=2.0,
    value_bits=2.0,
    bias_bits=0.0,
    sd_bits=0.05,
    low_bits=1.8,
    high_bits=2.2,
    median_width_bits=0.4,
    floor_bits=0.0,
    gap_bits=0.1,
    beyond_gaussian_bits=0.0,
    holds_share=1.0,
    above_low_share=1.0,
    unreliable_share=0.0,
    cpu_seconds=5.0,
)


def pieces(*names, estimators=("ksg",), n_pairs=100):
    return [Piece(problem_named(name), n_pairs, tuple(estimators)) for name in names]


def test_pieces_end_one_by_one_with_the_estimates_that_anybody_gets():
    counted = []
    wanted = pieces("independent_16d", "classes_3", estimators=("pooled", "ksg"))
    trials = run_trials(wanted, n_seeds=2, settings=QUICK, done=counted.append)
    first = next(trials)
    assert [piece.problem.name for piece in counted] == ["independent_16d"] * 2
    assert [trial.problem for trial in first] == ["independent_16d"] * 4
    assert [trial.estimate.estimator for trial in first] == ["pooled", "ksg"] * 2
    seeds = [trial.seed for trial in first]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]
    x, y = problem_named("independent_16d").sample(100, seed=seeds[2])
    again = estimate(x, y, estimator="pooled", settings=QUICK, seed=seeds[2])
    assert first[2].estimate.value_bits == again.value_bits
    ((second),) = list(trials)
    assert {trial.problem for trial in second} == {"classes_3"}


def test_processes_change_no_number_and_end_when_the_trials_are_left_alone():
    wanted = pieces("gaussian_1.0bit_5d", "classes_3", "classes_10")
    alone = [
        [trial.estimate.value_bits for trial in of_piece] for of_piece in run_trials(wanted, n_seeds=2, settings=QUICK)
    ]
    with closing(run_trials(wanted, n_seeds=2, settings=QUICK, n_processes=2)) as trials:
        first = next(trials)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []
    assert [trial.estimate.value_bits for trial in first] == alone[0]


def test_a_summary_holds_the_means_over_the_seeds():
    ((trials),) = run_trials(pieces("classes_3"), n_seeds=3, settings=QUICK)
    (summary,) = problem_summaries(trials)
    values = [trial.estimate.value_bits for trial in trials]
    assert (summary.problem, summary.n_pairs, summary.n_seeds, summary.is_fresh) == ("classes_3", 100, 3, True)
    assert summary.value_bits == pytest.approx(np.mean(values))
    assert summary.bias_bits == pytest.approx(np.mean(values) - problem_named("classes_3").true_bits)
    assert summary.sd_bits == pytest.approx(np.std(values, ddof=1))
    assert summary.is_categorical
    assert summary.gap_bits is None


# The map


def measured(**changes) -> Features:
    return replace(Features.of(SUMMARY), **changes)


@pytest.mark.parametrize(
    ("changes", "distance"),
    [
        ({}, 0.0),
        ({"n_pairs": 4_000}, 1.0),
        ({"n_pairs": 500}, 2.0),
        ({"value_bits": 1.5}, 1.0),
        ({"gap_bits": 0.35}, 1.0),
        ({"gap_bits": None}, 0.0),
        ({"beyond_gaussian_bits": 0.5}, 2.0),
        ({"is_categorical": True}, math.inf),
        ({"n_pairs": 1_000, "value_bits": 2.5, "gap_bits": 0.35, "beyond_gaussian_bits": 0.25}, 2.0),
    ],
)
def test_distances_are_in_doublings_and_bits(changes, distance):
    assert measured(**changes).distance(Features.of(SUMMARY)) == pytest.approx(distance)
    assert Features.of(SUMMARY).distance(measured(**changes)) == pytest.approx(distance)


def test_the_bias_expected_is_that_of_problems_that_look_alike():
    alike = [replace(SUMMARY, problem=f"alike_{n}", bias_bits=-0.2 + 0.01 * n) for n in range(-2, 3)]
    unlike = [replace(SUMMARY, problem=f"unlike_{n}", value_bits=5.0 + n, bias_bits=1.0) for n in range(5)]
    expected = CalibrationMap([*unlike, *alike]).expected_bias(measured())
    assert expected.bias_bits == pytest.approx(-0.2)
    assert expected.spread_bits == pytest.approx(0.01 * np.sqrt(2))
    assert {summary.problem for summary in expected.nearest} == {summary.problem for summary in alike}
    assert expected.is_large and not expected.is_off_map


def test_nearer_problems_weigh_more():
    near = replace(SUMMARY, problem="near", value_bits=2.1, bias_bits=0.0)
    far = replace(SUMMARY, problem="far", value_bits=3.0, bias_bits=0.3)
    expected = CalibrationMap([far, near]).expected_bias(measured())
    assert [summary.problem for summary in expected.nearest] == ["near", "far"]
    weight = math.exp(-0.5 * (2.0**2 - 0.2**2))
    assert expected.bias_bits == pytest.approx(0.3 * weight / (1 + weight))
    assert not expected.is_large


def test_what_no_problem_looks_like_is_off_the_map():
    biased = replace(SUMMARY, bias_bits=0.5)
    near = CalibrationMap([biased]).expected_bias(measured(n_pairs=8_000))
    far = CalibrationMap([biased]).expected_bias(measured(n_pairs=9_000))
    assert (near.is_off_map, near.is_large) == (False, True)
    assert (far.is_off_map, far.is_large) == (True, False)


def test_classes_tell_nothing_of_columns():
    classes = [replace(SUMMARY, is_categorical=True)]
    expected = CalibrationMap(classes).expected_bias(measured())
    assert expected.is_off_map
    assert expected.nearest == ()
    assert math.isnan(expected.bias_bits)
