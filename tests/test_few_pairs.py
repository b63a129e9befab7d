"""What was measured from too few pairs is flagged in its law and is no advice."""

from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.advising import advise_tasks
from nsl_assets.laws import Curve, LawSettings, MeasuredCurve, fit_curves, noise_law
from nsl_assets.planning import PlanningSettings


@pytest.fixture
def measured() -> MeasuredCurve:
    """A curve with a clear plateau, three seeds and six levels."""
    depth = np.repeat([30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0], 3)
    noise = np.random.default_rng(0).normal(0, 0.01, depth.size)
    bits = noise_law(depth, 2.0, 100.0) + noise
    return MeasuredCurve("cells", "pca", 480, "pooled", Curve(depth, bits, np.tile([0, 1, 2], 6), depth / 10_000))


def test_a_law_of_unreliable_estimates_from_few_pairs_is_flagged(measured: MeasuredCurve):
    sound, doubtful = fit_curves([measured, replace(measured, unreliable_fraction=0.9)], LawSettings())
    assert sound.fit and doubtful.fit
    assert set(doubtful.fit.flags) - set(sound.fit.flags) == {"few_pairs"}


def test_they_give_no_advice_but_what_to_measure(measured: MeasuredCurve):
    doubtful = replace(measured, model="scvi", unreliable_fraction=0.9)
    ((advice,),) = (advise_tasks([measured, doubtful], LawSettings(), PlanningSettings()),)
    of_model = {model: [one for one in advice.advice if one.model == model] for model in ("pca", "scvi")}
    assert not any(one.is_refused or "few_pairs" in one.flags for one in of_model["pca"])
    assert of_model["scvi"]
    for one in of_model["scvi"]:
        assert one.is_refused
        assert "few_pairs" in one.flags
        assert "Measure more pairs" in one.sentence
