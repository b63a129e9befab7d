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
    LatentMutualInformationSettings,
    ProbingSettings,
    as_auxiliary,
    estimate,
    estimate_all,
    estimator_identity,
    known_problems,
)

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
    assert abs(result.floor_bits) < 0.06
    assert result.low_bits <= result.value_bits <= result.high_bits
    if name == "classes_10":
        assert result.value_bits < result.ceiling_bits <= np.log2(10)
    else:
        assert result.ceiling_bits is None


def test_weak_and_wide_information_is_flagged_not_invented():
    result = measured("gaussian_1.0bit_16d", 400, "infonce")
    assert result.low_bits < 1.0 < result.high_bits
    assert {"few_pairs", "unreliable"} <= set(result.flags)
    assert result.diagnostics["pooled_bits"] == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("gaussian_1.0bit_5d", 0.4, 1.05), ("classes_10", 2.3, 3.2), ("independent_16d", -0.1, 0.1)],
)
def test_latent_information_of_known_problems(name, low, high):
    result = measured(name, 1_000, "lmi")
    assert low < result.value_bits < high
    assert abs(result.floor_bits) < 0.15
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


def test_infonce_does_not_see_monotone_maps_or_constant_columns():
    x, y = PROBLEMS["gaussian_2.0bit_5d"].sample(300, seed=0)
    options = {"estimator": "infonce", "settings": QUICK, "seed": 3}
    plain = estimate(x, as_auxiliary(y), **options)
    warped = estimate(np.c_[np.sinh(2 * x), np.full(300, 7.0)], as_auxiliary(np.exp(y)), **options)
    assert warped.value_bits == plain.value_bits


def test_pairs_of_one_group_stay_together():
    """Embeddings that only name the group say nothing about groups that were not seen."""
    draws = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 20)
    x, y = draws.standard_normal((30, 4))[group], draws.standard_normal((30, 1))[group]
    x += 0.01 * draws.standard_normal(x.shape)
    modest = ProbingSettings(infonce=InfoNceSettings(hidden_width=64, max_steps_few_pairs=100))
    options = {"estimator": "infonce", "settings": modest, "seed": 0}
    leaky = estimate(x, as_auxiliary(y), **options)
    whole = estimate(x, as_auxiliary(y), group=group, **options)
    assert leaky.value_bits > 1.0
    assert whole.value_bits < 0.1


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
    with pytest.raises(MeasurementError, match="no estimator 'mine': choose one of infonce, lmi"):
        estimate(np.eye(60), as_auxiliary(np.arange(60.0)), estimator="mine", settings=QUICK, seed=0)
    with pytest.raises(ValueError, match="headline 'infonce' is not among"):
        ProbingSettings(estimators=("lmi",))


def test_identity_of_an_estimator_ignores_the_others():
    changed = ProbingSettings(lmi=LatentMutualInformationSettings(n_latent=8))
    assert estimator_identity(changed, "infonce") == estimator_identity(ProbingSettings(), "infonce")
    assert estimator_identity(changed, "lmi") != estimator_identity(ProbingSettings(), "lmi")


def test_auxiliary_from_arrays():
    text = as_auxiliary(np.array(["b", "a", "b"]))
    assert (text.kind, text.values.tolist(), text.names) == ("categorical", [1, 0, 1], ("a", "b"))
    unknown = as_auxiliary(np.array([5, -1, 7]))
    assert (unknown.values.tolist(), unknown.names) == ([0, -1, 1], ("5", "7"))
    assert as_auxiliary(np.array([True, False])).kind == "categorical"
    assert as_auxiliary(np.zeros((3, 2), np.float32)).values.dtype == np.float64


def test_every_setting_is_described():
    for settings in (ProbingSettings, InfoNceSettings, LatentMutualInformationSettings):
        assert all(field.description for field in settings.model_fields.values())


def test_the_room_is_imported_without_its_heavy_libraries():
    program = (
        "import sys, nsl_assets.probing;"
        "print([m for m in ('torch', 'numba', 'scipy', 'sklearn', 'pandas', 'anndata') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_latent_information_agrees_with_the_published_package(monkeypatch):
    """The package with its defaults takes minutes; where training still matters (2 bits and more) they differ."""
    import torch

    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    lmi = pytest.importorskip("latentmi.lmi")
    x, y = PROBLEMS["gaussian_1.0bit_5d"].sample(2_000, seed=0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    theirs = float(np.nanmean(lmi.estimate(x, y, N_dims=16)[0]))
    ours = measured("gaussian_1.0bit_5d", 2_000, "lmi").value_bits
    assert ours == pytest.approx(theirs, abs=0.08)
