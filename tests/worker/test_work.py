"""One cell of the grid in this process: what is measured for each kind of task, and its certificate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from nsl_assets import probing
from nsl_assets.grid import Measuring, Platform, prepare_data, prepare_noised
from nsl_assets.identity import cell_hashes
from nsl_assets.randomness import integer_seed
from nsl_assets.study import GridCell, Study, parse_project
from nsl_assets.worker import CellWork, WorkerOrder
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import Dispatcher, Report, WorkerResult
from nsl_resources.results import Results

CELL = GridCell(task="cells", model="pca", n_cells=150, level=0.5, seed=1)


class NoWorkers(Dispatcher):
    """Starts nothing: the work is done in this process."""

    def run(self, jobs, **_):
        assert not list(jobs), "everything is stored already"
        yield from ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Cells in a plane whose expression follows their place; clones of an early and a late cell nearby; totals."""
    rng = np.random.default_rng(0)
    places = np.tile(rng.uniform(0, 10, (300, 2)), (2, 1)) + rng.normal(0, 0.3, (600, 2))
    rates = np.exp((places[:, :1] / 5 - 1) * np.linspace(-1, 1, 60))
    counts = rng.poisson(6 * rates)
    obs = pd.DataFrame(
        {
            "clone": [f"clone{i % 300}" for i in range(600)],
            "day": ["2"] * 300 + ["6"] * 300,
            "kind": np.where(places[:, 0] < 5, "left", "right"),
            "donor": [f"donor{i % 20}" for i in range(600)],
            "total": counts.sum(axis=1) * 2.5,
        },
        index=[f"cell{i}" for i in range(600)],
    )
    path = tmp_path / "cells.h5ad"
    var = pd.DataFrame(index=[f"gene{i}" for i in range(60)])
    anndata.AnnData(csr_matrix(counts), obs=obs, var=var, obsm={"spatial": places}).write_h5ad(path)
    return path


KINDS: Mapping[str, dict[str, Any]] = {
    "classes": {"kind": "h5ad", "auxiliary": "obs:kind"},
    "grouped": {"kind": "h5ad", "auxiliary": "obs:kind", "group": "donor"},
    "clonal": {"kind": "clonal_pairs", "clone": "obs:clone", "time": "obs:day", "early": ["2"], "late": ["6"]},
    "spatial": {"kind": "spatial_pairs", "n_blocks": 30},
    "same_model": {"kind": "spatial_pairs", "n_blocks": 30, "paired_auxiliary": "same_model"},
    "overlap": {"kind": "spatial_pairs", "n_blocks": 30, "probe_overlap": True},
}


def study_of(file: Path, kind: str) -> Study:
    content = {
        "sizes": [150],
        "n_seeds": 2,
        "tasks": {"cells": {"path": str(file), "total_umis": "obs:total", **KINDS[kind]}},
        "models": {"pca": {"kind": "pca", "n_components": 4}},
        "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.5]},
        "probing": {"headline": "gaussian_copula", "estimators": ["gaussian_copula"]},
    }
    return parse_project({"studies": {"s": content}}).study("s")


