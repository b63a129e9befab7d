import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from nsl_assets.laws import (
    Curve,
    FittedCurve,
    JointSettings,
    LawSettings,
    MeasuredCurve,
    curves_over_cells,
    fit_cells,
    fit_curves,
    fit_surfaces,
    noise_law,
    surfaces,
)
from nsl_assets.randomness import generator
from nsl_assets.report import loss_figure
from nsl_assets.report.canvas import depth_axis, looks_of, number_text
from nsl_assets.report.cell_number_figure import cell_number_figure
from nsl_assets.report.collapse_figures import cell_number_collapse_figure, noise_collapse_figure
from nsl_assets.report.drawn import Drawn, Inliner, file_name
from nsl_assets.report.estimators_figure import estimators_figure
from nsl_assets.report.joint_figure import joint_figure
from nsl_assets.report.noise_curves_figure import noise_curves_figure
from nsl_assets.report.noise_law_figure import doubts, noise_law_figure
from nsl_assets.report.parameters_figure import Estimate, parameters_figure
from nsl_assets.report.residual_figure import residual_figure

DEPTHS = np.geomspace(10, 3000, 8)


def curve(imax_bits: float, ubar: float, *, n_seeds: int = 3, noiseless: bool = False) -> Curve:
    depths = np.append(DEPTHS, np.inf) if noiseless else DEPTHS
    stream = generator("figure", imax_bits, ubar)
    mi_bits = noise_law(depths, imax_bits, ubar) + 0.03 * stream.standard_normal((n_seeds, len(depths)))
    return Curve(np.tile(depths, n_seeds), mi_bits.ravel(), np.repeat(np.arange(n_seeds), len(depths)))


def fitted(one: Curve, *, model: str = "pca", settings: LawSettings | None = None, **known: object) -> FittedCurve:
    measured = MeasuredCurve("task", model, 1_000, "pooled", one, **known)
    return fit_curves([measured], settings or LawSettings())[0]


def png_width(figure: Drawn) -> int:
    png = figure.png()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int(struct.unpack(">I", png[16:20])[0])


def markers(figure: Drawn, gid: str) -> int:
    """How many markers a series has in the picture."""
    svg = Inliner().inline(figure.svg(), "f0", "", figure.marks)
    start = svg.index(f'id="f0-{gid}"')
    return svg[start : svg.index("</g>\n</g>", start)].count("<use")


CURVES = {
    "good": curve(2.0, 200.0),
    "noiseless level": curve(2.0, 200.0, noiseless=True),
    "no plateau": curve(3.0, 1e6),
    "flat": curve(1.0, 1e-3),
    "no information": curve(0.0, 100.0, n_seeds=1),
    "negative": Curve(DEPTHS, -0.01 - 0.001 * np.arange(8), np.zeros(8, dtype=int)),
    "two levels": Curve(DEPTHS[:2], np.ones(2), np.zeros(2, dtype=int)),
}


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_can_be_drawn(name: str) -> None:
    one = fitted(CURVES[name])
    assert png_width(noise_law_figure(one)) == 1280
    noise_curves_figure([one], looks_of(["pca"])).svg()


def test_what_is_said_of_a_marker_belongs_to_it() -> None:
    one = fitted(CURVES["good"])
    figure = noise_law_figure(one)
    assert markers(figure, "seeds") == len(figure.marks["seeds"].tips) == 24
    assert markers(figure, "means") == len(figure.marks["means"].tips) == 8
    first = one.measured.curve.mi_bits[0]
    assert figure.marks["seeds"].tips[0] == f"seed 0: {first:.2f} bits at 10.0 UMIs per cell"
    assert [record["mi_bits"] for record in figure.records] == one.measured.curve.mi_bits.tolist()


def test_a_curve_without_a_law_shows_its_points_and_the_reason() -> None:
    one = fitted(CURVES["two levels"])
    figure = noise_law_figure(one)
    assert markers(figure, "seeds") == 2
    assert one.problem in figure.caption


def test_doubts_name_every_flag() -> None:
    one = fitted(curve(3.0, 1e6, n_seeds=1))
    assert one.fit is not None
    assert {"no_plateau", "target_extrapolated", "one_seed"} <= set(one.fit.flags)
    assert all(f"[{flag}]" in noise_law_figure(one).caption for flag in one.fit.flags)
    assert len(doubts(one.fit)) == len(one.fit.flags)


def test_same_figure_same_bytes() -> None:
    def drawn() -> Drawn:
        truth = (DEPTHS, noise_law(DEPTHS, 2.1, 200.0))
        return noise_law_figure(fitted(CURVES["good"], truth=truth, floor_bits=0.02, ceiling_bits=2.3))

    once, again = drawn(), drawn()
    assert (once.svg(), once.pdf(), once.png()) == (again.svg(), again.pdf(), again.png())


