"""Advice in reads is refused where only some genes were counted."""

from pathlib import Path

import numpy as np
import pytest

from nsl_assets.advising import advise_tasks
from nsl_assets.laws import Curve, LawSettings, MeasuredCurve, noise_law
from nsl_assets.planning import PlanningSettings
from nsl_assets.tasks import H5adTask, SimulatedCells, lacks_total_umis


@pytest.fixture
def measured() -> MeasuredCurve:
    """A curve with a clear plateau, three seeds and six levels."""
    depth = np.repeat([30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0], 3)
    noise = np.random.default_rng(0).normal(0, 0.01, depth.size)
    bits = noise_law(depth, 2.0, 100.0) + noise
    return MeasuredCurve("cells", "pca", 480, "pooled", Curve(depth, bits, np.tile([0, 1, 2], 6), depth / 10_000))


def test_a_panel_of_unknown_share_gives_no_advice_in_reads(measured: MeasuredCurve):
    paid = PlanningSettings(price_per_cell=0.1, price_per_read=1e-5, budget=1000.0)
    ((advice,), (of_panel,), (of_share,)) = (
        advise_tasks([measured], LawSettings(), planning, panels=["cells"] if is_panel else [])
        for planning, is_panel in ((paid, False), (paid, True), (paid.model_copy(update={"panel_share": 0.5}), True))
    )
    in_reads = {"budget", "cheapest", "frontier", "what_pays"}
    assert not any("--total-umis" in one.sentence for one in (*advice.advice, *of_share.advice))
    refused = {one.question for one in of_panel.advice if one.is_refused and "--total-umis" in one.sentence}
    assert refused == {one.question for one in advice.advice} & in_reads
    (depth,) = (one for one in of_panel.advice if one.question == "target_depth")
    assert not depth.is_refused


def test_a_file_of_few_genes_is_a_panel_until_its_total_is_named(small_h5ad: Path):
    task = H5adTask(path=small_h5ad, auxiliary="obs:cell_type")
    assert lacks_total_umis(task)
    assert not lacks_total_umis(task.model_copy(update={"total_umis": 1.0}))
    assert not lacks_total_umis(SimulatedCells())