def measured(study: Study, storage: Path, scratch: Path):
    """The record of the worker, the row that it becomes, and the opened task."""
    platform = Platform(Artifacts(storage), Results(storage), NoWorkers(), parse_project({}).machine)
    task = prepare_data(study, "cells", platform)
    prepare_noised(study, "cells", CELL.level, CELL.seed, platform)
    hashes = cell_hashes(study, CELL)
    work = CellWork(WorkerOrder(study=study, cell=CELL, hashes=hashes, storage=storage), scratch, lambda _: None)
    work.run()
    folder = platform.artifacts.path("measurement", hashes.trained.measurement["gaussian_copula"])
    embedding = platform.artifacts.path("embedding", hashes.trained.embedding) / "embedding.npy"
    (outcome,) = Measuring("s", study, platform).run([CELL])
    return json.loads((folder / "measurement.json").read_text()), outcome.rows[0], task, np.load(embedding)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_task_is_measured_with_its_certificate(kind: str, file: Path, storage: Path, tmp_path: Path):
    study = study_of(file, kind)
    record, row, task, embedding = measured(study, storage, tmp_path)
    pairs = task.pairs(CELL.seed, CELL.level)
    assert row.n_pairs == len(pairs.rows) == {"clonal": 150, "overlap": 600}.get(kind, row.n_pairs)
    assert row.mi_bits > 0.2
    assert row.total_umis_per_cell == pytest.approx(2.5 * row.umis_per_cell)
    certificate = (row.n_shared_cells, row.n_shared_groups, row.n_shared_partners)
    assert certificate == tuple(record["leakage"].values())
    expected = {"classes": (0, None, None), "grouped": (0, 0, None)}.get(kind, (0, 0, 0))
    assert certificate == expected if kind != "overlap" else min(certificate) > 0
    # An estimate from the stored embedding and the file, with neither worker nor task in between.
    z = embedding[np.searchsorted(task.probe_rows(), pairs.rows)]
    y = embedding[np.searchsorted(task.probe_rows(), pairs.partners)].astype(float)
    signal = probing.as_auxiliary(y) if kind == "same_model" else task.auxiliary.take(pairs.partners)
    group = None if kind in ("classes", "clonal") else task.group[pairs.rows]
    again = probing.estimate(
        z,
        signal,
        estimator="gaussian_copula",
        settings=study.probing,
        seed=integer_seed("probe", CELL.seed),
        group=group,
    )
    assert again.value_bits == row.mi_bits


def test_a_measurement_without_a_certificate_has_none(
    file: Path, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stored by a version that did not count: the row says NULL, and everything else is as it was."""
    study, record_of = study_of(file, "classes"), Measuring._record
    _, before, _, _ = measured(study, storage, tmp_path)
    older = {"leakage"}
    monkeypatch.setattr(
        Measuring,
        "_record",
        lambda self, digest: {key: value for key, value in record_of(self, digest).items() if key not in older},
    )
    _, row, _, _ = measured(study, storage, tmp_path)
    assert (row.n_shared_cells, row.n_shared_groups, row.n_shared_partners) == (None, None, None)
    assert row.mi_bits == before.mi_bits


def test_an_impossible_total_stops_before_anything_is_trained(file: Path, storage: Path, tmp_path: Path):
    adata = anndata.read_h5ad(file)
    adata.obs["total"] = 0.0
    adata.write_h5ad(file)
    with pytest.raises(ValueError, match="obs:total holds 0 for cell"):
        measured(study_of(file, "classes"), storage, tmp_path)


class NoGpuMemory(Dispatcher):
    """Ends every job as a worker does that has filled its GPU."""

    def run(self, jobs, on_message, repeat, **_):
        for job in jobs:
            on_message(job.label, Report({"out_of_memory": "CUDA out of memory.", "peak_device_memory_mib": 7_000.5}))
            result = WorkerResult(job.label, 42, "out of memory", 3.0, 2.0, 900.0, "")
            repeat(result)
            yield result


def test_a_worker_that_ran_out_of_memory_leaves_what_it_held_of_the_gpu(file: Path, storage: Path):
    study, results = study_of(file, "classes"), Results(storage)
    platform = Platform(Artifacts(storage), results, NoGpuMemory(), parse_project({}).machine)
    prepare_data(study, "cells", platform)
    prepare_noised(study, "cells", CELL.level, CELL.seed, platform)
    assert list(Measuring("s", study, platform).run([CELL])) == []  # it is to be repeated
    (row,) = results.query("select status, reason, peak_memory_mib, peak_device_memory_mib from run")
    assert (row["status"], row["peak_memory_mib"], row["peak_device_memory_mib"]) == ("failed", 900.0, 7_000.5)
    assert "CUDA out of memory." in str(row["reason"])
