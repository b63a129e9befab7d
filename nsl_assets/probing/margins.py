"""Columns before any network sees them: rank-normal margins, leading components, bumps of narrow sides."""

import numpy as np
import numpy.typing as npt

Columns = npt.NDArray[np.float64]


def standardised(columns: Columns, *, clip: float) -> Columns:
    """Zero mean and unit variance by column, clipped to ± ``clip``."""
    scaled = columns / np.abs(columns).max(axis=0)
    centred = scaled - scaled.mean(axis=0)
    result: Columns = np.clip(centred / centred.std(axis=0), -clip, clip)
    return result


def rank_normal(columns: Columns) -> Columns:
    """Φ⁻¹((average rank - ½)/n) by column, unit variance: invariant under monotone maps; ties stay ties."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    normal = ndtri((rankdata(columns, axis=0) - 0.5) / len(columns))
    result: Columns = (normal - normal.mean(axis=0)) / normal.std(axis=0)
    return result


def leading_components(columns: Columns, n_components: int) -> Columns:
    """The columns themselves, or their leading principal components with one common scale if more."""
    if columns.shape[1] <= n_components:
        return columns
    _, vectors = np.linalg.eigh(np.cov(columns, rowvar=False))
    components = (columns - columns.mean(axis=0)) @ vectors[:, ::-1][:, :n_components]
    result: Columns = components / components.std()
    return result


def with_bumps(columns: Columns, n_bumps: int) -> Columns:
    """Each rank-normal column joined with Gaussian bumps along it, so that small nets resolve fine structure."""
    centres = np.linspace(-2.4, 2.4, n_bumps)
    width = centres[1] - centres[0]
    bumps = np.exp(-0.5 * ((columns[:, :, None] - centres) / width) ** 2)
    return np.concatenate([columns, bumps.reshape(len(columns), -1)], axis=1)
