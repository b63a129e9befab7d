"""Settings of the fitted laws, and what the two protocols set them to: target_definition and interval."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from nsl_assets.laws.equations import FloatArray, log_depth_over_ubar
from nsl_assets.settings import Settings

TargetDefinition = Literal["fraction_of_imax", "bits_below_imax"]
Interval = Literal["profile_likelihood", "one_sigma_published"]
PUBLISHED_BITS_BELOW_IMAX: Final = float(-np.log2(0.95))


@dataclass(frozen=True)
class Target:
    """The information a user wants: a fraction of Imax, or a number of bits below it."""

    fraction: float | None
    bits_below: float

    def information_bits(self, imax_bits: FloatArray | np.float64) -> FloatArray:
        """The target in bits for each Imax; not below 0."""
        wanted = imax_bits - self.bits_below if self.fraction is None else self.fraction * imax_bits
        return np.asarray(np.maximum(wanted, 0))

    def log_depth_over_ubar(self, imax_bits: FloatArray | np.float64) -> FloatArray:
        """ln(target depth / ū) for each Imax, by C4."""
        floored = np.asarray(np.maximum(imax_bits, 1e-9))  # 0/0 at Imax = 0, where the limit is finite
        return log_depth_over_ubar(self.information_bits(floored), floored)

    def depth(self, imax_bits: float, ubar: float) -> float:
        """Target depth in UMIs per cell, by C4."""
        return float(ubar * np.exp(self.log_depth_over_ubar(np.float64(imax_bits))))

    @property
    def label(self) -> str:
        """The target in words, for tables and figures."""
        if self.fraction is None:
            return f"{self.bits_below:.3g} bits below Imax"
        return f"{100 * self.fraction:.3g} % of Imax"


class LawSettings(Settings):
    """How laws are fitted, what depth is asked for, and how certain the intervals are."""

    protocol: Literal["corrected", "published"] = "corrected"
    """Sets ``target_definition`` and ``interval`` where they are open: as is sound, or as in Table C1."""
    target_definition: TargetDefinition | None = None
    """What the target depth reaches; open: a fraction of Imax (corrected), bits below Imax (published)."""
    target_fraction: float = Field(default=0.9, gt=0, lt=1)
    """The fraction of Imax that the target depth reaches, for ``fraction_of_imax``."""
    target_bits_below_imax: float = Field(default=PUBLISHED_BITS_BELOW_IMAX, gt=0)
    """How many bits below Imax it lies, for ``bits_below_imax``; default: -log2(0.95), as published."""
    interval: Interval | None = None
    """Profile likelihood on seed means (corrected), or ± 1 σ without covariance, pooled (published)."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the profile-likelihood intervals."""

    @property
    def used_interval(self) -> Interval:
        """The interval after the protocol has filled in what was left open."""
        return self.interval or ("one_sigma_published" if self.protocol == "published" else "profile_likelihood")

    @property
    def target(self) -> Target:
        """The target after the protocol has filled in what was left open."""
        published = self.protocol == "published"
        used = self.target_definition or ("bits_below_imax" if published else "fraction_of_imax")
        fraction = self.target_fraction if used == "fraction_of_imax" else None
        return Target(fraction=fraction, bits_below=self.target_bits_below_imax)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers: the settings used, not which of protocol or field set them."""
        target = self.target
        wanted = {"bits_below_imax": target.bits_below} if target.fraction is None else {"fraction": target.fraction}
        return {"interval": self.used_interval, "confidence": self.confidence, "target": wanted}
