"""`nsl fit` as a user meets it: the published table, tables of any layout, rows that cannot be used."""

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
REQUIRED = {
    "ubar", "imax_bits", "ubar_low", "ubar_high", "imax_low_bits", "imax_high_bits", "target_depth",
    "target_depth_low", "target_depth_high", "r2_seed_means", "r2_points", "n_points", "flags", "aicc",
}  # fmt: skip

Nsl = Callable[..., tuple[int, str, str]]
Fit = Callable[..., list[dict]]


@pytest.fixture
def nsl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs `nsl fit`; gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", "fit", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def fit(nsl: Nsl) -> Fit:
    """Runs `nsl fit --json`; gives its objects."""

    def run(*arguments: object) -> list[dict]:
        code, out, err = nsl(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


def curve(
    *, imax_bits: float = 2.5, ubar: float = 200.0, seeds: int = 3, noise: float = 0.02, **columns
) -> pd.DataFrame:
    """Measurements of one curve at six depths."""
    rng = np.random.default_rng(5)
    rows = [
        {**columns, "umis_per_cell": depth, "seed": seed, "mi_bits": noise_law(depth, imax_bits, ubar) + noise * z}
        for seed in range(seeds)
        for depth, z in zip(DEPTHS, rng.normal(size=len(DEPTHS)), strict=True)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes curves to one file."""

    def write(*curves: pd.DataFrame, name: str = "table.csv") -> Path:
        frame = pd.concat(curves, ignore_index=True)
        path = tmp_path / name
        if path.suffix == ".parquet":
            frame.to_parquet(path)
        else:
            frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        return path

    return write


# The published table


@needs_published
def test_published_protocol_gives_the_published_depths_and_fits(fit: Fit) -> None:
    curves = fit(PUBLISHED, "--protocol", "published", "--by", "task,model,n_cells")
    assert len(curves) == 160
    assert all(set(one) >= REQUIRED | {"task", "model", "n_cells"} for one in curves)
    assert np.mean([one["r2_seed_means"] for one in curves]) == pytest.approx(0.97897, abs=2e-5)
    largest = {(one["task"], one["model"]): one for one in sorted(curves, key=lambda one: one["n_cells"])}
    assert largest["clone", "SCVI"]["target_depth"] == pytest.approx(5073.33, rel=1e-3)
    assert largest["author_day", "Geneformer"]["target_depth"] == pytest.approx(2571.69, rel=1e-3)


@needs_published
def test_corrected_protocol_gives_the_literal_depths(fit: Fit) -> None:
    curves = fit(PUBLISHED)
    scvi = {
        one["task"]: one["target_depth"]
        for one in sorted(curves, key=lambda one: one["n_cells"])
        if one["model"] == "SCVI"
    }
    assert scvi == pytest.approx({"protein_counts": 4624, "clone": 1835, "author_day": 737, "ng_idx": 1256}, rel=2e-3)


@needs_published
def test_cell_number_laws_of_the_published_table(fit: Fit) -> None:
    laws = fit(PUBLISHED, "--law", "cells", "--by", "task,model,quality", "--protocol", "published")
    chosen = [one for one in laws if one["model"] in ("Geneformer", "SCVI") and one["level"] >= 0.1]
    assert len(laws) == 160
    assert len(chosen) == 36
    assert np.mean([one["r2_seed_means"] for one in chosen]) == pytest.approx(0.92695, abs=1e-3)


@needs_published
def test_joint_laws_of_the_published_table(fit: Fit) -> None:
    laws = fit(PUBLISHED, "--law", "joint")
    assert len(laws) == 16
    assert all(one["form"] == "J" and one["problem"] is None for one in laws)
    assert all(one["parameters"]["i_inf_bits"]["low"] > 0 for one in laws)


# Any table


def test_a_table_of_one_curve_needs_no_grouping_columns(fit: Fit, write: Callable[..., Path]) -> None:
    (one,) = fit(write(curve()))
    assert one["imax_low_bits"] < 2.5 < one["imax_high_bits"]
    assert one["ubar_low"] < 200 < one["ubar_high"]
    assert (one["n_points"], one["n_seeds"], one["problem"]) == (18, 3, None)
    assert set(one["aicc"]) == set(one["held_out_rmse_bits"]) >= {"noise_law", "hill"}


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "table.parquet"])
def test_every_kind_of_file_gives_the_same(name: str, fit: Fit, write: Callable[..., Path]) -> None:
    curves = [curve(model="a", n_cells=10), curve(model="b", n_cells=10, ubar=900.0)]
    assert fit(write(*curves, name=name)) == fit(write(*curves, name="other.csv"))


def test_columns_have_any_names(fit: Fit, write: Callable[..., Path]) -> None:
    renamed = curve(donor="d1").rename(columns={"umis_per_cell": "snr", "mi_bits": "information"})
    (one,) = fit(write(renamed), "--x", "snr", "--y", "information", "--by", "donor")
    (same,) = fit(write(curve(), name="same.csv"))
    assert one.pop("donor") == "d1"
    assert one == same


def test_the_order_of_the_rows_changes_nothing(fit: Fit, write: Callable[..., Path]) -> None:
    rows = pd.concat([curve(model="a"), curve(model="b", ubar=900.0)])
    first = {one["model"]: one for one in fit(write(rows))}
    second = {one["model"]: one for one in fit(write(rows.sample(frac=1, random_state=1), name="shuffled.csv"))}
    assert first == second


def test_the_target_can_be_a_fraction_or_bits_below(fit: Fit, write: Callable[..., Path]) -> None:
    path = write(curve())
    (half,), (nine,), (below,) = fit(path, "--target", 0.5), fit(path), fit(path, "--bits-below", 0.25)
    assert half["target_depth"] < nine["target_depth"]
    assert below["target_bits"] == pytest.approx(nine["imax_bits"] - 0.25)
    assert nine["target_bits"] == pytest.approx(0.9 * nine["imax_bits"])


# Rows that cannot be used


def test_one_bad_curve_stops_no_other(nsl: Nsl, fit: Fit, write: Callable[..., Path]) -> None:
    good, text, negative, two = (curve(model=model) for model in ("good", "text", "negative", "two"))
    text["mi_bits"] = text["mi_bits"].astype(object)
    text.loc[4, "mi_bits"] = "n/d"
    negative.loc[2, "umis_per_cell"] = -5
    path = write(good, text, negative, two[two["umis_per_cell"] < 200])
    by_model = {one["model"]: one for one in fit(path)}
    (alone,) = fit(write(good, name="alone.csv"))
    assert by_model["good"] == alone
    assert "'n/d'" in by_model["text"]["problem"]
    assert f"line {len(good) + 4 + 2}" in by_model["text"]["problem"]
    assert "-5" in by_model["negative"]["problem"]
    assert "2 noise levels" in by_model["two"]["problem"]
    assert by_model["two"]["imax_bits"] is None
    code, out, err = nsl(path)
    assert code == 0
    assert "good" in out
    assert "model text" in err


def test_the_intervals_of_measurements_reach_imax(fit: Fit, write: Callable[..., Path]) -> None:
    without = curve(model="without")
    given = without.assign(model="given", low_bits=without["mi_bits"] - 1.5, high_bits=without["mi_bits"] + 0.3)
    named = given.assign(model="named").rename(columns={"mi_bits": "bits"})
    plain, own = fit(write(without, given))
    assert own["imax_low_bits"] == pytest.approx(plain["imax_low_bits"] - 1.5)
    assert own["imax_high_bits"] == pytest.approx(plain["imax_high_bits"] + 0.3)
    assert own["flags"] == [*plain["flags"], "weak_measurements"]
    (other,) = fit(write(named), "--y", "bits")
    assert other["imax_low_bits"] == plain["imax_low_bits"], "the interval may be of another quantity"


def test_what_is_doubtful_is_flagged(fit: Fit, write: Callable[..., Path]) -> None:
    zero, twice, again, falling, one_seed, plateau, empty, below = (
        curve(model=model) for model in ("zero", "twice", "again", "falling", "one_seed", "plateau", "empty", "below")
    )
    zero.loc[0, ["umis_per_cell", "mi_bits"]] = 0
    twice = pd.concat([twice, twice.iloc[:3]])
    again = pd.concat([again, again.iloc[:3].assign(mi_bits=lambda rows: rows["mi_bits"] + 0.01)])
    falling["mi_bits"] = falling["mi_bits"].to_numpy()[::-1].copy()
    falling["umis_per_cell"] = np.tile(DEPTHS, 3)
    one_seed = one_seed[one_seed["seed"] == 0]
    plateau["mi_bits"] = 2.0 + 0.02 * np.random.default_rng(1).normal(size=len(plateau))
    empty.loc[1, "mi_bits"] = np.nan
    below["mi_bits"] -= below["mi_bits"].min() + 0.05
    curves = fit(write(zero, twice, again, falling, one_seed, plateau, empty, below))
    flags = {one["model"]: set(one["flags"]) for one in curves}
    assert "zero_depth_left_out" in flags["zero"]
    assert "duplicates_left_out" in flags["twice"]
    assert "repeated_averaged" in flags["again"]
    assert {"not_monotone"} <= flags["falling"]
    assert "one_seed" in flags["one_seed"]
    assert "only_plateau" in flags["plateau"]
    assert "missing_left_out" in flags["empty"]
    assert "negative_information" in flags["below"]
    (alone,) = fit(write(curve(), name="alone.csv"))
    duplicated = next(one for one in curves if one["model"] == "twice")
    assert duplicated["imax_bits"] == alone["imax_bits"]
    assert not {"zero_depth_left_out", "duplicates_left_out", "not_monotone", "one_seed"} & set(alone["flags"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--x", "depth"], ["'depth'", "--x", "umis_per_cell"]),
        (["--by", "modell"], ["'modell'", "--by"]),
        (["--by", "seed"], ["'model'", "--by"]),
        (["--target", "1.5"], ["--target", "1.5"]),
        (["--target", "0.9", "--bits-below", "1"], ["--target", "--bits-below"]),
        (["--law", "joint"], ["n_cells"]),
        (["--law", "cells"], ["n_cells"]),
    ],
)
def test_mistakes_are_named(arguments: list[str], named: list[str], nsl: Nsl, write: Callable[..., Path]) -> None:
    code, out, err = nsl(write(curve(model="a"), curve(model="b")), *arguments)
    assert code == 1
    assert out == ""
    assert all(word in err for word in named)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("missing.csv", None, "no file"),
        ("table.xlsx", "x", ".csv"),
        ("table.csv", "umis_per_cell,mi_bits\n", "no row"),
        ("table.parquet", "no parquet", ".parquet"),
    ],
)
def test_files_that_are_no_table_are_named(
    name: str, content: str | None, named: str, nsl: Nsl, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    code, _, err = nsl(path)
    assert code == 1
    assert name in err
    assert named in err


def test_nothing_fitted_is_a_failure(nsl: Nsl, write: Callable[..., Path]) -> None:
    code, out, _ = nsl(write(curve().iloc[:2]), "--json")
    assert code == 1
    assert "2 noise levels" in json.loads(out)[0]["problem"]
