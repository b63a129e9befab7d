from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.laws import JointSettings, LawSettings, Surface, depth_for, noise_law
from nsl_assets.planning import (
    ADVICE_FLAGS,
    Evidence,
    Saturation,
    Sequencing,
    evidence_of,
    headroom_advice,
    target_advice,
    what_pays_advice,
)

Make = Callable[..., Evidence]


def test_deep_enough(evidence: Make) -> None:
    advice = target_advice(evidence(), Sequencing(Saturation(np.inf), 1.0))
    truth = float(depth_for(0.9 * 2.5, 2.5, 400.0))
    found, spare = advice.estimate("target_depth"), advice.estimate("spare_reads_share")
    assert not advice.is_refused and not advice.flags
    assert found.low < truth < found.high
    assert (spare.low, spare.high) == pytest.approx((1 - found.high / 8000, 1 - found.low / 8000))
    assert "deep enough" in advice.sentence and f"{100 * spare.value:.0f} %" in advice.sentence


def test_a_saturated_library_spares_more_reads(evidence: Make) -> None:
    plain = target_advice(evidence(), Sequencing()).estimate("spare_reads_share").value
    saturated = target_advice(evidence(), Sequencing(Saturation(8500))).estimate("spare_reads_share").value
    assert saturated > plain + 0.05


def test_too_shallow_and_beyond_the_library(evidence: Make) -> None:
    advice = target_advice(evidence(today=200.0), Sequencing())
    assert "too shallow" in advice.sentence
    assert {"saturation_assumed", "panel_assumed_complete"} == set(advice.flags)
    beyond = target_advice(evidence(today=500.0), Sequencing(Saturation(600), 1.0))
    assert beyond.is_refused and "no amount of sequencing gives that depth: the library holds 600" in beyond.sentence
    with pytest.raises(InputError, match="no amount of sequencing reaches 600"):
        target_advice(evidence(), Sequencing(Saturation(600), 1.0))


def test_a_little_beyond_the_deepest_level_is_flagged(evidence: Make) -> None:
    advice = target_advice(evidence(ubar=5000.0, sd_bits=0.01), Sequencing())
    assert not advice.is_refused
    assert "extrapolated" in advice.flags
    assert advice.estimate("target_depth").low > 8000


@pytest.mark.parametrize("ubar", [3e4, 3e5, 1e6])
def test_without_a_plateau_levels_are_asked_for(evidence: Make, ubar: float) -> None:
    advice = target_advice(evidence(ubar=ubar), Sequencing())
    assert advice.is_refused
    assert advice.reason == "the curve has no plateau"
    assert "no_plateau" in advice.flags
    needed = advice.estimate("levels_needed")
    assert 1 <= needed.low <= needed.value
    if np.isfinite(needed.low):
        assert f"at least {needed.low:.0f} level" in advice.sentence
        spacing = (8000 / 10) ** (1 / 7)
        assert advice.estimate("depth_needed").low == pytest.approx(8000 * spacing**needed.low)


def test_the_levels_asked_for_answer_the_question(evidence: Make) -> None:
    """A study that adds as many levels as the best fit needs gets its answer in most draws; with one less, in fewer."""
    spacing = (8000 / 10) ** (1 / 7)
    refused = [target_advice(evidence(ubar=5e4, draw=draw), Sequencing()) for draw in range(8)]
    needed = int(np.median([advice.estimate("levels_needed").value for advice in refused]))

    def answered(n_added: int) -> float:
        options = {"deepest": 8000 * spacing**n_added, "n_levels": 8 + n_added, "ubar": 5e4}
        return float(
            np.mean([not target_advice(evidence(**options, draw=i), Sequencing()).is_refused for i in range(12)])
        )

    assert needed >= 1
    assert answered(needed) >= 0.75
    assert answered(needed - 1) <= 0.5


def test_no_information_is_no_target(evidence: Make) -> None:
    advice = target_advice(evidence(imax_bits=0.0), Sequencing())
    assert advice.is_refused and "no information" in advice.reason
    assert headroom_advice(evidence(imax_bits=0.0)).is_refused


