"""From the depth of a panel to that over all genes; and files that must be the very ones."""

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest

from nsl_assets.errors import InputError
from nsl_assets.tasks import H5adTask, Task, TaskSettings, inspect, total_umi_factor

Opened = Callable[[TaskSettings], Task]


def with_totals(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> H5adTask:
    adata = anndata.read_h5ad(path)
    adata.obs["total"] = change(np.asarray(adata.X.sum(axis=1), dtype=float).ravel())
    adata.write_h5ad(path)
    return H5adTask(path=path, auxiliary="obs:cell_type", total_umis="obs:total")


def errors(task: H5adTask) -> list[str]:
    return [finding.message for finding in inspect(task) if finding.level == "error"]


def test_the_factor_is_that_of_the_probe_cells(small_h5ad: Path, opened: Opened):
    settings = with_totals(small_h5ad, lambda panel: panel * np.linspace(2, 6, panel.size))
    task = opened(settings)
    adata = anndata.read_h5ad(small_h5ad)[task.cell_names[task.probe_rows()].astype(str)]
    assert total_umi_factor(settings, task) == pytest.approx(adata.obs["total"].sum() / adata.X.sum())


def test_a_factor_is_taken_as_it_is_and_none_is_none(small_h5ad: Path, opened: Opened):
    settings = H5adTask(path=small_h5ad, auxiliary="obs:cell_type", total_umis=3)
    task = opened(settings)
    assert total_umi_factor(settings, task) == 3.0
    assert total_umi_factor(settings.model_copy(update={"total_umis": None}), task) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda panel: np.where(np.arange(panel.size) == 7, np.nan, panel), "no number of UMIs for cell cell7"),
        (lambda panel: np.where(np.arange(panel.size) == 9, 1, panel), "obs:total holds 1 for cell cell9, fewer than"),
    ],
)
def test_an_impossible_total_is_an_error_that_names_the_cell(small_h5ad: Path, opened: Opened, change, said: str):
    settings = with_totals(small_h5ad, change)
    assert any(said in error for error in errors(settings))


def test_totals_of_a_panel_are_described_and_no_longer_missed(small_h5ad: Path):
    findings = inspect(with_totals(small_h5ad, lambda panel: panel * 4))
    assert any("25.0% of them in these genes" in finding.message for finding in findings)
    assert not any("--total-umis" in finding.message for finding in findings)


@pytest.mark.parametrize("value", [0.5, "n_umi", "obsm:total", float("nan"), float("inf")])
def test_what_is_neither_a_column_nor_a_factor_is_refused(value: object):
    with pytest.raises(ValueError, match=r"obs:COLUMN|not a finite number of at least 1"):
        H5adTask(path=Path("x.h5ad"), auxiliary="obs:a", total_umis=value)


def test_another_content_than_the_expected_one_is_refused(small_h5ad: Path):
    task = H5adTask(path=small_h5ad, auxiliary="obs:cell_type")
    right = task.model_copy(update={"sha256": task.content_sha256().upper()})
    assert errors(right) == []
    wrong = task.model_copy(update={"sha256": "ab" * 32})
    assert any("it is another file" in error for error in errors(wrong))
    with pytest.raises(InputError, match="the task expects abab"):
        wrong.content_sha256()
