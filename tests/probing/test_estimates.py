"""The room as others use it: known information, intervals, floors, reproducibility, errors that help."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from nsl_assets.errors import MeasurementError
from nsl_assets.probing import (
    InfoNceSettings,
    KsgSettings,
    LatentMutualInformationSettings,
    ProbingSettings,
    as_auxiliary,
    estimate,
    estimate_all,
    estimator_identity,
    known_problems,
)
from nsl_assets.probing.bounds import contrast_terms, infonce_terms
from nsl_assets.probing.calibration import distributions
from nsl_assets.probing.gaussian import CanonicalBase

QUICK = ProbingSettings(
    infonce=InfoNceSettings(hidden_width=16, max_steps=50, max_steps_few_pairs=50),
    lmi=LatentMutualInformationSettings(hidden_width=16, max_epochs=5),
)
PROBLEMS = {problem.name: problem for problem in known_problems()}


def measured(name, n_pairs, estimator, *, seed=0, settings=None, **options):
    x, y = PROBLEMS[name].sample(n_pairs, seed=seed)
    settings = settings or ProbingSettings()
    return estimate(x, as_auxiliary(y), estimator=estimator, settings=settings, seed=seed, **options)


@pytest.mark.parametrize(
    ("name", "below", "above"),
    [
        ("gaussian_1.0bit_5d", 0.15, 0.1),
        ("poisson_ties", 0.15, 0.1),
        ("classes_10", 0.15, 0.1),
        ("independent_16d", 0.05, 0.05),
        ("tight_clusters_8", 0.4, 0.1),
        pytest.param("gaussian_4.0bit_5d", 0.4, 0.1, marks=pytest.mark.slow),
        pytest.param("one_column_2bit", 0.2, 0.1, marks=pytest.mark.slow),
        pytest.param("spiral_2bit_3d", 1.0, 0.1, marks=pytest.mark.slow),
    ],
)
def test_infonce_comes_close_to_known_information_from_below(name, below, above):
    truth = PROBLEMS[name].true_bits
    result = measured(name, 1_200, "infonce")
    assert truth - below <= result.value_bits <= truth + above
    assert result.low_bits <= truth + 1e-9
    assert abs(result.floor_bits) < 0.1
    assert result.low_bits <= result.value_bits <= result.high_bits
    if name == "classes_10":
        assert result.value_bits < result.ceiling_bits <= np.log2(10)
    else:
        assert result.ceiling_bits is None


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("gaussian_1.0bit_5of16d", 0.15),
        ("gaussian_4.0bit_16d", 0.3),
        ("half_cube_1bit_5d", 0.25),
        ("classes_10", 0.1),
        ("poisson_ties", 0.12),
        ("tight_clusters_8", 0.2),
        ("independent_heavy_tails_5d", 0.05),
    ],
)
def test_the_headline_is_nearer_to_the_truth_than_its_bound(name, error):
    truth = PROBLEMS[name].true_bits
    x, y = PROBLEMS[name].sample(1_000, seed=1)
    headline, bound = estimate_all(x, y, estimators=("pooled", "infonce"), seed=1)
    assert headline.value_bits == pytest.approx(truth, abs=error)
    assert abs(headline.value_bits - truth) <= abs(bound.value_bits - truth) + 0.05
    assert headline.low_bits <= truth <= headline.high_bits + 0.02
    assert (headline.low_bits, headline.high_bits) == (bound.low_bits, bound.high_bits)
    assert bound.seconds < headline.seconds / 10


def test_weak_and_wide_information_is_flagged_not_invented():
    result = measured("gaussian_1.0bit_16d", 400, "pooled")
    assert result.low_bits < 1.0 < result.high_bits
    assert {"few_pairs", "unreliable"} <= set(result.flags)
    assert result.diagnostics["bound_bits"] < result.value_bits < 1.3


def test_information_too_weak_for_any_network_stays_in_the_interval():
    x, y = distributions.gaussian((16, 16), 16, 0.3, 500, np.random.default_rng(0))
    result = estimate(x, y, settings=QUICK)
    assert "unreliable" in result.flags
    assert result.low_bits < 0.3 < result.high_bits


@pytest.mark.parametrize(("name", "low", "high"), [("gaussian_2.0bit_5d", 1.8, 2.2), ("classes_10", 2.8, 3.3)])
def test_linear_dependence_alone(name, low, high):
    result = measured(name, 1_000, "gaussian_copula")
    assert low < result.value_bits < high
    assert result.low_bits < result.value_bits <= result.high_bits
    assert abs(result.floor_bits) < 0.1


@pytest.mark.parametrize("estimator", ["pooled", "gaussian_copula"])
def test_more_columns_than_pairs_enter_as_components(estimator):
    draws = np.random.default_rng(0)
    x = draws.standard_normal((110, 2))
    y = x @ draws.standard_normal((2, 120)) + 3.0 * draws.standard_normal((110, 120))
    result = estimate(x, y, estimator=estimator, settings=QUICK)
    assert result.diagnostics["reduced_to_columns"] == 22
    assert 2.0 < result.value_bits < 8.0


def test_every_estimator_takes_more_columns_than_pairs():
    x, y = distributions.gaussian((300, 90), 5, 4.0, 120, np.random.default_rng(0))
    for result in estimate_all(x, y, settings=QUICK):
        assert np.isfinite([result.value_bits, result.low_bits, result.high_bits, result.floor_bits]).all()
        assert "few_pairs" in result.flags


def test_one_side_that_fixes_the_other_has_no_copula():
    x = np.random.default_rng(0).standard_normal((200, 3))
    result = estimate(x, np.exp(x[:, :1]), estimator="gaussian_copula")
    assert "copula_undefined" in result.flags
    assert result.value_bits > 2.0


def test_pairs_that_outweigh_all_contrasts_have_a_finite_correction():
    scores = 1_800.0 * np.eye(4) - 900.0
    np.testing.assert_allclose(contrast_terms(scores), 0.5 * (np.log(2) + np.log(0.75)))


def test_the_correction_for_few_contrasts_makes_up_for_them():
    """With the true density ratio, 4 bits over 5 dimensions and 128 contrasts, most of the loss is known."""
    draws = np.random.default_rng(0)
    noise = 4.0 ** (-4.0 / 5)
    x = draws.standard_normal((20, 128, 5))
    y = np.sqrt(1 - noise) * x + np.sqrt(noise) * draws.standard_normal(x.shape)
    rho = np.full(5, np.sqrt(1 - noise))
    base = CanonicalBase(np.zeros(5), np.zeros(5), np.eye(5), np.eye(5), rho)
    factors = [base.factors(*pairs) for pairs in zip(x, y, strict=True)]
    scores = [u @ v.T for u, v in factors]
    bound = np.mean([infonce_terms(one).mean() for one in scores]) / np.log(2)
    corrected = bound + np.mean([contrast_terms(one).mean() for one in scores]) / np.log(2)
    assert bound < 3.7
    assert bound < corrected < 4.1
    assert abs(corrected - 4.0) < 0.7 * abs(bound - 4.0)


@pytest.mark.parametrize("name", ["gaussian_1.0bit_5d", "independent_16d"])
def test_nearest_neighbours_of_the_columns_themselves(name):
    result = measured(name, 1_000, "ksg")
    assert PROBLEMS[name].true_bits - 0.45 < result.value_bits < PROBLEMS[name].true_bits + 0.1
    assert result.low_bits < result.value_bits < result.high_bits


@pytest.mark.parametrize("name", ["gaussian_2.0bit_5d", "classes_10"])
def test_same_seed_same_numbers_and_the_caller_keeps_its_random_state(name):
    import torch

    def numbers(seed):
        x, y = PROBLEMS[name].sample(300, seed=0)
        results = estimate_all(x, as_auxiliary(y), settings=QUICK, seed=seed)
        return [asdict(result) | {"seconds": 0.0} for result in results]

    torch.set_num_threads(2)
    state = torch.get_rng_state()
    first = numbers(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == 2
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert numbers(1) == first
    assert numbers(2) != first
    json.dumps(first, allow_nan=False)


@pytest.mark.parametrize("estimator", ["pooled", "infonce", "ksg", "gaussian_copula"])
def test_monotone_maps_and_constant_columns_change_nothing(estimator):
    x, y = PROBLEMS["gaussian_2.0bit_5d"].sample(300, seed=0)
    options = {"estimator": estimator, "settings": QUICK, "seed": 3}
    plain = estimate(x, y, **options)
    warped = estimate(np.c_[np.sinh(2 * x), np.full(300, 7.0)], np.c_[np.exp(y), np.ones(300)], **options)
    assert warped.value_bits == plain.value_bits
    assert warped.diagnostics["dropped_constant_dimensions"] == 1
    assert warped.diagnostics["dropped_constant_auxiliary_columns"] == 1
    assert "dropped_constant_dimensions" not in plain.diagnostics


def test_copies_of_columns_do_no_harm():
    x, y = PROBLEMS["gaussian_2.0bit_5d"].sample(400, seed=0)
    result = estimate(np.hstack([x, x]), np.hstack([y, y[:, :2]]), settings=QUICK)
    assert result.value_bits == pytest.approx(2.0, abs=0.4)


def test_pairs_of_one_group_stay_together():
    """Embeddings that only name the group say nothing about groups that were not seen."""
    draws = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 20)
    x, y = draws.standard_normal((30, 4))[group], draws.standard_normal((30, 1))[group]
    x += 0.01 * draws.standard_normal(x.shape)
    modest = ProbingSettings(infonce=InfoNceSettings(hidden_width=64, max_steps_few_pairs=100))
    options = {"estimator": "pooled", "settings": modest, "seed": 0}
    leaky = estimate(x, as_auxiliary(y), **options)
    whole = estimate(x, as_auxiliary(y), group=group, **options)
    assert leaky.value_bits > 1.0
    assert whole.value_bits < 0.1
    assert whole.value_bits < whole.high_bits


def test_a_collapsed_representation_has_no_information():
    y = np.random.default_rng(0).integers(0, 3, 100)
    for result in estimate_all(np.ones((100, 16)), as_auxiliary(y), settings=QUICK, seed=0):
        assert result.value_bits == 0.0
        assert "constant_representation" in result.flags


def test_classes_rarer_than_the_folds():
    draws = np.random.default_rng(0)
    y = np.r_[np.zeros(60, int), np.ones(60, int), [2, 3]]
    x = y[:, None] + 0.1 * draws.standard_normal((122, 3))
    for result in estimate_all(x, as_auxiliary(y), settings=QUICK, seed=0):
        assert 0.3 < result.value_bits < result.ceiling_bits + 0.3
        assert np.isfinite([result.low_bits, result.high_bits, result.floor_bits]).all()
        assert result.diagnostics["classes_of_one_member"] == 2


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((49, 2)), np.zeros(49), "49 pairs .* at least 50"),
        (np.full((60, 2), np.nan), np.arange(60.0), "120 non-finite values"),
        (np.eye(60), np.r_[np.inf, np.arange(59.0)], "auxiliary signal holds 1 non-finite"),
        (np.eye(60), np.zeros(60, int), "all 60 cells are of one class"),
        (np.eye(60), np.zeros(60), "same value in every cell"),
        (np.eye(60), np.arange(60) - 3, "unknown .* in 3 of 60 cells"),
        (np.eye(60), np.zeros(59), "60 cells, the auxiliary signal 59"),
    ],
)
def test_what_cannot_be_measured_is_said(x, y, message):
    with pytest.raises(MeasurementError, match=message):
        estimate(x, as_auxiliary(y), estimator="lmi", settings=ProbingSettings(), seed=0)


def test_unknown_estimator_and_headline():
    with pytest.raises(
        MeasurementError, match="no estimator 'mine': choose one of pooled, infonce, lmi, ksg, gaussian_copula"
    ):
        estimate(np.eye(60), as_auxiliary(np.arange(60.0)), estimator="mine", settings=QUICK, seed=0)
    with pytest.raises(ValueError, match="headline 'pooled' is not among"):
        ProbingSettings(estimators=("lmi",), headline="pooled")
    assert ProbingSettings(estimators=("ksg", "lmi")).headline == "ksg"
    assert ProbingSettings().headline == "pooled"


def test_identity_of_an_estimator_ignores_the_others():
    changed = ProbingSettings(lmi=LatentMutualInformationSettings(n_latent=8))
    for other in ("pooled", "infonce", "ksg", "gaussian_copula"):
        assert estimator_identity(changed, other) == estimator_identity(ProbingSettings(), other)
    assert estimator_identity(changed, "lmi") != estimator_identity(ProbingSettings(), "lmi")


def test_auxiliary_from_arrays():
    text = as_auxiliary(np.array(["b", "a", "b"]))
    assert (text.kind, text.values.tolist(), text.names) == ("categorical", [1, 0, 1], ("a", "b"))
    unknown = as_auxiliary(np.array([5, -1, 7]))
    assert (unknown.values.tolist(), unknown.names) == ([0, -1, 1], ("5", "7"))
    assert as_auxiliary(np.array([True, False])).kind == "categorical"
    assert as_auxiliary(np.zeros((3, 2), np.float32)).values.dtype == np.float64


def test_every_setting_is_described():
    for settings in (ProbingSettings, InfoNceSettings, KsgSettings, LatentMutualInformationSettings):
        assert all(field.description for field in settings.model_fields.values())


def test_the_room_is_imported_without_its_heavy_libraries():
    program = (
        "import sys, nsl_assets.probing;"
        "print([m for m in ('torch', 'numba', 'scipy', 'sklearn', 'pandas', 'anndata') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