def test_bits_below_imax(evidence: Make) -> None:
    settings = LawSettings(target_definition="bits_below_imax", target_bits_below_imax=0.5)
    advice = target_advice(evidence(settings), Sequencing())
    assert advice.estimate("target_depth").value == pytest.approx(float(depth_for(2.0, 2.5, 400.0)), rel=0.1)
    assert "all but 0.5 bits" in advice.sentence
    impossible = settings.model_copy(update={"target_bits_below_imax": 3.0})
    assert target_advice(evidence(impossible), Sequencing()).reason == "the target lies at or below 0 bits"


def test_headroom(evidence: Make) -> None:
    advice = headroom_advice(evidence(ubar=2000.0))
    truth = noise_law(np.array([8000.0, 16000.0, np.inf]), 2.5, 2000.0)
    for name, gain in (
        ("gain_at_infinite_depth", truth[2] - truth[0]),
        ("gain_at_twice_the_depth", truth[1] - truth[0]),
    ):
        assert advice.estimate(name).low < gain < advice.estimate(name).high
    assert f"{truth[1] - truth[0]:.2f} bits" in advice.sentence


def test_headroom_stays_open_where_the_data_are(evidence: Make) -> None:
    advice = headroom_advice(evidence(ubar=3e5))
    assert advice.estimate("gain_at_infinite_depth").high == np.inf
    assert advice.estimate("gain_at_twice_the_depth").high < 0.5
    assert {"open_end", "no_plateau"} <= set(advice.flags) <= set(ADVICE_FLAGS)
    assert "cannot be bounded" in advice.sentence


def test_a_size_that_was_not_measured_is_refused(simulated_surface: Callable[..., Surface]) -> None:
    with pytest.raises(InputError, match="Measured: 10,000"):
        evidence_of("PCA", simulated_surface(), LawSettings(), JointSettings(), n_cells=500)


def test_weak_measurements_tell_nothing_however_little_they_scatter(simulated_surface: Callable[..., Surface]) -> None:
    plain = simulated_surface(sizes=(1_000, 10_000), loss_bits=0.3)
    weak = replace(plain, low_bits=plain.mi_bits - 3.0, high_bits=plain.mi_bits + 1.0)
    asked = evidence_of("PCA", weak, LawSettings(), JointSettings())
    assert asked.joint is None, "plans would be built on nothing"
    for advice in (target_advice(asked, Sequencing()), headroom_advice(asked)):
        assert advice.is_refused
        assert "weak_measurements" in advice.flags
        assert "more cells or pairs" in advice.sentence
    pays = what_pays_advice(asked, {"PCA": asked}, Sequencing(), None)
    assert pays.is_refused
    assert "what depth adds is not known" in pays.sentence


def test_a_common_error_moves_no_depth(simulated_surface: Callable[..., Surface]) -> None:
    plain = simulated_surface()
    own = replace(plain, low_bits=plain.mi_bits - 0.5, high_bits=plain.mi_bits + 0.5)
    answers = [
        target_advice(evidence_of("PCA", one, LawSettings(), JointSettings()), Sequencing()) for one in (plain, own)
    ]
    assert answers[0].estimate("target_depth") == answers[1].estimate("target_depth")
    assert not answers[1].is_refused


def test_another_model_that_knows_less_loses_bits(simulated_surface: Callable[..., Surface]) -> None:
    named = {"PCA": simulated_surface(imax_bits=2.5), "scVI": simulated_surface(imax_bits=1.5, draw=1)}
    both = {name: evidence_of(name, one, LawSettings(), JointSettings()) for name, one in named.items()}
    pays = what_pays_advice(both["PCA"], both, Sequencing(), None)
    gain = pays.estimate("model_gain")
    assert gain.high < -0.5
    assert f"the model scVI loses {-gain.value:.2f} bits ({-gain.high:.2f} to {-gain.low:.2f})" in pays.sentence
