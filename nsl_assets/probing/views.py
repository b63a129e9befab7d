"""Views of a side: maps of its columns alone that lose nothing, so that every view holds the same information.

The Gaussian base is exact where some view of both sides is jointly Gaussian. Rank-normal columns are the first
view; rank-normal independent components undo a mixing of non-Gaussian columns; the distance from the centre, as a
further column, is what heavy-tailed sides share. Validation chooses.
"""

import warnings
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from nsl_assets.probing.margins import estimable_width, leading_components, log_radius, rank_normal
from nsl_assets.randomness import integer_seed

Columns = npt.NDArray[np.float64]
ViewName = Literal["columns", "components", "columns_radii", "components_radii"]
_HANDICAP_NATS: Final = 0.01
_MAX_ITERATIONS: Final = 100
_TOLERANCE: Final = 1e-3
_SMALLEST_VARIANCE: Final = 1e-7


@dataclass(frozen=True)
class View:
    """Both sides (n_pairs, n_columns), rank-normal.

    Its Gaussian base has to beat that of the plain columns by ``handicap_nats`` on the validation pairs.
    """

    name: ViewName
    x: Columns
    y: Columns
    handicap_nats: float

    def re_paired(self, order: npt.NDArray[np.intp]) -> "View":
        """The same x with the y of other pairs."""
        return replace(self, y=self.y[order])


def views(x: Columns, y: Columns, *, max_components: int, seed: int) -> list[View]:
    """Rank-normal columns, rank-normal independent components, and both with their radii."""
    own = plain_view(x, y)
    sides = [rank_normal(independent_components(side, max_components, seed)) for side in (own.x, own.y)]
    components = View("components", sides[0], sides[1], _HANDICAP_NATS)
    return [own, components, _with_radii(own, "columns_radii"), _with_radii(components, "components_radii")]


def plain_view(x: Columns, y: Columns) -> View:
    """Rank-normal columns; their leading principal components where there are too many columns for the pairs."""
    sides = [rank_normal(x), rank_normal(y)]
    width = estimable_width(len(x), x.shape[1], y.shape[1])
    if width is not None:
        sides = [leading_components(side, width) for side in sides]
    return View("columns", sides[0], sides[1], 0.0)


def _with_radii(view: View, name: ViewName) -> View:
    """Each side of more than two columns joined with its rank-normal distance from the centre."""
    sides = [
        np.hstack([side, rank_normal(log_radius(side))]) if side.shape[1] > 2 else side for side in (view.x, view.y)
    ]
    return View(name, sides[0], sides[1], view.handicap_nats + _HANDICAP_NATS)


def independent_components(columns: Columns, n_components: int, seed: int) -> Columns:
    """At most ``n_components`` independent components (n_rows, n_components) by FastICA (Hyvärinen 1999).

    Any rotation is a valid view, so one that has not converged is kept as it is.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    white = whitened(columns, n_components)
    if white.shape[1] < 2:
        return white
    ica = FastICA(
        whiten=False,
        max_iter=_MAX_ITERATIONS,
        tol=_TOLERANCE,
        random_state=integer_seed("independent components", seed) % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        components: Columns = ica.fit_transform(white)
    return components


def whitened(columns: Columns, n_components: int) -> Columns:
    """Leading principal components with unit variance; directions without variance (copied columns) are left out."""
    values, vectors = np.linalg.eigh(np.cov(columns, rowvar=False).reshape(columns.shape[1], -1))
    values, vectors = values[::-1][:n_components], vectors[:, ::-1][:, :n_components]
    kept = values > _SMALLEST_VARIANCE * values[0]
    white: Columns = (columns - columns.mean(axis=0)) @ (vectors[:, kept] / np.sqrt(values[kept]))
    return white
