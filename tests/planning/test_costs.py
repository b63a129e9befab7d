import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.planning import Costs, Prices, Saturation, Sequencing


def test_saturation_is_the_expected_number_of_distinct_molecules() -> None:
    """Against draws with replacement from a library of C molecules."""
    complexity, reads = 5_000, 8_000
    stream = np.random.default_rng(0)
    found = np.mean([len(np.unique(stream.integers(0, complexity, reads))) for _ in range(50)])
    assert float(Saturation(complexity).umis_per_cell(reads)) == pytest.approx(found, rel=0.005)


@pytest.mark.parametrize("usable_share", [1.0, 0.6])
@pytest.mark.parametrize("umis", [100, 9_000, 17_900])
def test_two_numbers_fix_the_complexity(umis: float, usable_share: float) -> None:
    saturation = Saturation.from_umis(30_000, umis, usable_share)
    assert float(saturation.umis_per_cell(30_000)) == pytest.approx(umis, rel=1e-6)
    reads = np.array([10.0, 3_000.0, 200_000.0])
    round_trip = saturation.reads_per_cell(saturation.umis_per_cell(reads))
    kept = saturation.umis_per_cell(reads) < 0.999 * saturation.complexity_umis_per_cell
    np.testing.assert_allclose(round_trip[kept], reads[kept], rtol=1e-6)


def test_sequencing_saturation_is_the_share_of_repeats() -> None:
    one, other = Saturation.from_sequencing_saturation(20_000, 0.7), Saturation.from_umis(20_000, 6_000)
    assert one.complexity_umis_per_cell == pytest.approx(other.complexity_umis_per_cell)
    assert Saturation.from_sequencing_saturation(20_000, 0.0).complexity_umis_per_cell == np.inf


def test_no_amount_of_sequencing_exceeds_the_library() -> None:
    assert float(Saturation(5_000).reads_per_cell(5_000)) == np.inf
    sequencing = Sequencing(Saturation(5_000), panel_share=0.1)
    assert sequencing.largest_depth == 500
    assert float(sequencing.reads_per_cell(499)) < np.inf == float(sequencing.reads_per_cell(501))


def test_a_panel_needs_reads_for_all_genes() -> None:
    assert float(Sequencing(panel_share=0.05).reads_per_cell(100)) == pytest.approx(2_000)
    assert Sequencing().flags == ("saturation_assumed", "panel_assumed_complete")
    assert not Sequencing(Saturation(5_000), 1.0).flags


def test_money_for_cells_and_depth_and_back() -> None:
    costs = Costs(Prices(per_cell=0.1, per_read=2e-6, fixed=500), Sequencing(Saturation.from_umis(30_000, 9_000), 0.5))
    budget = float(costs.of(4_000, 2_000))
    reads = float(Saturation.from_umis(30_000, 9_000).reads_per_cell(4_000))
    assert budget == pytest.approx(500 + 4_000 * (0.1 + 2e-6 * reads))
    assert float(costs.cells_for(budget, 2_000)) == pytest.approx(4_000)
    assert costs.depth_for(budget, 4_000) == pytest.approx(2_000)
    assert costs.depth_for(budget, 40_000_000) == 0
    assert float(costs.cells_for(budget, 5_000)) == 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Prices(per_cell=-1, per_read=1e-6), "per_cell"),
        (lambda: Prices(per_cell=np.nan, per_read=1e-6), "per_cell"),
        (lambda: Prices(per_cell=0, per_read=0), "neither"),
        (lambda: Saturation(0), "complexity"),
        (lambda: Saturation(1_000, usable_share=1.2), "usable share"),
        (lambda: Saturation.from_umis(1_000, 2_000), "one molecule"),
        (lambda: Saturation.from_umis(1_000, 900, 0.5), "one molecule"),
        (lambda: Saturation.from_umis(0, 0), "positive"),
        (lambda: Saturation.from_sequencing_saturation(1_000, 62), "62 %"),
        (lambda: Sequencing(panel_share=0), "panel share"),
        (lambda: Sequencing(panel_share=1.5), "panel share"),
        (lambda: Costs(Prices(0.1, 1e-6, fixed=100), Sequencing()).check_budget(100), "one sequenced cell"),
    ],
)
def test_bad_input_is_refused(make: object, match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()  # type: ignore[operator]
