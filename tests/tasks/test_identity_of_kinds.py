"""What decides the identity of a task: old kinds keep theirs, and each new setting moves its own part."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nsl_assets.study import parse_project
from nsl_assets.tasks import (
    ClonalPairs,
    FileTask,
    H5adTask,
    SimulatedCells,
    SpatialPairs,
    auxiliary_identity,
    data_identity,
)
from nsl_resources.artifacts import content_hash

Make = Callable[..., Path]


def test_tasks_of_earlier_versions_keep_their_hashes():
    """As they were before there were other kinds: stored data sets and models stay valid."""
    settings = SimulatedCells()
    assert content_hash("data", data_identity(settings)) == "59b107ea5023ff8490389f641733fb9a"
    assert content_hash("auxiliary", auxiliary_identity(settings)) == "1b2861cbd888c78ce766705633dfe518"


def test_an_h5ad_task_is_identified_by_what_it_always_was(small_h5ad: Path):
    task = H5adTask(path=small_h5ad, auxiliary="obsm:protein", total_umis=4.0)
    sha256 = task.content_sha256()
    assert data_identity(task) == {
        "code_version": "1",
        "kind": "h5ad",
        "file_sha256": sha256,
        "layer": None,
        "group": None,
        "max_cells": None,
        "probe_fraction": 0.3,
        "validation_fraction": 0.1,
        "split_seed": 0,
    }
    assert auxiliary_identity(task) == {
        "code_version": "1",
        "kind": "h5ad",
        "file_sha256": sha256,
        "auxiliary": "obsm:protein",
        "auxiliary_kind": "auto",
        "auxiliary_transform": "auto",
        "unknown_labels": [],
    }


def test_real_tasks_of_earlier_versions_keep_their_hashes(shared_data: Path):
    path = shared_data / "citeseq_pbmc10k.h5ad"
    task = H5adTask(path=path, auxiliary="obsm:protein")
    assert content_hash("data", data_identity(task)) == "66803fdd3dcabef0cae6ef32805202d5"
    assert content_hash("auxiliary", auxiliary_identity(task)) == "a8f0bedfb6c868108a562726de9b1105"


def clones(path: Path, **changes: object) -> ClonalPairs:
    given = {"path": path, "clone": "obs:clone", "time": "obs:day", "early": ["2"], "late": ["6"]}
    return ClonalPairs.model_validate({**given, **changes})


def tissue(path: Path, **changes: object) -> SpatialPairs:
    return SpatialPairs.model_validate({"path": path, **changes})


@pytest.mark.parametrize(
    ("make", "change", "data_changes", "auxiliary_changes"),
    [
        (clones, {"paired_auxiliary": "same_model"}, False, True),
        (clones, {"n_reference_components": 8}, False, True),
        (clones, {"early": ["4"]}, True, False),
        (clones, {"probe_overlap": True}, True, False),
        (clones, {"total_umis": 3.0}, False, False),
        (tissue, {"n_neighbours": 4}, False, True),
        (tissue, {"spatial_neighbours": "redrawn"}, False, True),
        (tissue, {"n_blocks": 32}, True, False),
        (tissue, {"section": "obs:slice"}, True, False),
    ],
)
def test_each_setting_decides_its_part(
    small_h5ad: Path,
    make: Callable[..., FileTask],
    change: dict[str, object],
    data_changes: bool,
    auxiliary_changes: bool,
):
    base, other = make(small_h5ad), make(small_h5ad, **change)
    assert (data_identity(base) != data_identity(other)) is data_changes
    assert (auxiliary_identity(base) != auxiliary_identity(other)) is auxiliary_changes


STUDY = {"sizes": [100], "models": {"pca": {"kind": "pca"}}, "noise": {"kind": "binomial_thinning", "levels": [1.0]}}
CLONES = {"kind": "clonal_pairs", "path": "a.h5ad", "clone": "obs:c", "time": "obs:t", "early": [2], "late": [6]}


def tasks_of(protocol: str, **task: object) -> dict[str, object]:
    tasks = {"clones": {**CLONES, **task}, "tissue": {"kind": "spatial_pairs", "path": "b.h5ad", **task}}
    study = parse_project({"studies": {"s": {**STUDY, "protocol": protocol, "tasks": tasks}}}).study("s")
    return study.tasks


def test_the_published_protocol_sets_the_switches_of_pairs():
    published, corrected = tasks_of("published"), tasks_of("corrected")
    for task in published.values():
        assert (task.paired_auxiliary, task.probe_overlap) == ("same_model", True)
    assert (published["tissue"].n_neighbours, published["tissue"].spatial_neighbours) == (4, "redrawn")
    for task in corrected.values():
        assert (task.paired_auxiliary, task.probe_overlap) == ("fixed", False)
    assert (corrected["tissue"].n_neighbours, corrected["tissue"].spatial_neighbours) == (5, "drawn_once")


def test_each_switch_can_be_set_alone():
    for task in tasks_of("published", probe_overlap=False).values():
        assert (task.paired_auxiliary, task.probe_overlap) == ("same_model", False)
    for task in tasks_of("corrected", paired_auxiliary="same_model").values():
        assert (task.paired_auxiliary, task.probe_overlap) == ("same_model", False)