def test_published_intervals_can_be_drawn() -> None:
    one = fitted(CURVES["good"], settings=LawSettings(protocol="published"))
    assert "± 1 σ without covariance" in noise_law_figure(one).caption


def test_models_of_one_task_in_one_frame_with_truth_and_ceiling() -> None:
    names = "abcdefgh"
    truth = (np.append(DEPTHS, np.inf), noise_law(np.append(DEPTHS, np.inf), 2.2, 150.0))
    curves = [
        fitted(curve(2.0 - place / 4, 200.0), model=name, truth=truth, ceiling_bits=2.5)
        for place, name in enumerate(names)
    ]
    figure = noise_curves_figure(curves, looks_of(names))
    svg = figure.svg().decode()
    assert "truth" in svg and "ceiling H(Y)" in svg
    assert {one.model for one in figure.marks.values()} == set(names)


def test_looks_differ_far_beyond_the_number_of_colours() -> None:
    looks = looks_of([f"model {n}" for n in range(30)])
    assert len({(one.colour, one.marker) for one in looks.values()}) == 30


def test_collapsed_curves_lie_on_the_law() -> None:
    exact = Curve(DEPTHS, noise_law(DEPTHS, 2.0, 200.0), np.zeros(8, dtype=int))
    figure = noise_collapse_figure([fitted(exact)], looks_of(["pca"]))
    assert figure is not None
    for record in figure.records:
        r = record["u_over_ubar"]
        assert record["snr_share"] == pytest.approx(r / (1 + r), rel=1e-3)
    assert noise_collapse_figure([fitted(CURVES["two levels"])], looks_of(["pca"])) is None


@pytest.fixture(scope="module")
def grid() -> list[MeasuredCurve]:
    """Six sizes at which information follows the cell-number law exactly at every depth."""
    return [
        MeasuredCurve(
            "task", "pca", n_cells, "pooled",
            Curve(DEPTHS, noise_law(DEPTHS, 2.0, 200.0) - (n_cells / 50) ** -0.5 / 4, np.zeros(8, dtype=int), DEPTHS),
        )
        for n_cells in (100, 300, 1_000, 3_000, 10_000, 30_000)
    ]  # fmt: skip


def test_curves_over_cells_are_drawn_annotated_and_collapsed(grid: list[MeasuredCurve]) -> None:
    cells = fit_cells(curves_over_cells(grid), LawSettings())
    figure = cell_number_figure(cells)
    fit = cells[0].fit
    assert fit is not None
    assert f"I∞ {fit.i_inf_bits:.2f}" in figure.caption
    assert markers(figure, "level-0") == len(figure.marks["level-0"].tips) == 6
    collapse = cell_number_collapse_figure(cells, looks_of(["pca"]))
    assert collapse is not None
    for record in collapse.records:
        assert record["bits_above_i_inf"] == pytest.approx(-1 / record["cells_over_nsat_to_the_s"], abs=0.01)


def test_two_sizes_are_drawn_without_a_law(grid: list[MeasuredCurve]) -> None:
    cells = fit_cells(curves_over_cells(grid[:2]), LawSettings())
    assert cells[0].problem in cell_number_figure(cells).caption
    assert cell_number_collapse_figure(cells, looks_of(["pca"])) is None


def test_the_joint_surface_shows_every_measured_cell(grid: list[MeasuredCurve]) -> None:
    (surface,) = fit_surfaces(surfaces(grid), JointSettings())
    figure = joint_figure(surface)
    assert figure is not None
    assert markers(figure, "cells") == len(figure.marks["cells"].tips) == 48
    assert len(figure.records) == 48


def test_open_and_far_intervals_stay_within_the_axis() -> None:
    estimates = [
        Estimate("one task", "pca", 200.0, 150.0, 300.0),
        Estimate("one task", "scvi", 1e9, 400.0, np.inf),
        Estimate("other", "pca", 1e-9, 0.0, 10.0),
    ]
    figure = parameters_figure(
        estimates, looks_of(["pca", "scvi"]), name="ubar", title="ū", label="ū", is_log=True, write=str, caption=""
    )
    low, high = figure.figure.axes[0].get_xlim()
    assert low < 150 and 300 < high < 1e6
    assert figure.marks["row-2"].tips == ("one task, scvi: ≥ 400.0",)


def test_values_without_any_end_that_are_far_apart_are_drawn() -> None:
    estimates = [Estimate("task", "pca", 1e-3, 0.0, np.inf), Estimate("task", "scvi", 1e12, 0.0, np.inf)]
    figure = parameters_figure(
        estimates, looks_of(["pca", "scvi"]), name="ubar", title="ū", label="ū", is_log=True, write=str, caption=""
    )
    low, high = figure.figure.axes[0].get_xlim()
    assert 0 < low < high < np.inf


