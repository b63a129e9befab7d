"""The report as a page: its numbers are those of the fits, nothing is fetched, what is absent says why."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from nsl_assets.laws import MeasuredCurve, noise_law
from nsl_assets.randomness import generator
from nsl_assets.report import ReportContent, report_files
from nsl_assets.report.drawn import Drawn
from nsl_assets.report.measurement_sections import leakage_section
from nsl_assets.report.page import sections_of
from nsl_assets.report.summary import answers

Measured = Callable[..., MeasuredCurve]
Made = Callable[..., ReportContent]
Files = Mapping[str, Callable[[], bytes]]


class Reader(HTMLParser):
    """What a browser would make of a page: tables by id, ids, elements, visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: Counter[str] = Counter()
        self.elements: Counter[str] = Counter()
        self.links: list[str] = []
        self.text = ""
        self._rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.elements[tag] += 1
        self.ids.update([known["id"]] if "id" in known else [])
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag == "table":
            self._rows = self.tables.setdefault(str(known["id"]).removeprefix("table-"), [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._rows and self._rows[-1]:
            self._rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = []


def records(files: Files, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[f"data/{name}.csv"]().decode())))


def test_the_depth_table_shows_the_fits(content: ReportContent, page: str) -> None:
    header, *rows = Reader(page).tables["noise-law"]
    assert header[3:6] == ["Imax (bits)", "ū (UMIs per cell)", "UMIs per cell for 90 % of Imax"]
    fits = [one for one in content.curves if one.measured.n_cells == 6_400]
    assert len(rows) == len(fits) == 2
    for row, one in zip(rows, fits, strict=True):
        assert one.fit is not None
        assert row[:3] == ["proteins", one.measured.model, "6,400"]
        assert row[3].startswith(f"{one.fit.imax_bits:.2f} ({one.fit.imax_low_bits:.2f}–{one.fit.imax_high_bits:.2f})")


def test_data_files_hold_the_fits_unrounded(content: ReportContent, files: Files) -> None:
    rows = records(files, "noise-law-all-sizes")
    assert len(rows) == len(content.curves) == 8
    for row, one in zip(rows, content.curves, strict=True):
        assert one.fit is not None
        assert float(row["imax_bits"]) == one.fit.imax_bits
        assert float(row["target_depth_high"]) == one.fit.target_depth_high
    (first, *_) = content.models
    assert first.comparison is not None
    (compared,) = records(files, "model-comparison")
    assert float(compared["imax_difference_bits"]) == first.comparison.imax_bits.value
    assert {row["name"] for row in records(files, "joint-law")} >= {"i_inf_bits", "ubar", "n0"}
    assert len(records(files, "cell-number-law")) == 12


def test_every_link_leads_to_a_file_beside_the_page(files: Files, page: str) -> None:
    reader = Reader(page)
    beside = {link for link in reader.links if not link.startswith("#")}
    assert beside == set(files) - {"report.html"}
    assert {link.removeprefix("#") for link in reader.links if link.startswith("#")} <= set(reader.ids)


def test_nothing_is_fetched_and_only_one_script_runs(page: str) -> None:
    assert not re.findall(r"https?:", page)
    assert "default-src 'none'" in page and "script-src 'sha256-" in page
    assert Reader(page).elements["script"] == 2  # the data block and the script itself


def test_text_of_users_does_not_become_a_part_of_the_page(page: str, evil: str) -> None:
    assert "<script>alert" not in page
    reader = Reader(page)
    assert f"A study about {evil}" in reader.text
    assert any(row[1] == evil for row in reader.tables["noise-law"])


def test_ids_are_unique(page: str) -> None:
    assert [name for name, n in Reader(page).ids.items() if n > 1] == []


def test_every_figure_of_the_paper_is_there(content: ReportContent, files: Files, page: str) -> None:
    figures = [
        figure
        for section in sections_of(content)
        for block in section.blocks
        for figure in getattr(block, "figures", ())
    ]
    assert all(isinstance(figure, Drawn) for figure in figures)
    for kind in (
        "cell-number-proteins-pca", "cell-number-collapse", "noise-curves-proteins", "noise-law-proteins-pca-6400",
        "noise-collapse", "imax", "ubar", "i-inf", "nsat", "exponent", "joint-law-proteins-pca", "residuals-proteins",
        "loss-proteins-pca-6-400-cells-level-1",
    ):  # fmt: skip
        assert files[f"figures/{kind}.svg"]().startswith(b"<?xml")
        assert f"figures/{kind}.pdf" in files
    assert files["figures/imax.pdf"]().startswith(b"%PDF")
    assert {"noise-law", "parameters", "time-and-memory", "leakage", "advice", "laws", "provenance"} <= set(
        Reader(page).tables
    )


