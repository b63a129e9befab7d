"""Ordered stages: their order, and which label of a file is which stage."""

from pathlib import Path

import anndata
import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.tasks import H5adTask, inspect
from nsl_assets.tasks.auxiliary import read_auxiliary
from nsl_assets.tasks.h5ad import open_h5ad
from nsl_assets.tasks.stages import number_in, require_order, stage_of_labels


def task_of(path: Path, stages: list[object] | str, **changes: object) -> H5adTask:
    given = {"path": path, "auxiliary": "obs:stage", "auxiliary_kind": "ordered", "stages": stages}
    return H5adTask.model_validate({**given, **changes})


def with_stages(path: Path, labels: list[object]) -> Path:
    adata = anndata.read_h5ad(path)
    adata.obs["stage"] = [labels[i % len(labels)] for i in range(adata.n_obs)]
    adata.write_h5ad(path)
    return path


@pytest.mark.parametrize(
    ("labels", "stages"),
    [
        (["E9.5", "E10.0", "E8.5"], ["E8.5", "E9.5", "E10.0"]),
        (["400_minutes", "300_minutes", "500_minutes"], [300, 400, 500]),
        ([8.5, 6.0, 7.25], [6, 7.25, 8.5]),
        (["adult", "larva", "egg"], ["egg", "larva", "adult"]),
        ([-2, 0, 3], [-2, 0, 3]),
    ],
)
def test_classes_are_in_the_order_of_the_stages_and_keep_their_cells(
    small_h5ad: Path, labels: list[object], stages: list[object]
):
    path = with_stages(small_h5ad, labels)
    with open_h5ad(path) as file:
        auxiliary = read_auxiliary(file, task_of(path, stages))
    assert auxiliary.kind == "categorical"
    cells = anndata.read_h5ad(path).obs["stage"].astype(str).tolist()
    assert [auxiliary.names[code] for code in auxiliary.values] == cells
    for name, stage in zip(auxiliary.names, stages, strict=True):
        assert name == str(stage) or number_in(name) == float(str(stage))


def test_an_unknown_stage_is_not_measured(small_h5ad: Path):
    path = with_stages(small_h5ad, ["300", "mixed", "400"])
    with open_h5ad(path) as file:
        auxiliary = read_auxiliary(file, task_of(path, [300, 400], unknown_labels=["mixed"]))
    np.testing.assert_array_equal(auxiliary.is_observed, np.arange(400) % 3 != 1)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([300, 500, 400], "stage '400' comes after '500'.*as in 300, 400, 500"),
        (["E8.5", "E9.5", "E9.0"], "stage 'E9.0' comes after 'E9.5'"),
        (["egg", "egg"], "'egg' is named 2 times"),
    ],
)
def test_stages_that_are_not_in_order_are_refused(stages: list[object], said: str):
    with pytest.raises(ValueError, match=said):
        task_of(Path("x.h5ad"), stages)


def test_stages_and_their_kind_belong_together():
    for stages, changes in (([1, 2], {"auxiliary_kind": "categorical"}), ([], {})):
        with pytest.raises(ValueError, match="belong together"):
            task_of(Path("x.h5ad"), stages, **changes)
    with pytest.raises(ValueError, match="of one column"):
        task_of(Path("x.h5ad"), [1, 2], auxiliary="obsm:stages")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["300", "400", "450"], "'450', which is not among the stages 300, 400, 500"),
        (["300", "400"], "no cell of obs:stage is of stage '500'"),
        (["300", "400", "500_a", "500_b"], "'500_a' and '500_b', which are both stage '500'"),
    ],
)
def test_a_label_that_is_no_stage_is_named(small_h5ad: Path, labels: list[object], said: str):
    task = task_of(with_stages(small_h5ad, labels), [300, 400, 500])
    errors = [finding.message for finding in inspect(task) if finding.level == "error"]
    assert any(said in error for error in errors)


def test_only_text_with_one_number_is_a_number():
    assert [number_in(label) for label in ("E8.5", "day6", "-2", "p7 day 2", "egg")] == [8.5, 6.0, -2.0, None, None]
    require_order(("late", "E8.5", "early"))
    with pytest.raises(InputError, match="not among the stages"):
        stage_of_labels(["p7 day 2"], ("2", "7"), "obs:stage")


def test_the_real_time_points_are_read(shared_data: Path):
    path = shared_data / "devtime_worm_embryo.h5ad"
    task = task_of(path, [300, 400, 500], auxiliary="obs:time_point", unknown_labels=["mixed"])
    with open_h5ad(path) as file:
        auxiliary = read_auxiliary(file, task)
    assert auxiliary.names == ("300_minutes", "400_minutes", "500_minutes")
    assert np.bincount(auxiliary.values[auxiliary.is_observed]).tolist() == [183, 461, 751]


def test_alphabetical_takes_all_labels_in_the_order_of_their_text(small_h5ad: Path):
    path = with_stages(small_h5ad, ["P0", "E1000", "E0875", "E0900"])
    with open_h5ad(path) as file:
        auxiliary = read_auxiliary(file, task_of(path, "alphabetical"))
    assert auxiliary.names == ("E0875", "E0900", "E1000", "P0")
    cells = anndata.read_h5ad(path).obs["stage"].astype(str).tolist()
    assert [auxiliary.names[code] for code in auxiliary.values] == cells
    assert task_of(path, "alphabetical").identity()["stages"] == "alphabetical"


def test_alphabetical_refuses_numbers_that_are_then_out_of_order(small_h5ad: Path):
    path = with_stages(small_h5ad, ["E9.5", "E10.5", "E8.5"])
    with open_h5ad(path) as file, pytest.raises(InputError, match=r"'E10.5' and 'E8.5'.*earliest first"):
        read_auxiliary(file, task_of(path, "alphabetical"))
