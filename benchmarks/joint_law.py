"""Joint laws on the 16 published surfaces: errors in grid cells that were held out, and coverage of the intervals.

Surfaces: tasks × models of `published_mi.csv` (its folder is the argument), 10 sizes × 10 depths, seed means. Splits: a
random 70/30 (20 repeats), the largest size and depth held out, the largest three of each. Forms: the rival H; J with
independent errors; J as it is fitted by default, its law alone and with the misfit of measured neighbours. No peer has
a joint law. `--choose` picks prior and misfit settings for each task from the other three tasks' errors.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from nsl_assets.laws import SPLITS, GridCells, JointSettings, Surface, grid_cells_of, held_out_errors

HEADER = f"{'mean RMSE in bits, 16 surfaces':<44}   random  largest    three   better than H, most worse, covered"
Floats = npt.NDArray[np.float64]
REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
LIMITS = np.array([0.065, 0.105, 0.132])
LEAST_BETTER, MOST_WORSE_BITS = 11, 0.03
COVERAGE = (0.90, 0.98)
CHOICES = [
    JointSettings(misfit_share=share, misfit_depth_length=depth, misfit_cells_length=cells, i_inf_prior=i_inf)
    for share, (depth, cells), i_inf in itertools.product(
        (0.3, 0.5, 0.7, 0.85), ((1, 2), (2, 2), (2, 4), (4, 4)), ((0.4, 0.6), (0.6, 0.4))
    )
]


def published_surfaces(folder: Path) -> dict[tuple[str, str], GridCells]:
    rows = pd.read_csv(folder / "published_mi.csv")
    return {
        (str(task), str(model)): grid_cells_of(
            Surface(
                *(of_surface[name].to_numpy() for name in ("umis_per_cell", "n_cells", "mi_bits", "seed", "quality"))
            )
        )
        for (task, model), of_surface in rows.groupby(["task", "model"])
    }


def errors(surfaces: list[GridCells], settings: JointSettings, n_draws: int) -> tuple[Floats, Floats, Floats]:
    """RMSE of the prediction and of the law alone, and coverage; (n_surfaces, 3) each."""
    found = held_out_errors(surfaces, settings, n_draws=n_draws)
    of = [[(one.rmse_bits, one.law_rmse_bits, one.covered) for one in of_surface] for of_surface in found]
    rmse, law_rmse, covered = np.moveaxis(np.array(of), -1, 0)
    return rmse, law_rmse, covered


def line(name: str, rmse: Floats, rival: Floats, covered: Floats | None = None) -> str:
    text = f"{name:<44}" + "".join(f"{value:9.4f}" for value in rmse.mean(axis=0))
    text += "   " + "/".join(str(count) for count in (rmse < rival).sum(axis=0))
    text += "   " + "/".join(f"{worst:.3f}" for worst in (rmse - rival).max(axis=0))
    return text if covered is None else text + "   " + "/".join(f"{share:.3f}" for share in covered.mean(axis=0))


def chosen(names: list[tuple[str, str]], surfaces: list[GridCells], rival: Floats) -> Floats:
    """Errors with the settings that did best on the other tasks; (n_surfaces, 3)."""
    tasks = np.array([task for task, _ in names])
    tried = []
    for settings in CHOICES:
        tried.append(errors(surfaces, settings, n_draws=4)[0])
        changed = ", ".join(f"{name} {value}" for name, value in settings.model_dump(exclude_defaults=True).items())
        print(line(f"  {changed}", tried[-1], rival), file=sys.stderr)
    table = np.array(tried)
    relative = (table / table.mean(axis=0)).mean(axis=2)
    best = [int(relative[:, tasks != task].mean(axis=1).argmin()) for task in tasks]
    return np.asarray(table[best, np.arange(len(tasks))])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=REFERENCE)
    parser.add_argument("--draws", type=int, default=20, help="repeats of the random split")
    parser.add_argument("--choose", action="store_true", help="settings chosen without the task that they are tried on")
    options = parser.parse_args()
    if not (options.folder / "published_mi.csv").exists():
        print(f"joint law: skipped, {options.folder} holds no published_mi.csv", file=sys.stderr)
        return 0
    by_name = published_surfaces(options.folder)
    names, surfaces = list(by_name), list(by_name.values())
    start = time.process_time()
    with threadpool_limits(1):
        rival, _, _ = errors(surfaces, JointSettings(form="H", misfit_share=0), options.draws)
        independent, _, _ = errors(surfaces, JointSettings(misfit_share=0), options.draws)
        default, law_alone, covered = errors(surfaces, JointSettings(), options.draws)
        without_task = chosen(names, surfaces, rival) if options.choose else None
    print(HEADER)
    print(line("H", rival, rival))
    print(line("J, independent errors", independent, rival))
    print(line("J, shared misfit: law alone", law_alone, rival))
    print(line("J, shared misfit (default)", default, rival, covered))
    if without_task is not None:
        print(line("J, settings from the other tasks, 4 repeats", without_task, rival))
    for (task, model), *columns in zip(names, rival, default, covered, strict=True):
        cells = "   ".join(" ".join(f"{value:.3f}" for value in column) for column in columns)
        print(f"  {task + ' ' + model:<32} H, J, covered: {cells}", file=sys.stderr)
    for (task, model), worse in zip(names, default - rival, strict=True):
        if worse.max() > MOST_WORSE_BITS:
            split = SPLITS[int(worse.argmax())]
            print(f"  {worse.max():.3f} bits worse than H, split {split}: {task} {model}", file=sys.stderr)
    print(f"  {SPLITS}: {time.process_time() - start:.0f} CPU s", file=sys.stderr)
    return 0 if passes(default, rival, covered) else 1


def passes(rmse: Floats, rival: Floats, covered: Floats) -> bool:
    """The limits; that no surface is much worse than with H holds for the first two splits only."""
    better, worst = (rmse < rival).sum(axis=0), (rmse - rival).max(axis=0)
    low, high = COVERAGE
    within = (covered.mean(axis=0) >= low) & (covered.mean(axis=0) <= high)
    is_better = min(better[0], better[2]) >= LEAST_BETTER and bool((worst[:2] <= MOST_WORSE_BITS).all())
    return bool((rmse.mean(axis=0) <= LIMITS).all() and is_better and within.all())


if __name__ == "__main__":
    sys.exit(main())
