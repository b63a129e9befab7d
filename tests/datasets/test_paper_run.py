"""A task of the paper's study from its download to its law, on a small file of the published format."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from nsl_assets.cli import main
from nsl_assets.datasets import DATA_SETS
from nsl_assets.randomness import generator
from nsl_assets.study import paper_study, save_study
from nsl_assets.worker import CellWork, WorkerOrder
from nsl_resources.dispatch import Dispatcher, WorkerResult
from nsl_resources.resources import WorkersResource
from nsl_resources.results import Results

pytestmark = pytest.mark.slow
STAGES = ("E0850", "E0875", "P0")
N_CELLS, N_GENES = 600, 60


class InThisProcess(Dispatcher):
    """Workers without processes."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def run(self, jobs, **_):
        for job in jobs:
            CellWork(WorkerOrder.model_validate(job.payload), self.scratch, lambda _: None).run()
            yield WorkerResult(job.label, 0, "succeeded", 1.0, 1.0, 100.0, "")


def embryos(path: Path) -> bytes:
    """Cells of three stages, each of other genes, as CELLxGENE distributes them."""
    rng = generator("small embryos")
    stage = np.arange(N_CELLS) % len(STAGES)
    rates = np.full((len(STAGES), N_GENES), 1.0)
    for i in range(len(STAGES)):
        rates[i, i :: len(STAGES)] = 4.0
    counts = scipy.sparse.csr_matrix(rng.poisson(rates[stage]).astype(np.float32))
    obs = pd.DataFrame(
        {"author_day": [STAGES[i] for i in stage], "donor_id": [f"embryo_{i % 6}" for i in range(N_CELLS)]},
        index=[f"run_4.{i}" for i in range(N_CELLS)],
    ).astype("category")
    table = anndata.AnnData(counts, obs, pd.DataFrame(index=[f"ENSMUSG{i:011d}" for i in range(N_GENES)]))
    table.raw = table.copy()
    table.X = table.X.log1p()
    table.write_h5ad(path)
    return path.read_bytes()


@pytest.fixture
def nsl(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    (tmp_path / "dagster_project.toml").write_text("")
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.delenv("NSL_DATA", raising=False)
    monkeypatch.setattr(WorkersResource, "dispatcher", lambda _: InThisProcess(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def reduced(content: dict[str, Any]) -> dict[str, Any]:
    """The same tasks on a grid of six cells, with one model."""
    return {
        **content,
        "n_seeds": 1,
        "models": {"pca": {"kind": "pca", "n_components": 4}},
        "grids": {**content["grids"], "embryo": {"sizes": [100, 300], "levels": [1.0, 0.3, 0.1]}},
        "probing": {"estimators": ["infonce"], "infonce": {"max_steps_few_pairs": 30, "n_folds_few_pairs": 2}},
    }


def test_a_task_of_the_paper_is_fetched_planned_and_measured(
    nsl: Callable[..., tuple[int, str, str]], server: Any, storage: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    one = DATA_SETS["embryo"]
    source = replace(one.files[0], addresses=(server.address(one.files[0].name),))
    server.serve(source.name, embryos(tmp_path / "published.h5ad"))
    monkeypatch.setitem(DATA_SETS, "embryo", replace(one, files=(source,), n_cells=N_CELLS))
    whole = reduced(paper_study())
    save_study("paper", whole, storage)
    alone = {field: {"embryo": whole[field]["embryo"]} for field in ("tasks", "grids")}
    save_study("paper_embryo", {**whole, **alone}, storage)
    assert nsl("run", "paper_embryo")[0] == 1, "nothing is fetched yet"
    assert nsl("data", "fetch", "embryo")[0] == 0

    code, out, _ = nsl("plan", "paper")
    assert code == 0
    assert "2 training sizes × 3 noise levels × 1 seeds" in out and "task 'larry' is not priced" in out
    code, out, err = nsl("run", "paper_embryo")
    assert code == 0, err
    rows = Results(storage).query("select n_cells, level, mi_bits, ceiling_bits, n_shared_groups from measurement")
    assert {(row["n_cells"], row["level"]) for row in rows} == {(n, q) for n in (100, 300) for q in (1.0, 0.3, 0.1)}
    assert all(row["ceiling_bits"] == pytest.approx(np.log2(3), abs=0.05) for row in rows)
    assert max(row["mi_bits"] for row in rows) > 0.5
    assert all(row["n_shared_groups"] is None for row in rows), "embryos are not kept whole: nothing is certified"
