"""Clones: one pair of each, an early cell and a late one, of clones that models have never seen."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest

from nsl_assets.errors import InputError, NslError
from nsl_assets.probing import ProbingSettings, estimate
from nsl_assets.tasks import PROBE, TRAIN, ClonalPairs, Task, TaskSettings, inspect, leakage, outline

Make = Callable[..., Path]
Opened = Callable[[TaskSettings], Task]


def task_of(path: Path, **settings: object) -> ClonalPairs:
    times = {"clone": "obs:clone", "time": "obs:day", "early": [2], "late": ["6"], "n_reference_components": 2}
    return ClonalPairs.model_validate({"path": path, **times, **settings})


def found(settings: ClonalPairs, level: str) -> list[str]:
    return [f"{finding.topic}: {finding.message}" for finding in inspect(settings) if finding.level == level]


def obs_of(path: Path, task: Task):
    return anndata.read_h5ad(path).obs.loc[task.cell_names.astype(str)]


def test_each_probed_clone_gives_one_pair_of_an_early_and_a_late_cell(clonal_h5ad: Make, opened: Opened):
    path = clonal_h5ad()
    task = opened(task_of(path))
    obs = obs_of(path, task)
    pairs = task.pairs(seed=3, level=0.1)
    early, late = obs.iloc[pairs.rows], obs.iloc[pairs.partners]
    assert (early["day"] == 2).all()
    assert (late["day"] == 6).all()
    assert early["clone"].tolist() == late["clone"].tolist()
    assert early["clone"].is_unique
    assert len(pairs.rows) == 75, "half of the 150 clones that have both times"
    assert set(task.role[pairs.rows]) == set(task.role[pairs.partners]) == {PROBE}


def test_clones_stay_whole_and_those_at_one_time_are_never_probed(clonal_h5ad: Make, opened: Opened):
    path = clonal_h5ad()
    task = opened(task_of(path))
    obs = obs_of(path, task).assign(role=task.role)
    assert (obs.groupby("clone", observed=True)["role"].nunique() == 1).all()
    others = obs[~obs["clone"].astype(str).str.startswith("clone")]
    assert PROBE not in set(others["role"])
    assert (task.role == TRAIN).sum() > 300


def test_a_seed_draws_other_pairs_and_a_level_does_not(clonal_h5ad: Make, opened: Opened):
    task = opened(task_of(clonal_h5ad()))
    first, again, other = task.pairs(0, 1.0), task.pairs(0, 0.1), task.pairs(1, 1.0)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.partners, again.partners)
    share_kept = np.isin(first.rows, other.rows).mean()
    assert 0.25 < share_kept < 0.75, "of two early cells, either is drawn half of the time"


def test_the_order_of_the_file_changes_nothing(clonal_h5ad: Make, opened: Opened, shuffled: Callable[[Path], Path]):
    path = clonal_h5ad()
    one, other = opened(task_of(path)), opened(task_of(shuffled(path)))
    assert dict(zip(one.cell_names, one.role, strict=True)) == dict(zip(other.cell_names, other.role, strict=True))
    for seed in range(3):
        a, b = one.pairs(seed, 1.0), other.pairs(seed, 1.0)
        assert one.cell_names[a.rows].tolist() == other.cell_names[b.rows].tolist()
        assert one.cell_names[a.partners].tolist() == other.cell_names[b.partners].tolist()
        np.testing.assert_allclose(one.auxiliary.values[a.partners], other.auxiliary.values[b.partners], atol=1e-8)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_information_between_partners_is_the_known_one(clonal_h5ad: Make, opened: Opened, correlation: float):
    """States of two cells of a clone are Gaussian with this correlation: I = -1/2 log2(1 - c^2)."""
    task = opened(task_of(clonal_h5ad(n_clones=1000, correlation=correlation), n_reference_components=1))
    pairs = task.pairs(0, 1.0)
    z = task.auxiliary.values[pairs.rows].astype(np.float32)
    y = task.signal(pairs, z)
    measured = estimate(z, y, estimator="gaussian_copula", settings=ProbingSettings(), seed=0)
    assert measured.value_bits == pytest.approx(-0.5 * np.log2(1 - correlation**2), abs=0.13)


def test_one_pair_a_clone_needs_no_groups(clonal_h5ad: Make, opened: Opened):
    task = opened(task_of(clonal_h5ad()))
    assert task.group is not None
    assert task.pair_groups(task.pairs(0, 1.0)) is None


def test_nothing_of_a_probed_pair_was_seen_in_training(clonal_h5ad: Make, opened: Opened):
    task = opened(task_of(clonal_h5ad()))
    shared = leakage(task, task.pairs(0, 1.0))
    assert (shared.n_shared_cells, shared.n_shared_groups, shared.n_shared_partners) == (0, 0, 0)
    assert shared.is_clean


def test_the_published_probe_overlaps_and_its_certificate_says_so(clonal_h5ad: Make, opened: Opened):
    settings = task_of(clonal_h5ad(), probe_overlap=True)
    task = opened(settings)
    pairs = task.pairs(0, 1.0)
    assert len(pairs.rows) == 150
    assert outline(settings).n_probe == len(task.probe_rows()) == len(task.role)
    shared = leakage(task, pairs)
    assert shared.n_shared_cells == (task.role != PROBE).sum()
    assert shared.n_shared_partners == (task.role[pairs.partners] != PROBE).sum() > 0
    assert not shared.is_clean
    assert any("inflated" in warning for warning in found(settings, "warning"))


def test_the_signal_may_be_the_embedding_of_the_partner(clonal_h5ad: Make, opened: Opened):
    task = opened(task_of(clonal_h5ad(), paired_auxiliary="same_model"))
    pairs, probe = task.pairs(0, 1.0), task.probe_rows()
    embedding = np.column_stack([probe, -probe]).astype(np.float32)
    np.testing.assert_array_equal(task.signal(pairs, embedding).values[:, 0], pairs.partners)


def test_a_check_counts_clones_and_names_those_that_say_nothing(clonal_h5ad: Make):
    settings = task_of(clonal_h5ad())
    assert found(settings, "error") == []
    assert any("150 clones have both" in line for line in found(settings, "ok"))
    notes = found(settings, "note")
    assert any("60 clones lack early or late cells" in note and "alone0" in note for note in notes)
    assert any("40 cells have no clone" in note for note in notes)


def test_values_that_mean_no_clone_are_no_clone(clonal_h5ad: Make):
    path = clonal_h5ad(n_clones=300)
    adata = anndata.read_h5ad(path)
    adata.obs["clone"] = adata.obs["clone"].astype(object).replace("clone7", "-1")
    adata.write_h5ad(path)
    assert any("300 clones have both" in line for line in found(task_of(path), "ok"))
    assert any("299 clones have both" in line for line in found(task_of(path, no_clone=[-1]), "ok"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"clone": "obs:clones"}, "Did you mean 'clone'"),
        ({"late": [7]}, "no time point '7' in obs:day"),
        ({"early": [6], "late": [2], "probe_fraction": 0.2}, "30 pairs are measured"),
        ({"n_reference_components": 90}, "lower n_reference_components"),
        ({"sha256": "0" * 64}, "the task expects 000000"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_it(clonal_h5ad: Make, change: dict[str, object], said: str):
    assert any(said in error for error in found(task_of(clonal_h5ad(), **change), "error"))


def test_clones_at_one_time_only_are_refused(clonal_h5ad: Make, tmp_path: Path, opened: Opened):
    path = clonal_h5ad()
    adata = anndata.read_h5ad(path)
    adata[~adata.obs["clone"].astype(str).str.startswith("clone")].copy().write_h5ad(path)
    assert any("no clone of obs:clone has early and late cells" in error for error in found(task_of(path), "error"))
    with pytest.raises(NslError, match="no clone of obs:clone has early and late cells"):
        opened(task_of(path))


@pytest.mark.parametrize(
    "labels",
    [
        {2: "2.0", 6: "6.0"},
        {2: 2.0, 6: 6.0},
        {2: "02", 6: "6"},
    ],
)
def test_a_time_point_is_the_same_number_however_it_is_written(clonal_h5ad: Make, labels: dict[int, object]):
    path = clonal_h5ad()
    adata = anndata.read_h5ad(path)
    as_they_are = found(task_of(path), "ok")
    days = adata.obs["day"].tolist()
    mixed = [labels[day] if i % 2 else type(labels[day])(day) for i, day in enumerate(days)]
    adata.obs["day"] = mixed
    adata.write_h5ad(path)
    assert found(task_of(path), "ok") == as_they_are


def test_cells_of_other_time_points_are_counted(clonal_h5ad: Make):
    path = clonal_h5ad()
    adata = anndata.read_h5ad(path)
    adata.obs["day"] = [4 if i < 30 else day for i, day in enumerate(adata.obs["day"])]
    adata.write_h5ad(path)
    assert any("30 cells are at other time points (4)" in note for note in found(task_of(path), "note"))


def test_late_before_early_is_pointed_out(clonal_h5ad: Make):
    warnings = found(task_of(clonal_h5ad(), early=[6], late=[2]), "warning")
    assert any("late time point 2 comes before the early one 6" in warning for warning in warnings)
    assert not any("comes before" in warning for warning in found(task_of(clonal_h5ad()), "warning"))


def test_too_few_clones_are_told_from_too_few_probed(clonal_h5ad: Make):
    (error,) = found(task_of(clonal_h5ad(n_clones=40)), "error")
    assert "Only 40 clones have both" in error
    (error,) = found(task_of(clonal_h5ad(), probe_fraction=0.2), "error")
    assert "Measure more of the 150 clones that have both (--probe-fraction, now 0.2)" in error


def test_the_same_error_is_said_once(clonal_h5ad: Make):
    assert len(found(task_of(clonal_h5ad(), clone="obs:clones"), "error")) == 1


def test_a_time_point_is_early_or_late(clonal_h5ad: Make):
    with pytest.raises(ValueError, match="time point 2 is both early and late"):
        task_of(clonal_h5ad(), late=["2", "6"])


def test_a_probe_of_all_clones_leaves_nothing_to_train(clonal_h5ad: Make, opened: Opened):
    path = clonal_h5ad(n_others=0, n_clones=3)
    with pytest.raises(InputError, match="Lower probe_fraction"):
        opened(task_of(path, probe_fraction=0.8))


def test_the_real_clones_can_be_paired(shared_data: Path):
    settings = task_of(shared_data / "clonal_larry781.h5ad", early=[2, 4], n_reference_components=16)
    assert found(settings, "error") == []
    obs = anndata.read_h5ad(settings.path).obs
    days = obs.groupby("clone", observed=True)["day"].agg(set)
    n_both = sum(6 in one and bool(one & {2, 4}) for one in days)
    assert any(f"{n_both} clones have both" in line for line in found(settings, "ok"))
    assert any(f"{round(n_both / 2)} pairs are measured" in line for line in found(settings, "warning"))
