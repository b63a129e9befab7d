"""Neighbours: the nearest cells of the same block, drawn once; blocks that the split keeps whole."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsl_assets.randomness import identity_keys
from nsl_assets.tasks import PROBE, SpatialPairs, Task, TaskSettings, inspect, leakage
from nsl_assets.tasks.neighbourhood import blocks, nearest_cells

Make = Callable[..., Path]
Opened = Callable[[TaskSettings], Task]


def task_of(path: Path, **changes: object) -> SpatialPairs:
    return SpatialPairs.model_validate({"path": path, "n_blocks": 24, "n_reference_components": 2, **changes})


def found(task: SpatialPairs, level: str) -> list[str]:
    return [f"{finding.topic}: {finding.message}" for finding in inspect(task) if finding.level == level]


def names(n: int) -> np.ndarray:
    return np.array([f"cell{i}" for i in range(n)], dtype=object)


def brute_force_distances(places: np.ndarray, regions: np.ndarray, k: int) -> np.ndarray:
    """Distances (n, k) to the k nearest others of the same region; infinite where there are fewer."""
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
    distances[regions[:, None] != regions[None]] = np.inf
    np.fill_diagonal(distances, np.inf)
    return np.sort(np.pad(distances, ((0, 0), (0, k)), constant_values=np.inf), axis=1)[:, :k]


@given(
    n=st.integers(1, 60),
    k=st.integers(1, 8),
    n_regions=st.integers(1, 3),
    is_grid=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=80, deadline=None)
def test_neighbours_equal_a_brute_force_search(n: int, k: int, n_regions: int, is_grid: bool, seed: int):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 4, (n, 2 + seed % 2))
    places = np.floor(places) if is_grid else places
    regions = rng.integers(0, n_regions, n)
    nearest = nearest_cells(places, regions, names(n), k)
    distances = np.where(nearest >= 0, np.sqrt(((places[:, None] - places[nearest]) ** 2).sum(axis=2)), np.inf)
    np.testing.assert_array_equal(distances, brute_force_distances(places, regions, k))
    for i, row in enumerate(nearest):
        assert i not in row
        assert np.unique(row[row >= 0]).size == (row >= 0).sum()


@given(seed=st.integers(0, 1000), is_grid=st.booleans())
@settings(max_examples=40, deadline=None)
def test_neighbours_and_blocks_follow_cells_through_any_order(seed: int, is_grid: bool):
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 6, (90, 2)).astype(float) if is_grid else rng.uniform(0, 1, (90, 2))
    order, cells = rng.permutation(90), names(90)
    sections = np.array(["a", "b"], dtype=object)[rng.integers(0, 2, 90)]
    one, other = (nearest_cells(places[rows], sections[rows], cells[rows], 5) for rows in (np.arange(90), order))
    np.testing.assert_array_equal(cells[one][order], cells[order][other])
    first = blocks(places, sections, cells, 10)
    np.testing.assert_array_equal(first[order], blocks(places[order], sections[order], cells[order], 10))


@pytest.mark.parametrize("is_crowded", [True, False])
def test_neighbours_are_the_same_however_many_cells_share_a_place(is_crowded: bool):
    rng = np.random.default_rng(3)
    places, cells = rng.uniform(0, 9, (400, 2)), names(400)
    places[:150] = places[0] if is_crowded else places[:150]
    distances = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    keys = np.broadcast_to(identity_keys(cells), distances.shape)
    np.testing.assert_array_equal(
        nearest_cells(places, np.zeros(400), cells, 5), np.lexsort((keys, distances), axis=1)[:, :5]
    )


def test_thousands_of_cells_at_one_place_are_searched_in_little_memory():
    places = np.zeros((6_000, 2))
    tracemalloc.start()
    nearest = nearest_cells(places, np.zeros(6_000), names(6_000), 5)
    peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert (nearest >= 0).all()
    assert peak_mib < 60, "the table of all distances would be 275 MiB"


@pytest.mark.parametrize("section", [None, "obs:section"])
def test_cells_whose_place_is_a_mark_are_named(spatial_h5ad: Make, section: str | None):
    path = spatial_h5ad(n_sections=2)
    adata = anndata.read_h5ad(path)
    adata.obsm["spatial"][100:400] = 0
    adata.write_h5ad(path)
    (error,) = found(task_of(path, section=section), "error")
    of_section = 150 if section else 300
    assert f"puts {of_section} of 1,200 cells at one place, (0, 0), the first cell100" in error
    assert ("--section" in error) == (section is None)


def test_blocks_are_compact_and_nearly_equal():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 1, (3000, 2)) * [1, 3]
    found = blocks(places, np.full(3000, "s", dtype=object), names(3000), 64)
    _, codes, sizes = np.unique(found.astype(str), return_inverse=True, return_counts=True)
    assert 64 <= sizes.size <= 128
    assert sizes.max() <= 2 * sizes.min()
    within = np.mean([np.ptp(places[codes == block], axis=0).max() for block in range(sizes.size)])
    assert within < 3 * np.sqrt(3 / sizes.size), "no block is a long strip"


def test_partners_are_neighbours_of_the_same_block_in_the_probe(spatial_h5ad: Make, opened: Opened):
    path = spatial_h5ad()
    task = opened(task_of(path))
    places = anndata.read_h5ad(path)[task.cell_names.astype(str)].obsm["spatial"]
    pairs = task.pairs(0, 1.0)
    assert task.group is not None
    np.testing.assert_array_equal(pairs.rows, task.probe_rows())
    np.testing.assert_array_equal(task.group[pairs.rows], task.group[pairs.partners])
    assert set(task.role[pairs.partners]) == {PROBE}
    for block in np.unique(task.group):
        assert len(set(task.role[task.group == block])) == 1
    fifth = brute_force_distances(places, task.group, 5)[pairs.rows, 4]
    assert (np.linalg.norm(places[pairs.rows] - places[pairs.partners], axis=1) <= fifth).all()
    np.testing.assert_array_equal(task.pair_groups(pairs), task.group[pairs.rows])
    assert leakage(task, pairs).is_clean


def test_each_of_the_neighbours_is_drawn_equally_often(spatial_h5ad: Make, opened: Opened):
    task = opened(task_of(spatial_h5ad(n_cells=4000), n_blocks=40))
    assert task.pairing is not None
    pairs = task.pairs(0, 1.0)
    ranks = (task.pairing.neighbours[pairs.rows] == pairs.partners[:, None]).argmax(axis=1)
    np.testing.assert_allclose(np.bincount(ranks, minlength=5) / ranks.size, 0.2, atol=0.05)


def test_partners_are_drawn_once_or_anew_as_published(spatial_h5ad: Make, opened: Opened):
    path = spatial_h5ad()
    once, redrawn = (opened(task_of(path, spatial_neighbours=how)) for how in ("drawn_once", "redrawn"))
    for seed, level in ((1, 1.0), (0, 0.1)):
        np.testing.assert_array_equal(once.pairs(0, 1.0).partners, once.pairs(seed, level).partners)
        share_kept = (redrawn.pairs(0, 1.0).partners == redrawn.pairs(seed, level).partners).mean()
        assert share_kept == pytest.approx(0.2, abs=0.08)
    np.testing.assert_array_equal(redrawn.pairs(1, 0.1).partners, redrawn.pairs(1, 0.1).partners)


def test_the_order_of_the_file_changes_nothing(spatial_h5ad: Make, opened: Opened, shuffled: Callable[[Path], Path]):
    path = spatial_h5ad()
    one, other = opened(task_of(path)), opened(task_of(shuffled(path)))
    a, b = one.pairs(0, 1.0), other.pairs(0, 1.0)
    partner_of = dict(zip(one.cell_names[a.rows], one.cell_names[a.partners], strict=True))
    assert partner_of == dict(zip(other.cell_names[b.rows], other.cell_names[b.partners], strict=True))


def test_sections_are_never_compared(spatial_h5ad: Make, opened: Opened):
    path = spatial_h5ad(n_sections=2)
    for overlap in (False, True):
        task = opened(task_of(path, section="obs:section", probe_overlap=overlap))
        section = anndata.read_h5ad(path).obs["section"].loc[task.cell_names.astype(str)].to_numpy()
        pairs = task.pairs(0, 1.0)
        assert (section[pairs.rows] == section[pairs.partners]).all()


def test_the_published_probe_overlaps_and_its_certificate_says_so(spatial_h5ad: Make, opened: Opened):
    task = opened(task_of(spatial_h5ad(), probe_overlap=True))
    shared = leakage(task, task.pairs(0, 1.0))
    assert shared.n_shared_cells == (task.role != PROBE).sum()
    assert shared.n_shared_partners
    assert shared.n_shared_groups


def test_a_cell_without_a_place_is_named(spatial_h5ad: Make):
    path = spatial_h5ad()
    adata = anndata.read_h5ad(path)
    adata.obsm["spatial"][17] = np.nan
    adata.write_h5ad(path)
    assert any("of cell cell17 is (nan, nan) (1 cell(s)" in error for error in found(task_of(path), "error"))


def test_a_cell_without_a_section_is_named(spatial_h5ad: Make):
    path = spatial_h5ad()
    adata = anndata.read_h5ad(path)
    adata.obs["section"] = [None, *adata.obs["section"].astype(str)[1:]]
    adata.write_h5ad(path)
    errors = found(task_of(path, section="obs:section"), "error")
    assert any("cell cell0 has no obs:section" in error for error in errors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"coordinates": "obsm:spatal"}, "Did you mean 'spatial'"),
        ({"section": "obs:slice"}, "no column 'slice' in obs"),
        ({"probe_fraction": 0.01}, "at least 50 are needed"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_it(spatial_h5ad: Make, change: dict[str, object], said: str):
    assert any(said in error for error in found(task_of(spatial_h5ad(), **change), "error"))


def test_four_columns_are_no_coordinates(spatial_h5ad: Make):
    path = spatial_h5ad()
    adata = anndata.read_h5ad(path)
    adata.obsm["spatial"] = np.hstack([adata.obsm["spatial"]] * 2)
    adata.write_h5ad(path)
    assert any("4 columns: coordinates have 2 or 3" in error for error in found(task_of(path), "error"))


def test_narrow_blocks_are_pointed_out(spatial_h5ad: Make):
    path = spatial_h5ad()
    assert found(task_of(path, n_blocks=12), "error") == []
    assert any(
        "fewer blocks (--blocks, now 128)" in warning for warning in found(task_of(path, n_blocks=128), "warning")
    )
    warnings = found(task_of(path, n_blocks=400), "warning")
    assert any("probe cells have fewer than 5 others in their block" in warning for warning in warnings)


def test_the_real_tissue_is_sound(shared_data: Path):
    task = SpatialPairs(path=shared_data / "spatial_merfish_poa.h5ad")
    assert found(task, "error") == found(task, "warning") == []
    assert any("the partner is one of the 5 nearest of the block" in line for line in found(task, "ok"))
