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


def estimable_width(n_pairs: int, n_x: int, n_y: int) -> int | None:
    """Columns that a side may keep where both together are too many for the pairs (n_x + n_y + 10 ≥ n_pairs)."""
    return None if n_x + n_y + 10 < n_pairs else n_pairs // 5


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


def log_radius(columns: Columns) -> Columns:
    """Standardised log distance from the origin (n_rows, 1): what heavy-tailed sides share is often their scale."""
    radius = np.log(np.square(columns).sum(axis=1, keepdims=True) + 1e-3)
    spread = radius.std()
    result: Columns = (radius - radius.mean()) / (spread if spread > 0 else 1.0)
    return result
