"""Expected biases in words: one line a curve, and one line of warning."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from nsl_assets.probing import ExpectedBias

Curves = Mapping[str, Sequence[ExpectedBias]]
"""The points of each curve, by its title."""
MOST_NAMES: Final = 2


def calibration_lines(curves: Curves) -> list[str]:
    """One line a curve: range of the expected biases over its levels, and the problems that it looks like most."""
    width = max((len(title) for title in curves), default=0)
    return [f"{title.ljust(width)}  {_said(points)}" for title, points in curves.items()]


def calibration_warning(curves: Curves) -> str:
    """How many points are expected to be biased by more than 0.1 bit, or are off the map; empty where none is."""
    points = [point for of_curve in curves.values() for point in of_curve]
    n_large, n_off = sum(one.is_large for one in points), sum(one.is_off_map for one in points)
    parts = [f"a bias above 0.1 bit is expected at {n_large} of {len(points)} points"] * bool(n_large)
    parts += [f"{n_off} of {len(points)} points are off the map: no calibration problem is like them"] * bool(n_off)
    return "; ".join(parts)


def _said(points: Sequence[ExpectedBias]) -> str:
    on_map = [point for point in points if not point.is_off_map]
    n_off = len(points) - len(on_map)
    off = f"⚠ {n_off} of {len(points)} points off the map" if n_off else ""
    if not on_map:
        return off
    biases = [point.bias_bits for point in on_map]
    spread = max(point.spread_bits for point in on_map)
    mark = "⚠ " if any(point.is_large for point in on_map) else ""
    bias = f"{mark}expected bias {signed(min(biases))} … {signed(max(biases))} bits, ± {spread:.2f}"
    return "; ".join([f"{bias} (like {_alike(on_map)})", off][: 1 + bool(off)])


def signed(bits: float) -> str:
    """Bits with two decimals and their sign; what rounds to zero has none."""
    text = f"{bits:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _alike(points: Sequence[ExpectedBias]) -> str:
    """The problems nearest to most points, grouped by their number of pairs."""
    nearest = Counter((point.nearest[0].problem, point.nearest[0].n_pairs) for point in points)
    by_pairs: dict[int, list[str]] = {}
    for (problem, n_pairs), _ in nearest.most_common(MOST_NAMES):
        by_pairs.setdefault(n_pairs, []).append(problem)
    return ", ".join(f"{', '.join(problems)} at {n_pairs:,} pairs" for n_pairs, problems in by_pairs.items())
