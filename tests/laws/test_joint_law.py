import numpy as np
import pytest

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.laws import (
    JOINT_FLAGS,
    GridCells,
    JointLawFit,
    JointSettings,
    Surface,
    cells_for_joint,
    depth_for_joint,
    fit_joint_law,
    fit_joint_laws,
    grid_cells_of,
    held_out_errors,
    noise_law,
    predict_joint,
)
from nsl_assets.laws.joint_comparison import training_masks
from nsl_assets.laws.joint_forms import FORM_H, FORM_J, Form
from nsl_assets.randomness import generator

DEPTHS, SIZES = np.geomspace(10, 8000, 8), np.geomspace(100, 100_000, 7)
TRUTH_J = np.array([np.log(2.5), np.log(700), np.log(3000), np.log(0.7), np.log(2.0), 1.0, np.log(50)])
TRUTH_H = np.array([np.log(2.5), np.log(400), np.log(300), np.log(0.8), np.log(0.5)])


def bits_of(form: Form, theta: np.ndarray, depth: np.ndarray, n_cells: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return form.law(theta[:, None], np.log(depth)[:, None], np.log(n_cells)[:, None])[0][:, 0]


def simulated(
    form: Form = FORM_J,
    theta: np.ndarray = TRUTH_J,
    *,
    sd_bits: float = 0.03,
    seed_sd: float = 0.0,
    n_seeds: int = 3,
    draw: int = 0,
) -> Surface:
    """A surface with known parameters: independent errors, and seeds that scale the whole surface."""
    stream = generator("simulated surface", n_seeds, draw)
    depth, n_cells = (grid.ravel() for grid in np.meshgrid(DEPTHS, SIZES))
    gain = 1 + seed_sd * stream.standard_normal((n_seeds, 1))
    bits = bits_of(form, theta, depth, n_cells) * gain + sd_bits * stream.standard_normal((n_seeds, len(depth)))
    seeds = np.repeat(np.arange(n_seeds), len(depth))
    return Surface(np.tile(depth, n_seeds), np.tile(n_cells, n_seeds), bits.ravel(), seeds)


@pytest.mark.parametrize(("form", "theta"), [(FORM_J, TRUTH_J), (FORM_H, TRUTH_H)])
def test_slopes_are_those_of_finite_differences(form: Form, theta: np.ndarray) -> None:
    log_depth, log_cells = (np.log(column)[:, None] for column in (DEPTHS[:7], SIZES))
    for step in 1e-6 * np.eye(len(theta))[:, :, None]:
        above, below = (form.law(theta[:, None] + sign * step, log_depth, log_cells)[0] for sign in (1, -1))
        slopes = form.law(theta[:, None], log_depth, log_cells)[1][step[:, 0] > 0][0]
        assert slopes == pytest.approx((above - below) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("form", [FORM_J, FORM_H])
def test_laws_rise_from_0_to_i_inf(form: Form) -> None:
    theta = TRUTH_J if form is FORM_J else TRUTH_H
    for fixed in (1e2, 1e5):
        grid = np.geomspace(1e-9, 1e15, 200)
        for bits in (bits_of(form, theta, grid, np.full(200, fixed)), bits_of(form, theta, np.full(200, fixed), grid)):
            assert (np.diff(bits) >= -1e-12).all()
            assert bits.min() >= 0
            assert bits.max() <= 2.5
    assert bits_of(form, theta, np.array([1e15]), np.array([1e15]))[0] == pytest.approx(2.5, abs=1e-3)


@pytest.mark.parametrize("form", [FORM_J, FORM_H])
def test_with_infinitely_many_cells_the_noise_law_is_left(form: Form) -> None:
    theta = (TRUTH_J if form is FORM_J else TRUTH_H).copy()
    if form is FORM_J:
        theta[5] = 0
    bits = bits_of(form, theta, DEPTHS, np.full(8, 1e40))
    assert bits == pytest.approx(noise_law(DEPTHS, 2.5, np.exp(theta[1])), abs=1e-6)


def test_h_at_fixed_cells_is_the_noise_law_of_the_text() -> None:
    """Imax(N) = ½ log2((M + b)/(1 + b)), ū(N) = ū (1 + c b)/(1 + b)."""
    b, power = (300 / 5000) ** 0.8, 2 ** (2 * 2.5)
    imax_bits, ubar = np.log2((power + b) / (1 + b)) / 2, 400 * (1 + 0.5 * b) / (1 + b)
    assert bits_of(FORM_H, TRUTH_H, DEPTHS, np.full(8, 5000.0)) == pytest.approx(noise_law(DEPTHS, imax_bits, ubar))


def test_predictions_follow_the_truth_within_and_beyond_the_data() -> None:
    fit = fit_joint_law(simulated())
    assert fit.converged
    assert fit.r2_grid_cells > 0.99
    depth, n_cells = np.array([50.0, 3000, 3e4, 100]), np.array([500.0, 5e4, 1e5, 1e6])
    truth = bits_of(FORM_J, TRUTH_J, depth, n_cells)
    prediction = predict_joint(fit, depth, n_cells)
    assert prediction.bits == pytest.approx(truth, abs=0.12)
    assert ((prediction.low_bits < truth) & (truth < prediction.high_bits)).all()
    assert prediction.outside[2:].min() > prediction.outside[:2].max()
    width = prediction.high_bits - prediction.low_bits
    assert width[2] > 2 * width[1]


def test_h_recovers_its_parameters() -> None:
    fit = fit_joint_law(simulated(FORM_H, TRUTH_H, sd_bits=0.01), JointSettings(form="H", misfit_share=0))
    for one, truth in zip(fit.parameters, np.exp(TRUTH_H), strict=True):
        assert one.value == pytest.approx(truth, rel=0.1)
        assert one.low < truth < one.high
        assert not one.prior_decided


def test_what_the_data_leave_open_is_said_to_be_the_priors() -> None:
    """Information that does not depend on the number of cells leaves N0 and s to the prior."""
    depth, n_cells = (grid.ravel() for grid in np.meshgrid(DEPTHS, SIZES))
    bits = noise_law(depth, 2.0, 300.0) + 0.02 * generator("flat").standard_normal(len(depth))
    fit = fit_joint_law(Surface(depth, n_cells, bits, np.zeros(len(depth), dtype=int)))
    assert fit.parameter("exponent").prior_decided
    assert not fit.parameter("i_inf_bits").prior_decided
    assert {"prior_decided", "one_seed"} <= set(fit.flags) <= set(JOINT_FLAGS)


def covered(seed_sd: float, *, of: str, n_seeds: int = 3, n_surfaces: int = 12) -> float:
    """Share of places, within and beyond the data, whose interval holds the truth."""
    depth, n_cells = (grid.ravel() for grid in np.meshgrid(np.geomspace(5, 30_000, 6), np.geomspace(50, 1e6, 6)))
    truth = bits_of(FORM_J, TRUTH_J, depth, n_cells)
    surfaces = [grid_cells_of(simulated(seed_sd=seed_sd, n_seeds=n_seeds, draw=draw)) for draw in range(n_surfaces)]
    predictions = [predict_joint(fit, depth, n_cells, of=of) for fit in fit_joint_laws(surfaces, JointSettings())]
    return float(np.mean([(one.low_bits <= truth) & (truth <= one.high_bits) for one in predictions]))


@pytest.mark.parametrize("seed_sd", [0.0, 0.06])
def test_intervals_hold_the_truth(seed_sd: float) -> None:
    assert covered(seed_sd, of="truth") >= 0.92


def test_differences_between_seeds_are_needed_for_that() -> None:
    assert covered(0.15, of="measurement", n_surfaces=6) < covered(0.15, of="truth", n_surfaces=6) - 0.05


def test_targets_invert_predictions() -> None:
    fit = fit_joint_law(simulated())
    for target, bits in (
        (depth_for_joint(fit, 1.2, 20_000), lambda value: predict_joint(fit, value, 20_000)),
        (cells_for_joint(fit, 1.2, 2000), lambda value: predict_joint(fit, 2000, value)),
    ):
        assert bits(target.value).bits[0] == pytest.approx(1.2, abs=0.005)
        assert bits(target.low).high_bits[0] == pytest.approx(1.2, abs=0.005)
        assert bits(target.high).low_bits[0] == pytest.approx(1.2, abs=0.005)
        assert target.low < target.value < target.high
        assert not target.extrapolated


def test_targets_out_of_reach_are_infinite_and_extrapolated() -> None:
    fit = fit_joint_law(simulated())
    target = depth_for_joint(fit, 5.0, 20_000)
    assert target.value == target.high == np.inf
    assert target.extrapolated
    assert depth_for_joint(fit, -0.5, 20_000).value == 0


def test_a_surface_does_not_depend_on_its_batch() -> None:
    small = grid_cells_of(simulated(draw=1)).chosen(np.arange(56) % 3 > 0)
    together = fit_joint_laws([grid_cells_of(simulated()), small], JointSettings())[1]
    alone = fit_joint_laws([small], JointSettings())[0]
    assert together.posterior.theta == pytest.approx(alone.posterior.theta, abs=1e-5)


def test_replicates_are_averaged_by_seed_and_level() -> None:
    surface = Surface(
        np.array([10.0, 10.4, 20, 20.2, 10, 10.4, 20, 20.2]),
        np.repeat([100.0, 500], 4),
        np.arange(8.0),
        np.tile([0, 1], 4),
        level=np.tile([0.1, 0.1, 0.2, 0.2], 2),
    )
    with pytest.raises(MeasurementError, match="in 4 grid cells"):
        grid_cells_of(surface)
    wider = Surface(*(np.tile(getattr(surface, name), 2) for name in ("depth",)), np.repeat([100.0, 500, 900, 1300], 4),
                    np.arange(16.0), np.tile([0, 1], 8), level=np.tile([0.1, 0.1, 0.2, 0.2], 4))  # fmt: skip
    cells = grid_cells_of(wider)
    assert cells.mean_bits.tolist() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]
    assert cells.depth[0] == pytest.approx(np.sqrt(10 * 10.4))


def test_missing_grid_cells_and_the_noiseless_level_are_fitted() -> None:
    whole = simulated(sd_bits=0.01)
    kept = generator("missing").uniform(size=len(whole.depth)) > 0.3
    infinite = bits_of(FORM_J, TRUTH_J, np.full(7, 1e30), SIZES)
    surface = Surface(
        np.append(whole.depth[kept], np.full(7, np.inf)),
        np.append(whole.n_cells[kept], SIZES),
        np.append(whole.mi_bits[kept], infinite),
        np.append(whole.seed[kept], np.zeros(7, dtype=int)),
    )
    fit = fit_joint_law(surface)
    assert fit.deepest == np.inf
    assert predict_joint(fit, np.inf, SIZES).bits == pytest.approx(infinite, abs=0.05)


def test_repeats_and_the_ceiling_are_flagged() -> None:
    depth, n_cells = (grid.ravel() for grid in np.meshgrid(DEPTHS, SIZES))
    repeated = Surface(depth, n_cells, noise_law(depth, 2.0, 300.0), np.zeros(len(depth), dtype=int))
    assert "not_replicated" in fit_joint_law(repeated).flags
    sound = simulated()
    assert "not_replicated" not in fit_joint_law(sound).flags
    assert "above_ceiling" in fit_joint_law(sound, ceiling_bits=1.5).flags


def test_bad_surfaces_are_refused() -> None:
    with pytest.raises(InputError, match="0 training cells"):
        Surface(np.ones(2), np.array([0.0, 1]), np.ones(2), np.zeros(2, dtype=int))
    with pytest.raises(InputError, match="3 numbers of cells"):
        Surface(np.ones(2), np.ones(3), np.ones(2), np.zeros(2, dtype=int))
    line = Surface(DEPTHS, np.full(8, 100.0), np.ones(8), np.zeros(8, dtype=int))
    with pytest.raises(MeasurementError, match="1 training sizes"):
        fit_joint_law(line)


def test_held_out_cells_are_those_of_the_split() -> None:
    cells = grid_cells_of(simulated())
    largest = training_masks(cells, "largest")[0]
    assert largest.sum() == 7 * 6
    assert cells.depth[largest].max() < DEPTHS[-1]
    assert cells.n_cells[largest].max() < SIZES[-1]
    assert training_masks(cells, "largest_three")[0].sum() == 5 * 4
    random = training_masks(cells, "random", 5)
    assert len(random) == 5
    assert {int(mask.sum()) for mask in random} == {39}
    assert (random[0] != random[1]).any()


def test_held_out_errors_are_those_of_separate_fits() -> None:
    surfaces = [grid_cells_of(simulated(draw=draw)) for draw in range(2)]
    errors = held_out_errors(surfaces, JointSettings(), n_draws=1)
    for cells, of_surface in zip(surfaces, errors, strict=True):
        mask = training_masks(cells, "largest")[0]
        fit: JointLawFit = fit_joint_laws([cells.chosen(mask)], JointSettings())[0]
        left: GridCells = cells.chosen(~mask)
        error = predict_joint(fit, left.depth, left.n_cells).bits - left.mean_bits
        assert [one.split for one in of_surface] == ["random", "largest", "largest_three"]
        assert of_surface[1].rmse_bits == pytest.approx(np.sqrt(np.mean(error**2)), abs=1e-4)
        assert of_surface[1].n_held_out == len(error)
        assert of_surface[0].rmse_bits < 0.03
