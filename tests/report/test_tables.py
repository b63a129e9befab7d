from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.laws import Curve, LawSettings, NoiseLawFit, fit_noise_law, noise_law
from nsl_assets.report import LawRow, law_table
from nsl_assets.report.numbers import (
    bits_text,
    depth_text,
    duration_text,
    factor_text,
    probability_text,
    signed_bits_text,
    with_interval,
)

DEPTHS = np.geomspace(10, 3000, 8)


@pytest.fixture
def fit() -> NoiseLawFit:
    curve = Curve(DEPTHS, noise_law(DEPTHS, 2.0, 200.0), np.zeros(8, dtype=int))
    return fit_noise_law(curve, LawSettings())


@pytest.mark.parametrize(
    ("depth", "text"),
    [(1835.2, "1,840"), (73.46, "73.5"), (0.0123, "0.0123"), (12_345_678, "12,300,000"), (9.999, "10.00"), (0, "0")],
)
def test_depths_have_three_digits(depth: float, text: str) -> None:
    assert depth_text(depth) == text


def test_infinite_numbers() -> None:
    assert depth_text(np.inf) == bits_text(np.inf) == "∞"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((1835, 1480, 2300), "1,840 (1,480–2,300)"),
        ((9000, 3200, np.inf), "≥ 3,200"),
        ((5, 0, 20), "≤ 20.0"),
        ((5, 0, np.inf), "not determined"),
        ((0, 0, 20), "≤ 20.0"),
        ((0, 0, np.inf), "not determined"),
    ],
)
def test_open_intervals_are_bounds(ends: tuple[float, float, float], text: str) -> None:
    assert with_interval(*ends, depth_text) == text


def test_columns_line_up(fit: NoiseLawFit) -> None:
    is_open = replace(fit, target_depth_low=3200.0, target_depth_high=np.inf, flags=("no_plateau",))
    rows = [LawRow("study", "clone", "scvi", 100, fit), LawRow("study", "day", "random projection", 12_000, is_open)]
    header, rule, first, second, blank, legend = law_table(rows).splitlines()
    place = header.index("UMIs per cell for 90 % of Imax")
    assert second[place:].startswith("≥ 3,200 ")
    assert header.index("flags") == first.index("one_seed") == second.index("no_plateau")
    assert second[header.index("cells") - 1 :].startswith("12,000")
    assert rule.count("─") > 60
    assert blank == ""
    assert "95 % intervals" in legend


def test_mixed_targets_are_not_put_under_one_name(fit: NoiseLawFit) -> None:
    other = replace(fit, target_label="80 % of Imax")
    table = law_table([LawRow("s", "t", "m", 1, fit), LawRow("s", "t", "m", 1, other)])
    assert "target depth (UMIs per cell)" in table


def test_no_laws() -> None:
    assert law_table([]) == "no fitted laws yet"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (signed_bits_text(-0.123), "−0.12"),
        (signed_bits_text(0.004), "0.00"),
        (signed_bits_text(-np.inf), "−∞"),
        (factor_text(0.42), "0.42"),
        (factor_text(1234.0), "1,230"),
        (probability_text(0.0004), "< 0.001"),
        (probability_text(0.031), "0.031"),
        (probability_text(0.31), "0.31"),
        (duration_text(0.42), "0.4 s"),
        (duration_text(600), "10.0 min"),
        (duration_text(7200), "2.0 h"),
        (with_interval(5, 1, 9, bits_text, "bits"), "5.00 (1.00–9.00) bits"),
        (with_interval(5, 0, np.inf, bits_text, "bits"), "not determined"),
    ],
)
def test_numbers_of_the_page(written: str, text: str) -> None:
    assert written == text
