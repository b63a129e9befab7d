"""Latent mutual information: known information, held-out pairs, best weights, same numbers, the published package."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from nsl_assets.probing.folds import Fold
from nsl_assets.probing.latent import Autoencoders, measure_latent
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import LatentMutualInformationSettings
from nsl_assets.probing.stacked import training_on

DEFAULTS = LatentMutualInformationSettings()
QUICK = LatentMutualInformationSettings(hidden_width=32, fewest_steps=100, max_steps=100)


def pairs_of(x, y=None, *, classes=None, group=None):
    return Pairs(representation=x, columns=y, classes=classes, group=group)


def correlated(n_pairs, n_columns, bits, seed=0):
    """Independent columns that share ``bits`` in all, so that closed forms hold."""
    draws = np.random.default_rng(seed)
    x, noise = draws.standard_normal((2, n_pairs, n_columns))
    kept = 2.0 ** (-2 * bits / n_columns)
    return x, np.sqrt(1 - kept) * x + np.sqrt(kept) * noise


def separated_classes(n_pairs, n_classes, distance, seed=0):
    draws = np.random.default_rng(seed)
    classes = draws.permutation(np.arange(n_pairs) % n_classes)
    means = distance * np.eye(n_classes)[classes]
    return means + draws.standard_normal((n_pairs, n_classes)), classes


def folds_of_thirds(n_pairs):
    parts = np.array_split(np.random.default_rng(0).permutation(n_pairs), 3)
    return [Fold(*(np.sort(parts[(part + number) % 3]) for part in range(3))) for number in range(2)]


def trained(x, y, folds, settings):
    with training_on("cpu"):
        return Autoencoders(x.astype(np.float32), y.astype(np.float32), folds, settings, seed=0)


@pytest.mark.parametrize(("bits", "low", "high"), [(0.0, -0.1, 0.1), (1.0, 0.6, 1.05), (3.0, 1.9, 3.05)])
def test_known_information_comes_out_near_and_from_below(bits, low, high):
    result = measure_latent(pairs_of(*correlated(1_000, 3, bits)), DEFAULTS, 0)
    assert low < result.value_bits < high
    assert abs(result.floor_bits) < 0.1
    assert result.low_bits < result.value_bits < result.high_bits


def test_well_separated_classes_have_the_entropy_of_their_codes():
    x, classes = separated_classes(600, 4, distance=12.0)
    result = measure_latent(pairs_of(x, classes=classes), DEFAULTS, 0)
    assert result.value_bits == pytest.approx(2.0, abs=0.15)


def test_overlapping_classes_have_the_information_of_their_posterior():
    """I = H(Y) - H(Y|x); equal spherical noise makes the posterior a softmax of distance × x."""
    x, classes = separated_classes(1_000, 4, distance=2.0)
    truth = 2.0 + log_softmax(2.0 * x, axis=1)[np.arange(1_000), classes].mean() / np.log(2)
    assert measure_latent(pairs_of(x, classes=classes), DEFAULTS, 0).value_bits == pytest.approx(truth, abs=0.15)


def test_narrow_information_in_many_columns_is_found():
    x, y = correlated(1_000, 2, 2.0)
    mixing = np.random.default_rng(1).standard_normal((2, 228))
    result = measure_latent(pairs_of(x, y @ mixing), DEFAULTS, 0)
    assert 1.3 < result.value_bits < 2.1


def test_a_wild_value_changes_little():
    x, y = correlated(400, 2, 2.0)
    wild = x.copy()
    wild[7] = 1e9
    plain, outlier = (measure_latent(pairs_of(side, y), DEFAULTS, 0).value_bits for side in (x, wild))
    assert np.isfinite(outlier)
    assert outlier <= plain + 0.2


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    pairs = pairs_of(*correlated(300, 4, 1.0))
    n_threads, state = torch.get_num_threads(), torch.get_rng_state()
    one = measure_latent(pairs, QUICK, 5)
    torch.set_num_threads(2)
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002
    assert measure_latent(pairs, QUICK, 5) == one
    assert torch.get_num_threads() == 2
    torch.set_num_threads(n_threads)
    torch.set_rng_state(state)
    assert measure_latent(pairs, QUICK, 6) != one


def test_networks_do_not_depend_on_the_pairs_that_they_estimate():
    x, y = correlated(300, 4, 1.0)
    folds = folds_of_thirds(300)
    before = trained(x, y, folds, QUICK).trained.parameters
    x[folds[0].test] = -5.0
    y[folds[0].test] = 5.0
    after = trained(x, y, folds, QUICK).trained.parameters
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_pairs_that_stop_the_training_do_not_train():
    """With one validation, which any training passes, the stopping pairs decide nothing."""
    x, y = correlated(300, 4, 1.0)
    folds = folds_of_thirds(300)
    once = QUICK.model_copy(update={"validate_every": QUICK.max_steps})
    before = trained(x, y, folds, once).trained
    x[folds[0].validation] += 0.1
    after = trained(x, y, folds, once).trained
    assert torch.equal(before.parameters[0], after.parameters[0])
    assert before.losses[0] != after.losses[0]


def test_longer_training_never_ends_with_a_worse_stopping_loss():
    """Few pairs and a high rate overfit soon: the losses of the last weights would rise again."""
    x, y = correlated(90, 4, 1.0)
    folds = folds_of_thirds(90)[:1]
    losses = []
    for n_steps in (25, 50, 100, 200, 400):
        changes = {"fewest_steps": n_steps, "max_steps": n_steps, "learning_rate": 1e-2, "patience": 99}
        losses.append(float(trained(x, y, folds, QUICK.model_copy(update=changes)).trained.losses[0]))
    assert all(later <= earlier for earlier, later in pairwise(losses))
    assert losses[-1] == losses[-2] < losses[0]


def test_the_latents_are_those_of_the_best_weights():
    """Training on past the best step changes neither weights nor latents."""
    x, y = correlated(90, 4, 1.0)
    folds = folds_of_thirds(90)[:1]
    changes = {"fewest_steps": 400, "max_steps": 400, "learning_rate": 1e-2}
    patient, hasty = (
        trained(x, y, folds, QUICK.model_copy(update=changes | {"patience": patience})) for patience in (99, 3)
    )
    assert hasty.trained.steps[0] < patient.trained.steps[0] == 400
    assert all(np.array_equal(*sides) for sides in zip(hasty.latents(0), patient.latents(0), strict=True))


def test_cells_of_one_group_stay_together():
    """Embeddings that only name the group say nothing about groups that were not seen."""
    draws = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 10)
    x, y = draws.standard_normal((40, 3))[group], draws.standard_normal((40, 1))[group]
    x, y = (side + 0.3 * draws.standard_normal(side.shape) for side in (x, y))
    apart, together = (measure_latent(pairs_of(x, y, group=codes), DEFAULTS, 0) for codes in (None, group))
    assert together.high_bits - together.low_bits > 1.5 * (apart.high_bits - apart.low_bits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_about_the_same():
    pairs = pairs_of(*correlated(1_000, 4, 2.0))
    cpu, gpu = (measure_latent(pairs, DEFAULTS, 0, device).value_bits for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, abs=0.1)


@pytest.mark.slow
def test_agreement_with_the_published_package(monkeypatch):
    """Sixty of its epochs at 2,000 pairs, from where its value moves no more than its sampling error."""
    monkeypatch.setattr(np, "NaN", np.nan, raising=False)
    lmi = pytest.importorskip("latentmi.lmi")
    x, y = correlated(2_000, 5, 2.0)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    with training_on("cpu"):
        theirs = float(np.nanmean(lmi.estimate(x, y, N_dims=16, epochs=60)[0]))
    ours = measure_latent(pairs_of(x, y), DEFAULTS, 0)
    assert ours.value_bits == pytest.approx(theirs, abs=0.1)
