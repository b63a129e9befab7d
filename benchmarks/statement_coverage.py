"""Benchmark: how often the 95 % statements of the planning room hold, on simulated studies whose truth is known.

True to the law: Eq. 1 with Imax 1-3.5 bits; 3, 5 or 10 seeds that shift Imax by 0-.06 bits and ln ū by 0-.15; 5, 6, 8
or 10 levels from 10 to 8,000 UMIs per cell; noise .02-.08 bits a point. Two thirds have a plateau (ū 50-800), one third
mostly not (ū 2,000-50,000). Misfit: the same with a Hill curve, or with the vector toy model (6 dimensions whose noise
is spread over a factor of spread²), whose Imax and target depths are those of the true curve. Targets are counted where
they were answered. `--studies` sets how many studies there are.

Then the joint law's gains on the 16 published surfaces (the argument is the folder of `published_mi.csv`): from the
corner of what is left when the 1, 2 or 3 largest sizes and depths are held out, to each of these along one axis. No
peer gives such statements.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits

from nsl_assets.laws import (
    GridCells,
    JointSettings,
    LawSettings,
    Surface,
    ToyModel,
    fit_joint_laws,
    grid_cells_of,
    joint_gain,
    noise_law,
    predict_joint,
)
from nsl_assets.planning import Saturation, Sequencing, evidence_of, headroom_advice, target_advice
from nsl_assets.randomness import generator

Floats = npt.NDArray[np.float64]
Bits = Callable[[Floats, Floats, Floats], Floats]
"""Information at depths (n_levels,) for shifts of Imax in bits and of ln ū, (n_seeds, 1) each; (n_seeds, n_levels)."""

REFERENCE: Final = Path(__file__).resolve().parents[2] / "shared" / "reference"
SEEDS: Final = (3, 5, 10)
LEVELS: Final = (5, 6, 8, 10)
DEEPEST: Final = 8_000.0
FRACTION: Final = 0.9
QUANTITIES: Final = ("imax", "ubar", "target", "headroom", "doubling")
ALLOWED: Final = (0.93, 0.97)
MOST_FALSE_ALARMS: Final = 0.05
MISFITS: Final = ("hill 0.5", "hill 1", "hill 2", "toy 3", "toy 10", "toy 30")
STRONG: Final = ("hill 0.5", "hill 2", "toy 10", "toy 30")


@dataclass(frozen=True)
class Outcome:
    """What was told about one study."""

    n_seeds: int
    n_levels: int
    noise_bits: float
    shifts: tuple[float, float]
    held: dict[str, bool]
    """By quantity; the target only where it was answered."""
    is_misfit: bool
    is_refused: bool


def law(imax_bits: float, ubar: float, depth: Floats, shift: Floats, log_shift: Floats) -> Floats:
    return noise_law(depth, imax_bits + shift, ubar * np.exp(log_shift))


def hill(imax_bits: float, ubar: float, depth: Floats, shift: Floats, log_shift: Floats, *, number: float) -> Floats:
    scale = (ubar * np.exp(log_shift)) ** number
    with np.errstate(divide="ignore"):
        return np.asarray((imax_bits + shift) / (1 + scale / depth**number))


def toy(imax_bits: float, ubar: float, depth: Floats, shift: Floats, log_shift: Floats, *, number: float) -> Floats:
    noise = np.geomspace(1 / number, number, 6) / ubar
    model = ToyModel(np.diag(noise * (2 ** (2 * imax_bits / 6) - 1)), np.diag(noise))
    return np.asarray(model.information_bits(depth * np.exp(-log_shift)) * (1 + shift / imax_bits))


def truth_of(kind: str, imax_bits: float, ubar: float) -> Bits:
    if kind == "law":
        return partial(law, imax_bits, ubar)
    name, number = kind.split()
    return partial({"hill": hill, "toy": toy}[name], imax_bits, ubar, number=float(number))


def outcome(kind: str, number: int) -> Outcome:
    """One study, and which statements about it hold."""
    stream = generator("coverage", kind, number)
    n_seeds, n_levels = SEEDS[number % 3], LEVELS[number // 3 % 4]
    imax_bits, noise_bits = stream.uniform(1, 3.5), stream.uniform(0.02, 0.08)
    shifts = (float(stream.choice([0, 0.02, 0.06])), float(stream.choice([0, 0.05, 0.15])))
    has_plateau = number // 12 % 3 < 2
    ubar = float(np.exp(stream.uniform(*np.log((50, 800) if has_plateau else (2_000, 50_000)))))
    bits = truth_of(kind, imax_bits, ubar)
    depth = np.geomspace(10, DEEPEST, n_levels)
    seed_shifts = [sd * stream.standard_normal((n_seeds, 1)) for sd in shifts]
    measured = bits(depth, *seed_shifts) + noise_bits * stream.standard_normal((n_seeds, n_levels))
    return told(measured, depth, bits, ubar if kind == "law" else None, (noise_bits, shifts))


def told(
    measured: Floats, depth: Floats, bits: Bits, ubar: float | None, how: tuple[float, tuple[float, float]]
) -> Outcome:
    """What the planning room says about a study; ``ubar`` is None where the truth has none, ``how`` is passed on."""
    n_seeds, n_levels = measured.shape
    n_cells = np.full(measured.size, 1e4)
    surface = Surface(np.tile(depth, n_seeds), n_cells, measured.ravel(), np.repeat(np.arange(n_seeds), n_levels))
    evidence = evidence_of("simulated", surface, LawSettings(target_fraction=FRACTION), JointSettings())
    fit, headroom = evidence.fit, headroom_advice(evidence)
    target = target_advice(evidence, Sequencing(Saturation(np.inf), 1.0))
    none = np.zeros((1, 1))

    def at(umis_per_cell: float) -> float:
        return float(bits(np.array([umis_per_cell]), none, none)[0, 0])

    imax_bits = at(1e15)
    wanted = float(np.exp(brentq(lambda log_depth: at(float(np.exp(log_depth))) - FRACTION * imax_bits, -9, 30)))
    held = {"imax": fit.imax_low_bits <= imax_bits <= fit.imax_high_bits}
    if ubar is not None:
        held["ubar"] = fit.ubar_low <= ubar <= fit.ubar_high
    if not target.is_refused:
        found = target.estimate("target_depth")
        held["target"] = found.low <= wanted <= found.high
    if not headroom.is_refused:
        for name, estimate, depth_after in (
            ("headroom", "gain_at_infinite_depth", 1e15),
            ("doubling", "gain_at_twice_the_depth", 2 * DEEPEST),
        ):
            gain = headroom.estimate(estimate)
            held[name] = gain.low <= at(depth_after) - at(DEEPEST) <= gain.high
    return Outcome(n_seeds, n_levels, *how, held, "misfit" in fit.flags, target.is_refused)


def published_gains(folder: Path) -> tuple[Floats, Floats, Floats]:
    """Measured less predicted gain, half width of its interval, and the gain; one for each place held out."""
    rows = pd.read_csv(folder / "published_mi.csv")
    columns = ["umis_per_cell", "n_cells", "mi_bits", "seed", "quality"]
    found = []
    for _, of_surface in rows.groupby(["task", "model"]):
        cells = grid_cells_of(Surface(*(of_surface[name].to_numpy() for name in columns)))
        found += [_held_out_gains(cells, n_held) for n_held in (1, 2, 3)]
    errors, half_widths, gains = (np.concatenate(part) for part in zip(*found, strict=True))
    return errors, half_widths, gains


def _held_out_gains(cells: GridCells, n_held: int) -> tuple[Floats, Floats, Floats]:
    depth, most = np.unique(cells.depth)[-1 - n_held], np.unique(cells.n_cells)[-1 - n_held]
    kept = (cells.depth <= depth) & (cells.n_cells <= most)
    fit = fit_joint_laws([cells.chosen(kept)], JointSettings())[0]
    deeper, larger = (cells.depth > depth) & (cells.n_cells == most), (cells.depth == depth) & (cells.n_cells > most)
    held_out = deeper | larger
    gain = joint_gain(fit, cells.depth[held_out], cells.n_cells[held_out], over=(depth, most))
    measured = cells.mean_bits[held_out] - predict_joint(fit, depth, most).bits
    return measured - gain.bits, (gain.high_bits - gain.low_bits) / 2, gain.bits


def share(outcomes: list[Outcome], quantity: str) -> float:
    told_of = [one.held[quantity] for one in outcomes if quantity in one.held]
    return float(np.mean(told_of)) if told_of else float("nan")


def line(name: str, outcomes: list[Outcome]) -> str:
    shares = "".join(f"{share(outcomes, quantity):10.3f}" for quantity in QUANTITIES)
    flagged = np.mean([one.is_misfit for one in outcomes])
    refused = np.mean([one.is_refused for one in outcomes])
    false = np.mean([not one.held.get("target", True) and not one.is_misfit for one in outcomes])
    return f"{name:<26}{len(outcomes):6}{shares}{flagged:9.3f}{refused:9.3f}{false:9.3f}"


def table(outcomes: list[Outcome], keys: dict[str, Callable[[Outcome], object]]) -> None:
    for name, key in keys.items():
        values = sorted({key(one) for one in outcomes}, key=str)
        for value in values:
            print(line(f"  {name} {value}", [one for one in outcomes if key(one) == value]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2_400, help="studies true to the law; a sixth for each misfit")
    parser.add_argument("folder", type=Path, nargs="?", default=REFERENCE, help="folder of published_mi.csv")
    options = parser.parse_args()
    n_studies = options.studies
    start = time.process_time()
    heads = "".join(f"{name:>10}" for name in QUANTITIES)
    print(f"{'held by 95 % intervals':<26}{'n':>6}{heads}{'misfit':>9}{'refused':>9}{'unseen':>9}")
    with threadpool_limits(1):
        true = [outcome("law", number) for number in range(n_studies)]
        wrong = {kind: [outcome(kind, number) for number in range(n_studies // 6)] for kind in MISFITS}
    print(line("true to the law", true))
    table(
        true,
        {
            "seeds": lambda one: one.n_seeds,
            "levels": lambda one: one.n_levels,
            "noise": lambda one: (
                ".02-.04" if one.noise_bits < 0.04 else ".04-.06" if one.noise_bits < 0.06 else ".06-.08"
            ),
            "sd Imax, ln ū": lambda one: one.shifts,
            "refused": lambda one: one.is_refused,
        },
    )
    for kind, outcomes in wrong.items():
        print(line(kind, outcomes))
    errors, half_widths, gains = published_gains(options.folder)
    print(
        f"published surfaces: {len(gains)} gains beyond the measurements, mean {gains.mean():.3f} bits, RMSE "
        f"{np.sqrt((errors**2).mean()):.3f}, held {(np.abs(errors) <= half_widths).mean():.3f}"
    )
    print("unseen: an answered target depth that is wrong and not flagged as misfit")
    return verdict(true, [one for kind in STRONG for one in wrong[kind]], time.process_time() - start)


def verdict(true: list[Outcome], strong: list[Outcome], seconds: float) -> int:
    shares = {quantity: share(true, quantity) for quantity in QUANTITIES}
    alarms, caught = (float(np.mean([one.is_misfit for one in outcomes])) for outcomes in (true, strong))
    print(
        "coverage: "
        + ", ".join(f"{name} {value:.3f}" for name, value in shares.items())
        + f"; misfit flagged where there is none {alarms:.3f}, where it is strong {caught:.3f} ({seconds:.0f} CPU s)"
    )
    is_covered = all(ALLOWED[0] <= value <= ALLOWED[1] for value in shares.values())
    return 0 if is_covered and alarms <= MOST_FALSE_ALARMS and caught > 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
