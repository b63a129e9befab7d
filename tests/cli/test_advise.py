"""`nsl advise` as a user meets it: answers with intervals, refusals that say what to do, mistakes named before work."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nsl_assets.cli import main
from nsl_assets.laws import noise_law

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "published_mi.csv"
needs_published = pytest.mark.skipif(not PUBLISHED.exists(), reason="the published measurements are not here")
DEPTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
SIZES = (300, 1000, 3000, 10000)

Nsl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nsl(storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs `nsl advise`; gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", "advise", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def rows(*, model: str = "pca", ubar: float = 200.0, sizes: tuple[int, ...] = SIZES, depths=DEPTHS) -> pd.DataFrame:
    """Measurements of a model that learns from cells: Imax grows with the training size."""
    rng = np.random.default_rng(len(model))
    return pd.DataFrame(
        {
            "task": "protein",
            "model": model,
            "n_cells": n_cells,
            "umis_per_cell": depth,
            "seed": seed,
            "mi_bits": noise_law(depth, 3 - (n_cells / 30) ** -0.5, ubar) + rng.normal(0, 0.01),
        }
        for n_cells in sizes
        for depth in depths
        for seed in range(4)
    )


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes measurements to one file."""

    def write(*parts: pd.DataFrame) -> Path:
        path = tmp_path / "measurements.csv"
        pd.concat(parts).to_csv(path, index=False)
        return path

    return write


def answers(nsl: Nsl, *arguments: object) -> dict[tuple[str, str], dict]:
    code, out, err = nsl(*arguments, "--json")
    assert code == 0, err
    return {(one["model"], one["question"]): one for one in json.loads(out)}


def test_depth_and_headroom_need_no_prices(nsl: Nsl, table: Callable[..., Path]) -> None:
    found = answers(nsl, table(rows()))
    assert {question for _, question in found} == {"target_depth", "headroom", "what_pays"}
    depth = found["pca", "target_depth"]
    assert not depth["is_refused"]
    # 90 % of Imax of Eq. 1: ū (2^(1.8 Imax) - 1) / (2^(2 Imax) - 2^(1.8 Imax))
    imax_bits = 3 - (10000 / 30) ** -0.5
    expected = 200 * (2 ** (1.8 * imax_bits) - 1) / (2 ** (2 * imax_bits) - 2 ** (1.8 * imax_bits))
    (estimate, *_) = depth["estimates"].values()
    assert estimate["low"] < expected < estimate["high"]
    assert f"{round(estimate['value'], -1):,.0f}"[:2] in depth["sentence"]


def test_money_buys_cells_and_depth(nsl: Nsl, table: Callable[..., Path]) -> None:
    path = table(rows(), rows(model="scvi", ubar=400.0))
    money = ("--price-per-cell", 0.1, "--price-per-read", 2e-6, "--budget", 500)
    sequencing = ("--reads-per-cell", 40000, "--total-umis-per-cell", 15000, "--panel-share", 1)
    found = answers(nsl, path, *money, *sequencing)
    assert {question for _, question in found} == {
        "target_depth", "headroom", "budget", "cheapest", "frontier", "what_pays",
    }  # fmt: skip
    frontier = found["pca", "frontier"]["plans"]
    assert len(frontier) > 5
    bits = [plan["bits"] for plan in frontier]
    assert bits == sorted(bits)
    assert bits[-1] > bits[0]
    for plan in frontier:
        assert plan["low_bits"] <= plan["bits"] <= plan["high_bits"]
    assert "panel_assumed_complete" not in found["pca", "target_depth"]["flags"]
    richer = answers(nsl, path, *money[:-1], 2000, *sequencing)
    best = [found["pca", "budget"]["estimates"], richer["pca", "budget"]["estimates"]]
    assert best[0] != best[1]


def test_what_is_assumed_is_flagged(nsl: Nsl, table: Callable[..., Path]) -> None:
    found = answers(nsl, table(rows()), "--price-per-cell", 0.1, "--price-per-read", 1e-6, "--budget", 500)
    assert {"saturation_assumed", "panel_assumed_complete"} <= set(found["pca", "budget"]["flags"])


def test_a_curve_without_plateau_is_refused_with_what_to_do(nsl: Nsl, table: Callable[..., Path]) -> None:
    found = answers(nsl, table(rows(ubar=3e4)))
    refused = found["pca", "target_depth"]
    assert refused["is_refused"]
    assert "plateau" in refused["sentence"]
    assert "equence at least" in refused["sentence"]


def test_one_training_size_gets_advice_on_depth_only(nsl: Nsl, table: Callable[..., Path]) -> None:
    found = answers(nsl, table(rows(sizes=(1000,))), "--price-per-cell", 0.1, "--price-per-read", 1e-6)
    assert not found["pca", "target_depth"]["is_refused"]
    assert found["pca", "frontier"]["is_refused"]
    assert "one training size" in found["pca", "frontier"]["sentence"]


def test_a_table_without_sizes_asks_for_todays(nsl: Nsl, table: Callable[..., Path]) -> None:
    path = table(rows(sizes=(1000,)).drop(columns="n_cells"))
    code, out, err = nsl(path)
    assert (code, out) == (1, "")
    assert "--n-cells" in err
    assert not answers(nsl, path, "--n-cells", 1000)["pca", "target_depth"]["is_refused"]


def test_text_has_every_question_and_the_meaning_of_every_flag(nsl: Nsl, table: Callable[..., Path]) -> None:
    code, out, err = nsl(table(rows()), "--price-per-cell", 0.1, "--price-per-read", 1e-6, "--budget", 500)
    assert code == 0
    for title in ("How deep?", "What is left to gain?", "What does the budget buy?", "What is cheapest?"):
        assert title in out
    assert "saturation_assumed: " in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--price-per-cell", "-1"], ["--price-per-cell", "-1"]),
        (["--budget", "100"], ["price"]),
        (["--price-per-cell", "1", "--budget", "0.5"], ["0.5", "one"]),
        (["--reads-per-cell", "5000"], ["reads per cell", "missing"]),
        (["--reads-per-cell", "1000", "--total-umis-per-cell", "9000"], ["9,000", "1,000"]),
        (["--reads-per-cell", "5000", "--total-umis-per-cell", "900", "--library-complexity", "9"], ["one"]),
        (["--panel-share", "1.5"], ["--panel-share", "1.5"]),
        (["--target", "1"], ["--target"]),
        (["--n-cells", "777"], ["777", "300", "10,000"]),
    ],
)
def test_mistakes_are_named(arguments: list[str], named: list[str], nsl: Nsl, table: Callable[..., Path]) -> None:
    code, out, err = nsl(table(rows(sizes=(300, 10000))), *arguments)
    assert code == 1
    assert out.strip() == ""
    assert all(word in err for word in named), err
    assert "Traceback" not in err


def test_a_study_that_was_not_run_says_what_to_run(nsl: Nsl) -> None:
    code, _, err = nsl("quickstart")
    assert code == 1
    assert "nsl run quickstart" in err
    code, _, err = nsl("no_such_study")
    assert code == 1
    assert "quickstart" in err


@needs_published
def test_published_table_gets_advice_on_every_task(nsl: Nsl) -> None:
    code, out, err = nsl(PUBLISHED, "--target", 0.9, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len({one["task"] for one in found}) == 4
    assert len(found) == 16 * 3
    scvi = next(
        one for one in found if "clone" in one["task"] and (one["model"], one["question"]) == ("SCVI", "target_depth")
    )
    (estimate, *_) = scvi["estimates"].values()
    assert estimate["value"] == pytest.approx(1835, rel=2e-3)
