"""The chain of hashes: what changes which link, and above all what does not."""

from typing import get_args

import pytest

from nsl_assets import noise, probing
from nsl_assets.identity import CellHashes, cell_hashes
from nsl_assets.probing import EstimatorName
from nsl_assets.study import GridCell, parse_project


def hashes(
    *, n_cells: int = 200, level: float = 0.1, seed: int = 0, model: str = "pca", **changes: object
) -> CellHashes:
    content = {
        "sizes": [100, 200],
        "n_seeds": 2,
        "tasks": {"cells": {"kind": "simulated_cells", "n_cells": 500}},
        "models": {"pca": {"kind": "pca"}, "oracle": {"kind": "oracle"}},
        "noise": {"kind": "binomial_thinning", "levels": [1.0, 0.1]},
        **changes,
    }
    study = parse_project({"studies": {"s": content}}).study("s")
    return cell_hashes(study, GridCell(task="cells", model=model, n_cells=n_cells, level=level, seed=seed))


def links(of: CellHashes) -> dict[str, object]:
    return {"data": of.data, "noised": of.noised, "model": of.trained.model, "embedding": of.trained.embedding} | {
        f"measurement {name}": digest for name, digest in of.trained.measurement.items()
    }


def changed(one: CellHashes, other: CellHashes) -> set[str]:
    return {name for name, digest in links(one).items() if links(other)[name] != digest}


MEASUREMENTS = {f"measurement {name}" for name in get_args(EstimatorName)}
FROM_CRITIC = {"measurement pooled", "measurement infonce", "measurement gaussian_copula"}
FROM_MODEL = {"model", "embedding"} | MEASUREMENTS


def test_the_same_settings_have_the_same_hashes_and_every_link_its_own():
    assert hashes() == hashes()
    assert len(set(links(hashes()).values())) == len(links(hashes()))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"probing": {"infonce": {"max_steps": 7}}}, FROM_CRITIC),
        ({"probing": {"lmi": {"k_neighbours": 5}}}, {"measurement lmi"}),
        ({"models": {"pca": {"kind": "pca", "n_components": 8}}}, FROM_MODEL),
        ({"n_cells": 100}, FROM_MODEL),
        ({"seed": 1}, {"noised"} | FROM_MODEL),
        ({"level": 1.0}, {"noised"} | FROM_MODEL),
        ({"tasks": {"cells": {"kind": "simulated_cells", "n_cells": 501}}}, {"data", "noised"} | FROM_MODEL),
        # The auxiliary signal of a simulation, but not its counts.
        ({"tasks": {"cells": {"kind": "simulated_cells", "n_cells": 500, "correlation": 0.5}}}, None),
        # What decides no number changes no hash.
        ({"description": "x", "n_seeds": 5, "laws": {"confidence": 0.9}, "keep_models": "none"}, set()),
    ],
)
def test_a_change_reaches_its_own_link_and_what_follows(change, expected):
    if expected is None:
        assert changed(hashes(), hashes(**change)) >= MEASUREMENTS
    else:
        assert changed(hashes(), hashes(**change)) == expected


def test_level_one_is_stored_once_for_all_seeds_and_still_measured_by_each():
    first, second = hashes(level=1.0), hashes(level=1.0, seed=1)
    assert first.noised == second.noised
    assert first.trained.model != second.trained.model


def test_the_untrained_model_has_seen_no_training_cells():
    deepest = hashes(level=1.0)
    assert deepest.untrained is not None
    assert deepest.untrained.model != deepest.trained.model
    assert hashes(level=0.1).untrained is None
    assert hashes(level=1.0, model="oracle").untrained is None


def test_a_new_code_version_of_probing_retrains_nothing(monkeypatch: pytest.MonkeyPatch):
    before = hashes()
    monkeypatch.setattr(probing, "CODE_VERSION", "changed")
    assert changed(before, hashes()) == MEASUREMENTS
    monkeypatch.undo()
    monkeypatch.setattr(noise, "CODE_VERSION", "changed")
    assert changed(before, hashes()) == {"noised"} | FROM_MODEL
