"""How a joint law is fitted: its form, its prior, and how its misfit is correlated over the surface."""

from typing import Final, Literal

import numpy as np
from pydantic import Field

from nsl_assets.laws.equations import FloatArray
from nsl_assets.laws.joint_forms import FORMS, Form
from nsl_assets.laws.surface import GridCells
from nsl_assets.settings import Settings

SMALLEST_TOP_BITS: Final = 0.02
TOP_CELLS: Final = 3
VAGUE_SD: Final = 6.0


class JointSettings(Settings):
    """Settings of the joint law."""

    form: Literal["J", "H"] = "J"
    """J, or its rival H, whose prior is vague."""
    i_inf_prior: tuple[float, float] = (0.6, 0.4)
    """Mean and sd of ln I∞ over the mean of the three largest measured cells (form J)."""
    spread_prior_sd: float = Field(default=2.0, gt=0)
    """Sd of w around 0 (form J)."""
    misfit_share: float = Field(default=0.5, ge=0, lt=1)
    """Share of the residual variance that neighbouring cells have in common; 0: independent errors."""
    misfit_depth_length: float = Field(default=1.0, gt=0)
    """Distance in ln depth over which misfit is shared."""
    misfit_cells_length: float = Field(default=2.0, gt=0)
    """Distance in ln training cells over which misfit is shared."""
    outside_misfit: float = Field(default=0.09, ge=0)
    """Additional sd of the prediction, as a share of the information, far from all measured cells."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""

    @property
    def law(self) -> Form:
        """The form with its functions."""
        return FORMS[self.form]


def prior_of(cells: GridCells, settings: JointSettings) -> tuple[FloatArray, FloatArray]:
    """Mean and sd of the parameters on their search scale, (n_parameters,), centred on the cells that are fitted."""
    top_bits = max(float(np.sort(cells.mean_bits)[-TOP_CELLS:].mean()), SMALLEST_TOP_BITS)
    log_depth = cells.log_depth[np.isfinite(cells.depth)]
    log_i_inf, i_inf_sd = settings.i_inf_prior
    centre = [np.log(top_bits) + log_i_inf, log_depth.mean() + 1.5, cells.log_cells.mean() - 1, -0.5]
    if settings.form == "H":
        return np.array([*centre, -1.0]), np.full(5, VAGUE_SD)
    sd = [i_inf_sd, 2.0, 4.0, 0.7, 2.0, settings.spread_prior_sd, 3.0]
    return np.array([*centre, 1.0, 0.0, 2.0]), np.array(sd)
