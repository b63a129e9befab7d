"""The grid of the paper, as its published measurements have it."""

from pathlib import Path

import pandas as pd
import pytest

from nsl_assets.datasets import paper_grid

TASKS = {"embryo": "author_day", "pbmc_citeseq": "protein_counts", "larry": "clone", "merfish": "ng_idx"}


@pytest.mark.parametrize("name", TASKS)
def test_sizes_and_levels_are_the_published_ones(name: str):
    table = Path(__file__).resolve().parents[3] / "shared" / "reference" / "published_mi.csv"
    if not table.is_file():
        pytest.skip("the published measurements (../shared/reference) are not here")
    published = pd.read_csv(table).query("task == @TASKS[@name]")
    assert list(paper_grid(name).sizes) == sorted(published["n_cells"].unique())
    assert sorted(paper_grid(name).levels) == pytest.approx(sorted(published["quality"].unique()), abs=6e-7)


def test_a_grid_ends_at_ten_molecules_a_cell():
    assert paper_grid("merfish").levels[-1] * 367 == pytest.approx(10, rel=1e-4)
