"""The calibration map as a picture and in words."""

import math
import struct
from dataclasses import replace
from typing import get_args

import pytest

from nsl_assets.probing import CalibrationMap, ExpectedBias, Family, Features, ProblemSummary
from nsl_assets.report import calibration_lines, calibration_warning
from nsl_assets.report.calibration_figure import calibration_figure

SUMMARY = ProblemSummary(
    problem="gaussian_2bit",
    family="gaussian",
    is_fresh=False,
    is_categorical=False,
    estimator="pooled",
    n_pairs=2_000,
    n_seeds=5,
    true_bits=2.0,
    value_bits=2.0,
    bias_bits=-0.02,
    sd_bits=0.05,
    low_bits=1.8,
    high_bits=2.2,
    median_width_bits=0.4,
    floor_bits=0.0,
    gap_bits=0.1,
    beyond_gaussian_bits=0.0,
    holds_share=1.0,
    above_low_share=1.0,
    unreliable_share=0.0,
    cpu_seconds=5.0,
)
SUMMARIES = [
    replace(SUMMARY, problem=f"{family}_{bits}", family=family, n_pairs=n_pairs, value_bits=bits, bias_bits=bias)
    for family in get_args(Family)
    for n_pairs in (500, 2_000, 10_000)
    for bits, bias in ((0.0, 0.0), (1.0, 0.04), (3.0, -0.6))
]


def point(value_bits: float, bias_bits: float = 0.0, **changes: float) -> ExpectedBias:
    """A point whose only neighbour has this bias."""
    near = replace(SUMMARY, bias_bits=bias_bits, value_bits=value_bits)
    return replace(CalibrationMap([near]).expected_bias(replace(Features.of(near), **changes)), spread_bits=0.03)


OFF_MAP = point(4.0, n_pairs=1e6)
NO_KIND = CalibrationMap([]).expected_bias(Features.of(SUMMARY))


def test_every_map_can_be_drawn_with_and_without_curves() -> None:
    curves = {f"model {n}": [point(bits, -0.1 * n) for bits in (0.1, 1.0, 2.5)] for n in range(12)}
    for summaries, drawn in ((SUMMARIES, curves), (SUMMARIES, {}), ([SUMMARY], {"one": [OFF_MAP, NO_KIND]})):
        figure = calibration_figure(summaries, drawn, title="task: calibration of pooled")
        assert struct.unpack(">I", figure.png()[16:20])[0] == 1280
        height = figure.figure.get_figheight() * figure.figure.axes[0].get_position().height
        assert height > 2, "the plot has its room beside the key"
        assert figure.svg() == calibration_figure(summaries, drawn, title="task: calibration of pooled").svg()
        assert sum(len(one.tips) for gid, one in figure.marks.items() if gid.startswith("problems")) == len(summaries)


def test_a_curve_is_told_by_its_range_and_what_it_is_like() -> None:
    (line,) = calibration_lines({"pca": [point(0.1, 0.004), point(1.0, -0.05), point(2.0, 0.02)]})
    assert line == "pca  expected bias −0.05 … +0.02 bits, ± 0.03 (like gaussian_2bit at 2,000 pairs)"


@pytest.mark.parametrize(("bias_bits", "is_marked"), [(0.09, False), (-0.11, True), (0.11, True)])
def test_a_large_bias_is_marked_and_warned_of(bias_bits: float, is_marked: bool) -> None:
    curves = {"pca": [point(1.0), point(2.0, bias_bits)], "scvi": [point(1.0)]}
    first, second = calibration_lines(curves)
    assert ("⚠" in first, "⚠" in second) == (is_marked, False)
    warning = calibration_warning(curves)
    assert warning == ("a bias above 0.1 bit is expected at 1 of 3 points" if is_marked else "")


def test_points_off_the_map_are_counted_and_give_no_bias() -> None:
    assert OFF_MAP.is_off_map and NO_KIND.is_off_map and math.isnan(NO_KIND.bias_bits)
    some, none = calibration_lines({"some": [point(1.0), OFF_MAP], "none": [OFF_MAP, NO_KIND]})
    assert some.startswith("some  expected bias 0.00 … 0.00 bits") and some.endswith("⚠ 1 of 2 points off the map")
    assert none == "none  ⚠ 2 of 2 points off the map"
    assert "3 of 4 points are off the map" in calibration_warning(
        {"some": [point(1.0), OFF_MAP], "none": [OFF_MAP, NO_KIND]}
    )
