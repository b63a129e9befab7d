import struct
import subprocess
import sys

import numpy as np
import pytest

from nsl_assets.laws import Curve, LawSettings, NoiseLawFit, fit_noise_law, noise_law
from nsl_assets.randomness import generator
from nsl_assets.report import estimators_figure, loss_figure, noise_law_figure, study_figure
from nsl_assets.report.canvas import depth_axis
from nsl_assets.report.noise_law_figure import _doubts

DEPTHS = np.geomspace(10, 3000, 8)


def measured(imax_bits: float, ubar: float, *, n_seeds: int = 3, noiseless: bool = False) -> Curve:
    depths = np.append(DEPTHS, np.inf) if noiseless else DEPTHS
    stream = generator("figure", imax_bits, ubar)
    mi_bits = noise_law(depths, imax_bits, ubar) + 0.03 * stream.standard_normal((n_seeds, len(depths)))
    return Curve(np.tile(depths, n_seeds), mi_bits.ravel(), np.repeat(np.arange(n_seeds), len(depths)))


def fitted(curve: Curve) -> NoiseLawFit:
    return fit_noise_law(curve, LawSettings())


def png_width(png: bytes) -> int:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int(struct.unpack(">I", png[16:20])[0])


@pytest.mark.parametrize(
    "curve",
    [
        measured(2.0, 200.0),
        measured(2.0, 200.0, noiseless=True),
        measured(3.0, 1e6),
        measured(1.0, 1e-3),
        measured(0.0, 100.0, n_seeds=1),
        Curve(DEPTHS, -0.01 - 0.001 * np.arange(8), np.zeros(8, dtype=int)),
    ],
    ids=["good", "noiseless level", "no plateau", "flat", "no information", "negative"],
)
def test_every_curve_can_be_drawn(curve: Curve) -> None:
    assert png_width(noise_law_figure(curve, fitted(curve), title="task: model")) == 1280


@pytest.mark.parametrize("n_models", [1, 3])
def test_estimators_side_by_side(n_models: int) -> None:
    by_estimator = {"pooled": measured(2.0, 200.0), "lmi": measured(1.2, 400.0, noiseless=True)}
    curves = {f"model {number}": by_estimator for number in range(n_models)}
    plain = estimators_figure(curves, headline="pooled", title="task")
    assert png_width(plain) == 1280
    other = estimators_figure(curves, headline="lmi", title="task", ceiling_bits=2.5)
    assert other != plain


def test_same_figure_same_bytes() -> None:
    curve = measured(2.0, 200.0)
    once, again = (
        noise_law_figure(
            curve,
            fitted(curve),
            title="task: model",
            truth=(DEPTHS, noise_law(DEPTHS, 2.1, 200.0)),
            floor_bits=0.02,
            ceiling_bits=2.3,
            other={"latent MI": measured(1.8, 200.0)},
        )
        for _ in range(2)
    )
    assert once == again


def test_figure_of_the_published_protocol() -> None:
    curve = measured(2.0, 200.0)
    fit = fit_noise_law(curve, LawSettings(protocol="published"))
    assert png_width(noise_law_figure(curve, fit, title="published")) == 1280


def test_study_figure_with_truth() -> None:
    curves = {name: measured(2.0 - place / 4, 200.0) for place, name in enumerate("abcdefgh")}
    truth = (np.append(DEPTHS, np.inf), noise_law(np.append(DEPTHS, np.inf), 2.2, 150.0))
    models = {name: (curve, fitted(curve)) for name, curve in curves.items()}
    assert png_width(study_figure(models, title="a task", truth=truth, ceiling_bits=2.5)) == 1280


def test_axis_shows_levels_and_nearby_wishes_only() -> None:
    curve = measured(2.0, 200.0, noiseless=True)
    axis = depth_axis([curve], [20_000.0, 1e9])
    assert axis.shows(10.0) and axis.shows(20_000.0) and not axis.shows(1e6)
    placed = axis.place(np.array([100.0, np.inf]))
    assert placed[0] == 100
    assert axis.edge < placed[1] < axis.high


def test_doubts_name_every_flag() -> None:
    fit = fitted(measured(3.0, 1e6, n_seeds=1))
    assert {"no_plateau", "target_extrapolated", "one_seed"} <= set(fit.flags)
    words = " ".join(_doubts(fit))
    assert all(f"[{flag}]" in words for flag in fit.flags)


def test_room_imports_without_matplotlib() -> None:
    heavy = ["matplotlib", "torch", "numba", "sklearn", "anndata", "pandas", "scipy.optimize", "dagster"]
    code = f"import sys, nsl_assets.report; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_drawing_leaves_global_state_alone() -> None:
    import matplotlib
    from matplotlib._pylab_helpers import Gcf

    before = dict(matplotlib.rcParams)
    curve = measured(2.0, 200.0)
    noise_law_figure(curve, fitted(curve), title="task: model")
    assert dict(matplotlib.rcParams) == before
    assert Gcf.get_all_fig_managers() == []


def test_loss_curves_are_drawn_for_each_seed_with_the_kept_weights() -> None:
    losses = {"train_loss": [5.0, 4.0, 3.5, 3.2], "validation_loss": [5.1, 4.2, 4.0, 4.1]}
    drawn = loss_figure({0: losses, 1: {"train_loss": [5.0, 3.0]}}, title="scvi, 2,400 cells, level 0.1")
    assert drawn.startswith(b"\x89PNG")
    assert drawn == loss_figure({0: losses, 1: {"train_loss": [5.0, 3.0]}}, title="scvi, 2,400 cells, level 0.1")
    assert drawn != loss_figure({0: losses}, title="scvi, 2,400 cells, level 0.1")
