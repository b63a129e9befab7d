"""A small study as the report room gets it, with names that try to break the page."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from nsl_assets import laws
from nsl_assets.laws import Curve, JointSettings, LawSettings, MeasuredCurve, noise_law
from nsl_assets.randomness import generator
from nsl_assets.report import Advice, Leakage, Provenance, ReportContent, Training, report_files

DEPTHS = np.geomspace(10, 3000, 6)
SIZES = (100, 400, 1_600, 6_400)
EVIL = "<script>alert('x')</script>"
"""As the name of a model: a page that shows it as it is would run it."""


def measured_curve(
    model: str, imax_bits: float, n_cells: int, *, n_seeds: int = 2, ubar: float = 200.0
) -> MeasuredCurve:
    stream = generator("report", model, n_cells)
    missing = (n_cells / 30) ** -0.6
    bits = [noise_law(DEPTHS, imax_bits, ubar) - missing / 2 + 0.02 * stream.standard_normal(6) for _ in range(n_seeds)]
    curve = Curve(
        np.tile(DEPTHS, n_seeds), np.concatenate(bits), np.repeat(np.arange(n_seeds), 6), np.tile(DEPTHS, n_seeds)
    )
    return MeasuredCurve("proteins", model, n_cells, "pooled", curve, ceiling_bits=3.0)


def report_content(curves: list[MeasuredCurve], **changes: object) -> ReportContent:
    """Curves with all their laws and comparisons."""
    settings = LawSettings()
    largest = laws.largest_curves(curves)
    content = ReportContent(
        title="small study",
        kind="study",
        headline="pooled",
        protocol="corrected",
        law_settings=settings,
        curves=laws.fit_curves(curves, settings),
        cells=laws.fit_cells(laws.curves_over_cells(curves), settings),
        surfaces=laws.fit_surfaces(laws.surfaces(curves), JointSettings()),
        laws=laws.compare_laws_of_each(largest),
        models=laws.compare_models_of_each(largest, settings),
        calibration_note="Not calibrated: run `nsl calibrate`.",
    )
    return replace(content, **changes)


@pytest.fixture(scope="session")
def evil() -> str:
    """A name that would run where it is not escaped."""
    return EVIL


@pytest.fixture(scope="session")
def measured() -> Callable[..., MeasuredCurve]:
    """Makes a curve of a model, with its Imax and training size."""
    return measured_curve


@pytest.fixture(scope="session")
def content_of() -> Callable[..., ReportContent]:
    """Makes the content of a report from curves."""
    return report_content


@pytest.fixture(scope="session")
def content() -> ReportContent:
    """Two models, four sizes, six levels, two seeds, and everything that can stand beside them."""
    curves = [measured_curve(model, imax, size) for model, imax in (("pca", 2.6), (EVIL, 2.2)) for size in SIZES]
    losses = {"train_loss": [5.0, 4.0, 3.5], "validation_loss": [5.1, 4.2, 4.3]}
    return report_content(
        curves,
        description=f"A study about {EVIL}",
        training=[
            Training("proteins", "pca", 6_400, 1.0, seed, losses, 12_000, 4.0, 9.0, 512.0, "cpu", "early stopping")
            for seed in (0, 1)
        ],
        leakage=[Leakage("proteins", 0, None, None, 6_400, 800, 2_000)],
        advice=[Advice("proteins", "pca", 6_400, "target_depth", "Sequence to 1,800.", False, (), 1_800.0, 1e3, 3e3)],
        provenance=Provenance(f'description = "{EVIL}"', (0, 1), {"laws": "1"}, {"numpy": "2.4.6"}),
    )


@pytest.fixture(scope="session")
def files(content: ReportContent) -> Mapping[str, Callable[[], bytes]]:
    """What makes each file of the report, by path."""
    return report_files(content)


@pytest.fixture(scope="session")
def page(files: Mapping[str, Callable[[], bytes]]) -> str:
    """The page itself."""
    return files["report.html"]().decode()
