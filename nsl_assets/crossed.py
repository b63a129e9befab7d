"""Models that were probed at other noise levels than that of their training, read from the results."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from nsl_assets.errors import InputError
from nsl_assets.identity import cell_hashes
from nsl_assets.laws import MeasuredCurve
from nsl_assets.report import NoiseMatrix
from nsl_assets.study import GridCell, Study
from nsl_resources.results import Results

Row = dict[str, Any]
Name = tuple[str, str, int]
"""Task, model and training cells."""
CROSSED = """
select task, model, n_cells, train_level, probe_level, seed, estimator, mi_bits, measurement_hash
from cross_noise_measurement where study = ? order by all
"""


def read_noise_matrices(
    results: Results, name: str, study: Study, curves: Sequence[MeasuredCurve]
) -> list[NoiseMatrix]:
    """A matrix for every curve whose model was probed at other levels too; the curves hold its diagonal.

    Only measurements that the study as it stands now asks for.
    """
    rows = _rows(results, name)
    if not rows:
        return []
    crossed: dict[Name, list[Row]] = defaultdict(list)
    for row in _asked_for(rows, study):
        crossed[row["task"], row["model"], row["n_cells"]].append(row)
    named = [((one.task, one.model, one.n_cells or 0), one) for one in curves]
    return [_matrix(curve, crossed[key]) for key, curve in named if key in crossed]


def _rows(results: Results, name: str) -> list[Row]:
    results.publish()
    with results.connect() as database:
        found = database.execute(CROSSED, [name])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _asked_for(rows: Iterable[Row], study: Study) -> list[Row]:
    """Where the file of a task is not here (the study was imported), rows count if they are in the grid."""
    wanted: set[str] = set()
    places: set[tuple[Any, ...]] = set()
    for cell in study.cells():
        try:
            wanted.update(digest for one in cell_hashes(study, cell).crossed for digest in one.measurement.values())
        except InputError:
            places.update(_places(cell, study))
    return [row for row in rows if row["measurement_hash"] in wanted or _place(row) in places]


def _places(cell: GridCell, study: Study) -> Iterable[tuple[Any, ...]]:
    for level in study.probe_levels_of(cell):
        yield cell.task, cell.model, cell.n_cells, cell.level, level, cell.seed, study.probing.headline


def _place(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("task", "model", "n_cells", "train_level", "probe_level", "seed", "estimator"))


def _matrix(matched: MeasuredCurve, crossed: Sequence[Row]) -> NoiseMatrix:
    curve = matched.curve
    assert curve.level is not None, "a study's curves know their levels"
    depths: dict[float, list[float]] = defaultdict(list)
    bits: dict[tuple[float, float], dict[int, float]] = defaultdict(dict)
    for level, seed, depth, value in zip(
        curve.level.tolist(), curve.seed.tolist(), curve.depth.tolist(), curve.mi_bits.tolist(), strict=True
    ):
        depths[level].append(depth)
        bits[level, level][seed] = value
    for row in crossed:
        bits[row["train_level"], row["probe_level"]][row["seed"]] = row["mi_bits"]
    return NoiseMatrix(
        task=matched.task,
        model=matched.model,
        n_cells=matched.n_cells or 0,
        umis_per_cell={level: sum(depths[level]) / len(depths[level]) for level in sorted(depths, reverse=True)},
        bits={place: bits[place] for place in product(depths, repeat=2) if place in bits},
    )