def test_residuals_and_estimators_are_drawn() -> None:
    one = fitted(CURVES["good"])
    residuals = residual_figure([one], looks_of(["pca"]))
    assert residuals is not None and len(residuals.records) == 8
    other = MeasuredCurve("task", "pca", 1_000, "lmi", curve(1.2, 400.0, noiseless=True))
    figure = estimators_figure([one.measured, other], "pooled")
    assert "pooled (headline)" in figure.svg().decode()


def test_text_of_users_is_no_formula() -> None:
    one = fitted(CURVES["good"], model=r"$\frac{<script>$")
    for figure in (noise_law_figure(one), noise_curves_figure([one], looks_of([one.measured.model]))):
        assert "<script" not in figure.svg().decode()
        assert r"$\frac{&lt;script&gt;$" in figure.svg().decode()


def test_numbers_in_a_picture_are_not_rounded_with_its_coordinates() -> None:
    figure = noise_law_figure(fitted(CURVES["good"]))
    figure.figure.axes[0].set_xlabel("0.123456 units")
    assert "0.123456 units" in Inliner().inline(figure.svg(), "f0", "", ())


def test_parts_of_one_page_share_no_ids() -> None:
    inliner = Inliner()
    figure = noise_law_figure(fitted(CURVES["good"]))
    parts = [inliner.inline(figure.svg(), prefix, figure.title, figure.marks) for prefix in ("f0", "f1")]
    ids = [{part.split('"')[0] for part in svg.split(' id="')[1:]} for svg in parts]
    assert ids[0] and not ids[0] & ids[1]
    for svg, of_svg in zip(parts, ids, strict=True):
        assert {part.split('"')[0] for part in svg.split('href="#')[1:]} <= of_svg


def test_names_of_files_hold_nothing_but_letters_digits_and_hyphens() -> None:
    assert file_name("noise law", "../<b> Ä", 3) == "noise-law-b-3"
    assert file_name("…") == "figure"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0001, "0.0001"), (0.3, "0.3"), (10_000, "10,000"), (1e6, "1 M"), (3e7, "30 M")]
)
def test_numbers_at_axes(value: float, text: str) -> None:
    assert number_text(value) == text


def test_axis_shows_levels_and_nearby_wishes_only() -> None:
    axis = depth_axis([curve(2.0, 200.0, noiseless=True)], [20_000.0, 1e9])
    assert axis.shows(10.0) and axis.shows(20_000.0) and not axis.shows(1e6)
    placed = axis.place(np.array([100.0, np.inf]))
    assert placed[0] == 100
    assert axis.edge < placed[1] < axis.high


def test_room_imports_without_matplotlib() -> None:
    heavy = ["matplotlib", "jinja2", "torch", "numba", "sklearn", "anndata", "pandas", "scipy.optimize", "dagster"]
    code = f"import sys, nsl_assets.report; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("save", [Drawn.png, Drawn.svg, Drawn.pdf])
def test_drawing_leaves_global_state_alone(save: Callable[[Drawn], bytes]) -> None:
    import matplotlib
    from matplotlib._pylab_helpers import Gcf

    before = dict(matplotlib.rcParams)
    save(noise_law_figure(fitted(CURVES["good"])))
    assert dict(matplotlib.rcParams) == before
    assert Gcf.get_all_fig_managers() == []


def test_loss_curves_are_drawn_for_each_seed_with_the_kept_weights() -> None:
    losses = {"train_loss": [5.0, 4.0, 3.5, 3.2], "validation_loss": [5.1, 4.2, 4.0, 4.1]}
    drawn = loss_figure({0: losses, 1: {"train_loss": [5.0, 3.0]}}, title="scvi, 2,400 cells, level 0.1")
    assert drawn.startswith(b"\x89PNG")
    assert drawn == loss_figure({0: losses, 1: {"train_loss": [5.0, 3.0]}}, title="scvi, 2,400 cells, level 0.1")
    assert drawn != loss_figure({0: losses}, title="scvi, 2,400 cells, level 0.1")


@pytest.mark.filterwarnings("error::UserWarning")
def test_many_models_with_long_names_leave_the_plot_its_room() -> None:
    names = [f"a model with a name that is far too long for any key, number {n}" for n in range(12)]
    curves = [fitted(curve(2.0 - place / 10, 200.0), model=name) for place, name in enumerate(names)]
    figure = noise_curves_figure(curves, looks_of(names))
    figure.svg()
    assert figure.figure.get_figheight() * figure.figure.axes[0].get_position().height > 2
