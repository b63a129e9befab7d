"""Held-out errors of joint laws: how well they predict grid cells that they were not fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from nsl_assets.laws.joint_fit import fit_joint_laws
from nsl_assets.laws.joint_prediction import predict_joint
from nsl_assets.laws.joint_settings import JointSettings
from nsl_assets.laws.surface import GridCells
from nsl_assets.randomness import generator

RANDOM_DRAWS: Final = 20
HELD_OUT_FRACTION: Final = 0.3
SPLITS: Final = ("random", "largest", "largest_three")
"""A random 30 %; the largest size and depth; the largest three of each."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOutError:
    """Error of predicted seed means in grid cells that were held out, over all draws of one split."""

    split: str
    rmse_bits: float
    """Of the prediction: root mean square within each draw, then the mean over draws."""
    law_rmse_bits: float
    """Of the law alone, without the misfit of measured neighbours."""
    covered: float
    """Share of held-out cells within the interval of a measurement."""
    n_held_out: int


def training_masks(cells: GridCells, split: str, n_draws: int = RANDOM_DRAWS) -> list[Mask]:
    """Which grid cells are fitted, one mask (n_grid_cells,) a draw; equal grids get equal random draws."""
    if split == "random":
        n = len(cells.depth)
        held_out = round(HELD_OUT_FRACTION * n)
        orders = [generator("held-out grid cells", draw).permutation(n) for draw in range(n_draws)]
        return [order >= held_out for order in orders]
    count = {"largest": 1, "largest_three": 3}[split]
    return [(_rank_from_top(cells) >= count) & (cells.n_cells < np.unique(cells.n_cells)[-count])]


def _rank_from_top(cells: GridCells) -> npt.NDArray[np.intp]:
    """How many levels of the same size are deeper, (n_grid_cells,)."""
    same_size = cells.n_cells[:, None] == cells.n_cells[None, :]
    deeper = cells.depth[None, :] > cells.depth[:, None]
    return np.asarray((same_size & deeper).sum(axis=1))


def held_out_errors(
    surfaces: Sequence[GridCells], settings: JointSettings, *, n_draws: int = RANDOM_DRAWS
) -> list[list[HeldOutError]]:
    """Errors of every surface in every split of ``SPLITS``; all fits of a split run as one batch."""
    by_split = [_errors_of_split(surfaces, settings, split, n_draws) for split in SPLITS]
    return [list(of_surface) for of_surface in zip(*by_split, strict=True)]


def _errors_of_split(
    surfaces: Sequence[GridCells], settings: JointSettings, split: str, n_draws: int
) -> list[HeldOutError]:
    masks = [training_masks(cells, split, n_draws) for cells in surfaces]
    training = [cells.chosen(mask) for cells, of_surface in zip(surfaces, masks, strict=True) for mask in of_surface]
    fits = iter(fit_joint_laws(training, settings))
    errors = []
    for cells, of_surface in zip(surfaces, masks, strict=True):
        held_out = [cells.chosen(~mask) for mask in of_surface]
        predictions = [predict_joint(next(fits), one.depth, one.n_cells, of="measurement") for one in held_out]
        pairs = [(one.mean_bits, prediction) for one, prediction in zip(held_out, predictions, strict=True)]
        inside = [(one.low_bits <= bits) & (bits <= one.high_bits) for bits, one in pairs]
        errors.append(
            HeldOutError(
                split=split,
                rmse_bits=float(np.mean([_rms(bits - one.bits) for bits, one in pairs])),
                law_rmse_bits=float(np.mean([_rms(bits - one.law_bits) for bits, one in pairs])),
                covered=float(np.concatenate(inside).mean()),
                n_held_out=sum(len(bits) for bits, _ in pairs),
            )
        )
    return errors


def _rms(errors: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(errors**2)))
