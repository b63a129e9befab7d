from collections.abc import Callable

import numpy as np
import pytest

from nsl_assets.laws import JointLawFit, Surface, fit_joint_law, noise_law, predict_joint
from nsl_assets.planning import Costs, Planner, Prices, Saturation, Sequencing

SIZES = (1_000, 3_000, 10_000, 30_000)
PRICES = Prices(per_cell=0.1, per_read=2e-6, fixed=200)


@pytest.fixture(scope="module")
def joint() -> JointLawFit:
    depth, n_cells, seed = (g.ravel() for g in np.meshgrid(np.geomspace(10, 8000, 8), SIZES, np.arange(3)))
    stream = np.random.default_rng(0)
    bits = noise_law(depth, 2.5 - 0.8 * np.sqrt(1000 / n_cells), 500.0) + 0.02 * stream.standard_normal(len(depth))
    return fit_joint_law(Surface(depth, n_cells.astype(float), bits, seed))


@pytest.fixture(scope="module")
def planner(joint: JointLawFit) -> Planner:
    return Planner(joint, Costs(PRICES, Sequencing(Saturation.from_umis(60_000, 16_000), 0.8)))


@pytest.mark.parametrize("budget", [500.0, 2_000.0, 10_000.0])
def test_no_plan_on_a_fine_grid_is_better(planner: Planner, budget: float) -> None:
    """Brute force over cells and depths that the budget buys."""
    best = planner.best(budget)
    assert best is not None
    depth, n_cells = (
        g.ravel()
        for g in np.meshgrid(np.geomspace(*planner.region.depth, 200), np.geomspace(*planner.region.n_cells, 200))
    )
    affordable = planner.costs.of(n_cells, depth) <= budget
    most = predict_joint(planner.joint, depth[affordable], n_cells[affordable]).bits.max()
    assert best.plan.bits == pytest.approx(most, abs=0.01)
    assert best.plan.cost <= budget * (1 + 1e-9)
    assert best.plan.low_bits < best.plan.bits < best.plan.high_bits
    assert best.n_cells_range[0] <= best.plan.n_cells <= best.n_cells_range[1]
    assert best.depth_range[0] <= best.plan.umis_per_cell <= best.depth_range[1]


def test_the_cheapest_plan_inverts_the_best_plan(planner: Planner) -> None:
    best = planner.best(2_000.0)
    assert best is not None
    cheapest = planner.cheapest(best.plan.bits)
    assert cheapest is not None
    assert cheapest.plan.cost == pytest.approx(2_000, rel=0.05)
    assert cheapest.cost_low < cheapest.plan.cost < cheapest.cost_high
    assert planner.cheapest(9.0) is None


def test_more_money_never_gives_less(planner: Planner) -> None:
    plans = planner.frontier(12)
    assert len(plans) == 12
    assert (np.diff([one.plan.bits for one in plans]) > -0.005).all()
    assert (np.diff([one.budget for one in plans]) > 0).all()
    assert plans[-1].is_extrapolated
    assert not plans[3].is_extrapolated


def test_dear_reads_make_plans_shallow(joint: JointLawFit) -> None:
    sequencing = Sequencing(Saturation(np.inf), 1.0)
    dear_reads = Planner(joint, Costs(Prices(0.01, 1e-3), sequencing)).best(20_000)
    dear_cells = Planner(joint, Costs(Prices(2.0, 1e-5), sequencing)).best(20_000)
    assert dear_reads is not None and dear_cells is not None
    assert dear_reads.plan.umis_per_cell < 0.3 * dear_cells.plan.umis_per_cell


def test_a_plan_stays_within_the_library_and_within_reach(joint: JointLawFit) -> None:
    rich = Planner(joint, Costs(PRICES, Sequencing(Saturation(10_000), 0.9))).best(1e9)
    assert rich is not None
    assert rich.plan.umis_per_cell < 9_000
    assert rich.plan.n_cells == pytest.approx(10 * SIZES[-1])
    assert rich.is_at_edge and rich.is_extrapolated


def test_too_little_money_buys_no_plan(planner: Planner) -> None:
    assert planner.best(0.99 * planner.cheapest_cost) is None
    assert planner.best(1.01 * planner.cheapest_cost) is not None


def test_plans_far_from_the_best_are_told_apart_from_it(planner: Planner) -> None:
    best = planner.best(2_000)
    assert best is not None
    assert best.depth_range[0] > 10 * planner.region.depth[0]
    assert best.n_cells_range[1] < planner.costs.cells_for(2_000, 10 * planner.region.depth[0])


def test_surface_of_one_size_has_no_joint_law(
    simulated_surface: Callable[..., Surface], evidence: Callable[..., object]
) -> None:
    found = evidence()
    assert found.joint is None
    assert "only one training size" in found.why_no_joint
