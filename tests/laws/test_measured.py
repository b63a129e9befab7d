"""Curves by task, model and size: regrouped over cells and into surfaces, fitted together, none stopping another."""

import numpy as np
import pytest

from nsl_assets.laws import (
    Curve,
    JointSettings,
    LawSettings,
    MeasuredCurve,
    compare_laws,
    compare_laws_of_each,
    compare_models,
    compare_models_of_each,
    curves_over_cells,
    fit_cells,
    fit_curves,
    fit_noise_law,
    fit_surfaces,
    largest_curves,
    noise_law,
    surfaces,
)

LEVELS = np.array([1.0, 0.3, 0.1, 0.03, 0.01])
SIZES = (100, 300, 1000, 3000, 10000)
SEEDS = 3


def measured(n_cells: int | None, model: str = "pca", *, levels=LEVELS, estimator: str = "pooled") -> MeasuredCurve:
    """A curve whose Imax grows with the training size; realised depths differ a little by seed and size."""
    size = n_cells or 1000
    rng = np.random.default_rng(size + len(model))
    level, seed = np.repeat(levels, SEEDS), np.tile(np.arange(SEEDS), len(levels))
    depth = 5000 * level * rng.uniform(0.99, 1.01, len(level))
    bits = noise_law(depth, 3 - (size / 50) ** -0.5, 300) + rng.normal(0, 0.02, len(level))
    return MeasuredCurve("protein", model, n_cells, estimator, Curve(depth, bits, seed, level), digest=f"{model}{size}")


GRID = [measured(n_cells, model) for model in ("pca", "scvi") for n_cells in SIZES]


def test_every_measurement_is_in_one_curve_over_cells() -> None:
    over_cells = curves_over_cells(GRID)
    assert [(one.model, one.level) for one in over_cells] == [(m, q) for m in ("pca", "scvi") for q in LEVELS]
    together = np.sort(np.concatenate([one.curve.mi_bits for one in over_cells]))
    assert together == pytest.approx(np.sort(np.concatenate([one.curve.mi_bits for one in GRID])))
    deepest = over_cells[0]
    assert deepest.depth == pytest.approx(5000, rel=0.01)
    for n_cells, one in zip(SIZES, GRID, strict=False):
        of_size = deepest.curve.depth == n_cells
        assert set(deepest.curve.mi_bits[of_size]) == set(one.curve.mi_bits[one.curve.level == 1])
    assert deepest.digests == tuple(one.digest for one in GRID[: len(SIZES)])


def test_surfaces_hold_every_point_with_its_size() -> None:
    first, second = surfaces(GRID)
    assert (first.model, second.model) == ("pca", "scvi")
    for one in GRID[: len(SIZES)]:
        rows = first.surface.n_cells == one.n_cells
        assert set(first.surface.mi_bits[rows]) == set(one.curve.mi_bits)
        assert set(first.surface.depth[rows]) == set(one.curve.depth)


def test_one_size_or_an_unknown_size_makes_no_surface() -> None:
    assert surfaces([measured(100), measured(100, "scvi"), measured(None)]) == []
    assert curves_over_cells([measured(100), measured(None)]) == []


def test_estimators_are_never_mixed() -> None:
    both = [measured(n, estimator=estimator) for n in SIZES for estimator in ("pooled", "lmi")]
    assert [one.estimator for one in surfaces(both)] == ["lmi", "pooled"]
    assert len(curves_over_cells(both)) == 2 * len(LEVELS)
    assert all(len(one.curve.depth) == SEEDS * len(SIZES) for one in curves_over_cells(both))


def test_the_largest_size_of_each_model_is_chosen() -> None:
    chosen = largest_curves([measured(300), measured(10000), measured(100), measured(None, "scvi")])
    assert [(one.model, one.n_cells) for one in chosen] == [("pca", 10000), ("scvi", None)]


def test_a_curve_that_cannot_be_fitted_says_why_and_stops_no_other() -> None:
    curves = [measured(100, levels=LEVELS[:2]), measured(300)]
    settings = LawSettings()
    (bad, good), (bad_laws, good_laws) = fit_curves(curves, settings), compare_laws_of_each(curves)
    assert (bad.fit, bad_laws.comparison) == (None, None)
    assert "2 noise levels" in bad.problem
    assert "2 noise levels" in bad_laws.problem
    assert good.fit == fit_noise_law(curves[1].curve, settings)
    assert good_laws.comparison == compare_laws(curves[1].curve)
    (few,) = fit_cells(curves_over_cells([measured(100), measured(300)])[:1], settings)
    assert few.fit is None
    assert "sizes" in few.problem


def test_laws_over_cells_and_surfaces_recover_the_truth() -> None:
    (deepest, *_) = fit_cells(curves_over_cells(GRID), LawSettings())
    assert deepest.fit is not None
    assert deepest.fit.i_inf_low_bits < noise_law(5000, 3, 300) < deepest.fit.i_inf_high_bits
    (surface, _) = fit_surfaces(surfaces(GRID), JointSettings())
    assert surface.fit is not None
    assert surface.fit.r2_grid_cells > 0.99


def test_models_are_compared_at_the_same_size_only() -> None:
    compared = compare_models_of_each(GRID, LawSettings())
    assert [(one.first.model, one.second.model, one.first.n_cells) for one in compared] == [
        ("pca", "scvi", n_cells) for n_cells in SIZES
    ]
    expected = compare_models({"pca": GRID[0].curve, "scvi": GRID[len(SIZES)].curve}, LawSettings())
    assert [compared[0].comparison] == expected