def test_the_answer_comes_first(content: ReportContent, page: str) -> None:
    (answer,) = answers(content)
    assert "Of 2 models, pca keeps most" in answer.sentences[0]
    assert page.index(answer.verdict) < page.index("<h2>")


def test_a_curve_far_from_its_plateau_asks_for_depth(measured: Measured, content_of: Made) -> None:
    curves = [measured("pca", 2.6, 6_400, ubar=1e5)]
    (answer,) = answers(content_of(curves))
    assert answer.verdict.startswith("Sequence deeper")
    assert any("one training size" in sentence for sentence in answer.sentences)


def test_weak_measurements_give_no_advice_on_depth(measured: Measured, content_of: Made) -> None:
    one = measured("pca", 2.6, 6_400)
    own = replace(one.curve, low_bits=one.curve.mi_bits - 4, high_bits=one.curve.mi_bits + 1)
    (answer,) = answers(content_of([replace(one, curve=own)]))
    assert answer.verdict == "These data cannot tell"
    assert not any("would add" in sentence or "would help" in sentence for sentence in answer.sentences)
    assert "weak_measurements" in answer.sentences[-1]


def test_little_information_is_not_called_enough_for_a_gain_that_is_small_in_bits(
    measured: Measured, content_of: Made
) -> None:
    one = measured("pca", 2.6, 6_400)
    scatter = 0.002 * generator("little").standard_normal(len(one.curve.depth))
    little = replace(one.curve, mi_bits=noise_law(one.curve.depth, 0.25, 3_000.0) + scatter)
    (answer,) = answers(content_of([replace(one, curve=little)]))
    assert answer.verdict.startswith("Sequence deeper")


def test_the_same_content_gives_the_same_bytes(measured: Measured, content_of: Made) -> None:
    once, again = (report_files(content_of([measured("pca", 2.6, 100)])) for _ in range(2))
    assert set(once) == set(again)
    for path in ("report.html", "figures/noise-curves-proteins.pdf", "data/noise-law.csv"):
        assert once[path]() == again[path]()


def test_what_is_absent_says_why_and_how_to_get_it(measured: Measured, content_of: Made) -> None:
    one_size = content_of([measured("pca", 2.6, 100)])
    text = Reader(report_files(one_size)["report.html"]().decode()).text
    assert "nsl run --sizes" in text
    assert "one model a task was measured" in text
    assert "Not calibrated: run nsl calibrate." in text
    assert "no loss curves" in text or "says nothing of training" in text


@pytest.mark.parametrize("kind", ["study", "table"])
def test_a_curve_that_cannot_be_fitted_shows_its_points(kind: str, measured: Measured, content_of: Made) -> None:
    short = measured("pca", 2.6, 100)
    two_levels = short.curve.depth < 60
    curve = type(short.curve)(
        *(getattr(short.curve, name)[two_levels] for name in ("depth", "mi_bits", "seed", "level"))
    )
    content = content_of([type(short)("proteins", "pca", 100, "pooled", curve)], kind=kind)
    files = report_files(content)
    page = files["report.html"]().decode()
    assert "No law yet" in page
    assert content.curves[0].problem in Reader(page).text
    assert "figures/noise-law-proteins-pca-100.svg" in files


def test_names_that_only_differ_in_signs_get_files_of_their_own(measured: Measured, content_of: Made) -> None:
    curves = [measured(model, 2.6, 100) for model in ("my model", "my-model")]
    files = report_files(content_of(curves))
    assert {"figures/noise-law-proteins-my-model-100.svg", "figures/noise-law-proteins-my-model-100-2.svg"} <= set(
        files
    )


@pytest.mark.parametrize(
    ("groups", "partners", "said"),
    [
        (None, None, "No probe cell is among those that models saw."),
        (0, None, "No probe cell or group is among those that models saw."),
        (0, 0, "No probe cell, group or partner is among those that models saw."),
        (0, 7, "7 cells, groups or partners are both in the probe and among those that models saw."),
    ],
)
def test_the_split_is_said_in_terms_of_what_was_looked_for(
    groups: int | None, partners: int | None, said: str, content: ReportContent
) -> None:
    of_task = replace(content.leakage[0], n_shared_groups=groups, n_shared_partners=partners)
    section = leakage_section(replace(content, leakage=[of_task]))
    assert section.blocks[0].text == said
