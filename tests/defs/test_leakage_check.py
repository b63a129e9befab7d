"""The check `no_leakage`: what a task draws, and what its measurements certify."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import dagster as dg
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from nsl_assets.defs.checks import study_checks
from nsl_assets.grid import Platform, prepare_data
from nsl_assets.study import Machine, parse_project
from nsl_resources.artifacts import Artifacts
from nsl_resources.resources import StorageResource
from nsl_resources.results import TABLES, CrossNoiseMeasurementRow, MeasurementRow, Results

Check = Callable[..., dg.AssetCheckResult]
Certificate = tuple[int | None, ...]


@pytest.fixture
def check(tmp_path: Path, storage: Path) -> Check:
    """Stores a task of neighbouring cells, and certificates of its measurements; evaluates the check."""
    rng = np.random.default_rng(0)
    path = tmp_path / "tissue.h5ad"
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(300)])
    places = {"spatial": rng.uniform(0, 1, (300, 2))}
    anndata.AnnData(csr_matrix(rng.poisson(2, (300, 30))), obs=obs, obsm=places).write_h5ad(path)

    def evaluated(*certificates: Certificate, protocol: str = "corrected", **task: Any) -> dg.AssetCheckResult:
        content = {
            "sizes": [100],
            "protocol": protocol,
            "tasks": {"cells": {"kind": "spatial_pairs", "path": str(path), "n_blocks": 20, **task}},
            "models": {"pca": {"kind": "pca"}},
            "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.1]},
        }
        study = parse_project({"studies": {"s": content}}).study("s")
        results = Results(storage)
        no_workers: Any = None
        prepare_data(study, "cells", Platform(Artifacts(storage), results, no_workers, Machine()))
        results.land("measurement", [row(seed, one, protocol) for seed, one in enumerate(certificates)])
        (found,) = [one for one in study_checks("s", study) if "no_leakage" in str(one.check_keys)]
        return found(storage=StorageResource(root=str(storage)))

    return evaluated


def row(seed: int, certificate: Certificate, protocol: str) -> MeasurementRow:
    cells, groups, partners = certificate
    named = dict.fromkeys(("data_hash", "noised_hash", "model_hash", "embedding_hash", "measurement_hash"), "a" * 32)
    return MeasurementRow(
        study="s",
        task="cells",
        model="pca",
        n_cells=100,
        level=1.0,
        seed=seed,
        is_trained=True,
        estimator="pooled",
        is_headline=True,
        mi_bits=1.0,
        low_bits=None,
        high_bits=None,
        floor_bits=None,
        ceiling_bits=None,
        umis_per_cell=60.0,
        n_probe_cells=90,
        n_nonempty_probe_cells=90,
        n_pairs=90,
        n_train_cells=100,
        n_shared_cells=cells,
        n_shared_groups=groups,
        n_shared_partners=partners,
        flags=(),
        diagnostics={},
        protocol=protocol,
        measured_at=dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        **named,
    )


def test_a_crossed_measurement_is_certified_too(check: Check, storage: Path):
    assert numbers(check((0, 0, 0)))["n_measurements"] == 1
    results = Results(storage)
    results.land("cross_noise_measurement", [crossed_row((0, 0, 0))])
    clean = check((0, 0, 0))
    assert clean.passed
    assert numbers(clean)["n_measurements"] == 2
    results.land("cross_noise_measurement", [crossed_row((0, 0, 4), probe_level=0.05)])
    result = check((0, 0, 0))
    assert not result.passed
    assert numbers(result)["n_leaking"] == 1


def crossed_row(certificate: Certificate, probe_level: float = 0.1) -> CrossNoiseMeasurementRow:
    """The same measurement with the model probed at another level."""
    matched = row(0, certificate, "corrected")
    names = {column.name for column in TABLES["cross_noise_measurement"].columns}
    shared = {column.name: getattr(matched, column.name) for column in TABLES["measurement"].columns}
    levels = {"train_level": 1.0, "probe_level": probe_level}
    depths = {"train_umis_per_cell": 60.0, "probe_umis_per_cell": 6.0}
    noised = {"train_noised_hash": "a" * 32, "probe_noised_hash": "b" * 32}
    return CrossNoiseMeasurementRow(
        **{name: value for name, value in shared.items() if name in names}, **levels, **depths, **noised
    )


def numbers(result: dg.AssetCheckResult) -> dict[str, Any]:
    return {name: value.value for name, value in result.metadata.items()}


def test_a_clean_task_passes_and_old_measurements_are_counted(check: Check):
    result = check((0, 0, 0), (0, None, None), (None, None, None))
    assert result.passed
    found = numbers(result)
    assert (found["n_measurements"], found["n_leaking"], found["n_without_certificate"]) == (3, 0, 1)
    assert found["n_shared_cells"] == found["n_shared_groups"] == found["n_shared_partners"] == 0


@pytest.mark.parametrize("certificate", [(1, 0, 0), (0, 2, 0), (0, None, 3)])
def test_a_measurement_that_shares_anything_fails(check: Check, certificate: Certificate):
    result = check((0, 0, 0), certificate)
    assert not result.passed
    assert numbers(result)["n_leaking"] == 1


def test_an_overlap_fails_unless_it_is_as_published(check: Check):
    assert not check(probe_overlap=True).passed
    published = check((200, 14, 70), protocol="published")
    assert published.passed
    assert numbers(published)["n_shared_partners"] > 0
