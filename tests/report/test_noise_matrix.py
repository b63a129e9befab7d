"""The section of crossed noise: there where there is something, every number by hand, what is missing stays missing."""

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from nsl_assets.report import NoiseMatrix, ReportContent, report_files
from nsl_assets.report.blocks import Gallery, PageTable
from nsl_assets.report.drawn import Drawn
from nsl_assets.report.noise_matrix_figure import bits_range, noise_matrix_figure
from nsl_assets.report.noise_matrix_section import noise_matrix_section

DEPTHS = {1.0: 2_000.0, 0.1: 200.0, 0.01: 20.0}
BITS = {
    (1.0, 1.0): {0: 1.0, 1: 1.2},
    (0.1, 0.1): {0: 0.6, 1: 0.7},
    (0.01, 0.01): {0: 0.3, 1: 0.2},
    (1.0, 0.1): {0: 0.4, 1: 0.6},
    (1.0, 0.01): {0: 0.1},
    (0.01, 1.0): {0: 0.5, 1: 0.8},
}


def matrix(model: str = "pca", n_cells: int = 500, scale: float = 1.0) -> NoiseMatrix:
    bits = {place: {seed: scale * one for seed, one in seeds.items()} for place, seeds in BITS.items()}
    return NoiseMatrix("proteins", model, n_cells, DEPTHS, bits)


def records(files: Mapping[str, Callable[[], bytes]], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[f"data/{name}.csv"]().decode())))


def test_differences_are_taken_seed_by_seed_with_students_interval() -> None:
    found = matrix().difference(1.0, 0.1)
    assert found is not None
    differences = np.array([0.4 - 0.6, 0.6 - 0.7])
    half = stats.t.ppf(0.975, 1) * differences.std(ddof=1) / math.sqrt(2)
    assert (found.bits, found.low_bits, found.high_bits) == pytest.approx(
        (differences.mean(), differences.mean() - half, differences.mean() + half)
    )
    assert not found.is_clear
    one_seed = matrix().difference(1.0, 0.01)
    assert one_seed is not None
    assert (one_seed.bits, one_seed.low_bits, one_seed.n_seeds) == (pytest.approx(-0.2), None, 1)
    assert not one_seed.is_clear
    assert matrix().difference(0.1, 1.0) is None, "it was not measured"
    assert math.isnan(matrix().mean_bits(0.1, 1.0))


def test_the_section_is_there_only_where_models_were_crossed(content: ReportContent) -> None:
    assert noise_matrix_section(content) is None
    assert "probed at another" not in report_files(content)["report.html"]().decode()
    crossed = replace(content, noise_matrices=[matrix()])
    page = report_files(crossed)["report.html"]().decode()
    assert "Trained at one depth, probed at another" in page
    assert "Trained at 2,000 and probed at 20.0 UMIs per cell: 0.10 bits" in page
    assert "difference −0.20 (one seed)" in page
    assert "Trained at 20.0 and probed at 2,000 UMIs per cell: 0.65 bits" in page


def test_tables_hold_matched_and_crossed_bits_of_both_directions(content: ReportContent) -> None:
    section = noise_matrix_section(replace(content, noise_matrices=[matrix()]))
    assert section is not None
    deep, shallow = [block for block in section.blocks if isinstance(block, PageTable)]
    texts = [[cell.text for cell in row.cells] for row in deep.rows]
    assert texts[0][:6] == ["proteins", "pca", "500", "200", "0.50", "0.65"]
    assert texts[1][3:] == ["20.0", "0.10", "0.25", "−0.20 (one seed)"]
    assert [[cell.text for cell in row.cells][3:6] for row in shallow.rows] == [["20.0", "0.65", "1.10"]]
    files = report_files(replace(content, noise_matrices=[matrix()]))
    (row,) = records(files, "probed-at-full-depth")
    assert float(row["difference_bits"]) == pytest.approx(np.mean([0.5 - 1.0, 0.8 - 1.2]))
    assert float(row["train_umis_per_cell"]) == 20.0
    cells = records(files, "train-probe-proteins-pca")
    assert len(cells) == len(BITS), "what was not measured has no line"


def test_missing_cells_are_drawn_as_missing_and_models_share_their_colours() -> None:
    matrices = [matrix(), matrix("scvi", scale=2.0)]
    ends = bits_range(matrices)
    assert ends == (0.0, pytest.approx(2.2))
    drawn = noise_matrix_figure(matrices[0], ends, "")
    axes, bar = drawn.figure.axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    # Columns: probe, rows: training, both from shallow to deep.
    assert written[2, 2] == "1.10" and written[1, 2] == "0.50" and written[2, 0] == "0.65"
    assert written[2, 1] == written[0, 1] == "–"
    assert sum(text == "–" for text in written.values()) == 9 - len(BITS)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["20.0", "200", "2,000"]
    assert bar.get_ylim() == pytest.approx(ends)
    assert drawn.marks["cells"].tips[1] == "trained at 20.0, probed at 200 UMIs per cell: not measured"
    assert drawn.png()[:4] == b"\x89PNG" and drawn.pdf()[:4] == b"%PDF"


def test_only_the_largest_size_is_drawn_and_every_size_is_tabled(content: ReportContent) -> None:
    section = noise_matrix_section(replace(content, noise_matrices=[matrix(n_cells=100, scale=0.5), matrix()]))
    assert section is not None
    (gallery,) = [block for block in section.blocks if isinstance(block, Gallery)]
    assert [figure.title for figure in gallery.figures] == [_title(matrix())]
    deep = next(block for block in section.blocks if isinstance(block, PageTable))
    assert [row.cells[2].text for row in deep.rows] == ["100", "100", "500", "500"]


def _title(one: NoiseMatrix) -> str:
    drawn: Drawn = noise_matrix_figure(one, bits_range([one]), "")
    return drawn.title
