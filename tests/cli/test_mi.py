"""`nsl mi` as a user meets it: known information from every form of file, how rows are paired, what is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import anndata
import numpy as np
import pandas as pd
import pytest

from nsl_assets.cli import main
from nsl_assets.probing import EstimatorName, ProbingSettings, known_problems

Nsl = Callable[..., tuple[int, str, str]]
QUICK = ("--estimator", "gaussian_copula", "--json")
N_PAIRS = 300


@pytest.fixture
def nsl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs `nsl mi`; gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", "mi", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def measured(nsl: Nsl) -> Callable[..., tuple[dict, str]]:
    """Runs `nsl mi` with a quick estimator; gives its JSON object and stderr."""

    def run(*arguments: object) -> tuple[dict, str]:
        code, out, err = nsl(*arguments, *QUICK)
        assert code == 0, err
        return json.loads(out), err

    return run


@pytest.fixture(scope="module")
def gaussian():
    """One bit over five columns a side, and the names of the rows."""
    problem = next(each for each in known_problems() if each.name == "gaussian_1.0bit_5d")
    x, y = problem.sample(N_PAIRS, seed=0)
    return x, y, np.array([f"cell{i:03d}" for i in range(N_PAIRS)])


@pytest.fixture
def arrays(gaussian, tmp_path):
    """x.npy and y.npy of the same pairs."""
    np.save(tmp_path / "x.npy", gaussian[0])
    np.save(tmp_path / "y.npy", gaussian[1])
    return tmp_path / "x.npy", tmp_path / "y.npy"


@pytest.fixture
def groups_of_three(tmp_path):
    """Two columns that say which of three classes a row is of, and the classes in h5ad, with some unknown."""
    draws = np.random.default_rng(0)
    kinds = draws.integers(0, 3, N_PAIRS)
    x = np.eye(3)[kinds][:, :2] + 0.1 * draws.standard_normal((N_PAIRS, 2))
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical.from_codes(kinds, ["B", "T", "NK"]),
            "partly": pd.Categorical.from_codes(np.where(np.arange(N_PAIRS) % 10 == 7, -1, kinds), ["B", "T", "NK"]),
            "donor": [f"donor{i % 12}" for i in range(N_PAIRS)],
            "batch": pd.Categorical.from_codes(np.where(np.arange(N_PAIRS) < 5, -1, 0), ["one"]),
        },
        index=[f"cell{i}" for i in range(N_PAIRS)],
    )
    path = tmp_path / "cells.h5ad"
    anndata.AnnData(obs=obs, obsm={"X_mine": x}).write_h5ad(path)
    return path


def save_named(path: Path, values, names, rows=slice(None)) -> Path:
    frame = pd.DataFrame(values[rows], index=pd.Index(names[rows], name="cell"))
    frame.columns = [f"column{i}" for i in range(frame.shape[1])]
    frame.to_csv(path) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def test_known_information_comes_out_in_bits(measured, arrays):
    result, err = measured(*arrays, "--seed", 3)
    assert result["mi_bits"] == pytest.approx(1.0, abs=0.2)
    assert result["low_bits"] <= result["mi_bits"] <= result["high_bits"]
    assert result["floor_bits"] == pytest.approx(0.0, abs=0.15)
    assert result["ceiling_bits"] is None
    expected = {
        "estimator": "gaussian_copula", "n_pairs": N_PAIRS, "seed": 3, "device": "cpu", "paired_by": "row",
        "n_dropped": 0, "n_missing_dropped": 0, "y_kind": "continuous", "y_taken_as": "continuous, 5 columns",
    }  # fmt: skip
    assert {key: result[key] for key in expected} == expected
    assert "few_pairs" in result["flags"]
    assert result["seconds"] > 0
    assert isinstance(result["diagnostics"], dict)
    assert err == ""


def test_a_short_text_for_people(nsl, groups_of_three):
    code, out, err = nsl(
        f"{groups_of_three}:obsm:X_mine", "obs:kind", "--group", "obs:donor", "--estimator", "gaussian_copula"
    )
    assert code == 0, err
    for part in (
        "I(X; Y) = 1.", "ceiling 1.58", "(gaussian_copula", "few_pairs: fewer than 500", "3 classes", "12 groups",
        "300 pairs, paired by name",
    ):  # fmt: skip
        assert part in out, out
    assert err == ""


def test_several_estimators(nsl, arrays):
    code, out, _ = nsl(*arrays, "--estimator", "gaussian_copula", "--estimator", "lmi", "--json")
    assert code == 0
    assert [each["estimator"] for each in json.loads(out)] == ["lmi", "gaussian_copula"]
    code, out, _ = nsl(*arrays, "--estimator", "gaussian_copula", "--estimator", "lmi")
    assert code == 0
    assert len([line for line in out.splitlines() if line.startswith(("lmi", "gaussian_copula"))]) == 2


@pytest.mark.slow
def test_the_default_is_the_headline_of_studies_and_all_are_all(nsl, arrays):
    default = json.loads(nsl(*arrays, "--json")[1])
    assert default["estimator"] == ProbingSettings().headline
    every = json.loads(nsl(*arrays, "--estimator", "all", "--json")[1])
    assert {each["estimator"] for each in every} == set(get_args(EstimatorName))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_paired_by_name_in_whatever_order(measured, gaussian, tmp_path, suffix):
    x, y, names = gaussian
    order = np.random.default_rng(1).permutation(N_PAIRS)
    plain_x = save_named(tmp_path / f"x.{suffix}", x, names)
    plain_y = save_named(tmp_path / f"y.{suffix}", y, names)
    plain, err = measured(plain_x, plain_y)
    assert (plain["paired_by"], err) == ("name", "")
    assert plain["mi_bits"] == pytest.approx(1.0, abs=0.2)
    shuffled_x = save_named(tmp_path / "shuffled_x.csv", x, names, order[::-1])
    shuffled_y = save_named(tmp_path / "shuffled_y.csv", y, names, order)
    for pair in ((plain_x, shuffled_y), (shuffled_x, plain_y), (shuffled_x, shuffled_y)):
        result, err = measured(*pair)
        assert result["mi_bits"] == pytest.approx(plain["mi_bits"], rel=1e-12)
        assert result["floor_bits"] == pytest.approx(plain["floor_bits"], rel=1e-9)
        assert err == ""


def test_what_is_on_one_side_only_is_left_out_and_said(measured, gaussian, tmp_path):
    x, y, names = gaussian
    result, err = measured(
        save_named(tmp_path / "x.csv", x, names, slice(0, 280)),
        save_named(tmp_path / "y.parquet", y, names, slice(30, 300)),
    )
    assert (result["n_pairs"], result["n_dropped"]) == (250, 50)
    assert err == "50 cells are not in all of the tables: 250 pairs are left.\n"


def test_repeated_names_are_fine_where_both_sides_have_them_in_the_same_order(measured, gaussian, tmp_path):
    x, y, names = gaussian
    repeated = np.r_[names[:200], names[:100]]
    result, err = measured(save_named(tmp_path / "x.csv", x, repeated), save_named(tmp_path / "y.parquet", y, repeated))
    assert (result["n_pairs"], result["paired_by"], err) == (300, "name", "")
    assert result["mi_bits"] == pytest.approx(1.0, abs=0.2)


def test_names_on_one_side_only_do_not_help_and_that_is_said(measured, arrays, gaussian, tmp_path):
    result, err = measured(save_named(tmp_path / "x.csv", gaussian[0], gaussian[2]), arrays[1])
    assert (result["n_pairs"], result["paired_by"]) == (300, "row")
    assert err == f"{arrays[1]} has no cell names: rows are paired in their order.\n"


def test_groups_are_paired_too(measured, gaussian, tmp_path):
    x, y, names = gaussian
    save_named(tmp_path / "x.csv", x, names)
    save_named(tmp_path / "y.csv", y, names)
    pd.DataFrame({"cell": names[::-1], "donor": np.arange(N_PAIRS) % 10}).iloc[:200].to_csv(
        tmp_path / "about.csv", index=False
    )
    result, _ = measured(tmp_path / "x.csv", tmp_path / "y.csv", "--group", f"{tmp_path}/about.csv:donor")
    assert (result["n_pairs"], result["n_dropped"]) == (200, 100)


def test_all_forms_of_the_same_pairs_agree(measured, arrays, gaussian, tmp_path):
    x, y, names = gaussian
    of_arrays = measured(*arrays)[0]["mi_bits"]
    columns = [f"column{i}" for i in range(5)]
    save_named(tmp_path / "y.csv", y, names)
    pd.DataFrame(y, columns=columns).to_parquet(tmp_path / "y.parquet")
    np.savetxt(tmp_path / "plain.csv", y, delimiter=",")
    obsm = {"X_mine": x, "protein": pd.DataFrame(y, index=names, columns=columns)}
    anndata.AnnData(obs=pd.DataFrame(index=names), obsm=obsm).write_h5ad(tmp_path / "cells.h5ad")
    for x_place, y_place in (
        (arrays[0], f"{tmp_path}/y.csv:{','.join(columns)}"),
        (arrays[0], tmp_path / "y.parquet"),
        (arrays[0], tmp_path / "plain.csv"),
        (f"{tmp_path}/cells.h5ad:obsm:X_mine", "obsm:protein"),
        (f"{tmp_path}/cells.h5ad:obsm:X_mine", tmp_path / "y.csv"),
    ):
        result, err = measured(x_place, y_place)
        assert result["mi_bits"] == pytest.approx(of_arrays, abs=1e-6)
        assert ("no header" in err) == (Path(y_place).name == "plain.csv")


def y_file(path: Path, values) -> Path:
    np.save(path / "kind.npy", values)
    return path / "kind.npy"


@pytest.mark.parametrize(
    ("values", "kind", "taken_as"),
    [
        (np.arange(300) % 4, "auto", "4 classes of whole numbers; --y-kind continuous takes"),
        (np.arange(300) % 4, "classes", "4 classes"),
        (np.arange(300) % 4, "continuous", "continuous, 1 column"),
        (np.arange(300) % 4 == 0, "auto", "2 classes"),
        (np.array(["a", "b", "c"] * 100), "auto", "3 classes"),
        (np.arange(300) % 70, "auto", "continuous, 1 column of 70 different whole numbers; --y-kind classes takes"),
        (np.arange(300) % 70, "classes", "70 classes"),
        (np.arange(300.0) % 4, "auto", "continuous, 1 column of 4 different whole numbers; --y-kind classes takes"),
        (np.arange(300.0) % 4, "classes", "4 classes"),
        (np.sqrt(np.arange(300)), "auto", "continuous, 1 column"),
        (np.arange(600).reshape(300, 2) % 5, "auto", "continuous, 2 columns"),
    ],
)
def test_what_y_is_taken_as_is_said(nsl, arrays, values, kind, taken_as):
    y = y_file(arrays[1].parent, values)
    code, out, err = nsl(arrays[0], y, "--y-kind", kind, "--estimator", "gaussian_copula", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["y_taken_as"].startswith(taken_as)
    assert len(taken_as) == len(result["y_taken_as"]) or taken_as.endswith("takes")
    assert result["y_kind"] == ("classes" if "classes" in taken_as.split(";")[0] else "continuous")
    assert (result["ceiling_bits"] is not None) == (result["y_kind"] == "classes")


def test_counts_of_many_proteins_in_a_csv_are_continuous(measured, arrays, tmp_path):
    pd.DataFrame({"CD3": np.arange(300) % 7, "CD4": np.arange(300) % 5}).to_csv(tmp_path / "counts.csv", index=False)
    assert measured(arrays[0], tmp_path / "counts.csv")[0]["y_taken_as"] == "continuous, 2 columns"


def test_unknown_values_are_refused_or_dropped_with_a_word(nsl, groups_of_three):
    x = f"{groups_of_three}:obsm:X_mine"
    code, out, err = nsl(x, "obs:partly")
    assert (code, out) == (1, "")
    assert "no value in 30 of 300 rows, first in row 8 (cell7). --drop-missing" in err
    assert "below zero" not in err
    options = ("--estimator", "gaussian_copula", "--json", "--drop-missing", "--group", "obs:donor")
    code, out, err = nsl(x, "obs:partly", *options)
    assert code == 0, err
    result = json.loads(out)
    assert (result["n_pairs"], result["n_missing_dropped"], result["n_dropped"]) == (270, 30, 0)
    assert err == "30 pairs are left out because Y or the group is unknown: 270 are left.\n"
    assert result["mi_bits"] > 1.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.where(np.arange(300) == 4, np.nan, 0.5), "no value in 1 of 300 rows, first in row 5."),
        (np.where(np.arange(600).reshape(300, 2) == 5, np.nan, -0.5), "no value in 1 of 300 rows, first in row 3."),
        (np.arange(300) % 3 - 1, "first in row 1. --drop-missing leaves these rows out. Whole numbers below zero"),
        (np.where(np.arange(300) % 3 == 1, "", "a"), "no value in 100 of 300 rows, first in row 2."),
    ],
)
def test_each_form_of_unknown_is_refused(nsl, arrays, tmp_path, values, said):
    code, _, err = nsl(arrays[0], y_file(tmp_path, values))
    assert code == 1
    assert said in err
    assert ("below zero" in err) == (values.dtype.kind == "i")


def test_whole_numbers_with_gaps_stay_classes(nsl, arrays, tmp_path):
    pd.DataFrame({"kind": np.where(np.arange(300) < 9, np.nan, np.arange(300) % 3)}).to_csv(
        tmp_path / "kind.csv", index=False
    )
    code, out, err = nsl(arrays[0], tmp_path / "kind.csv", "--drop-missing", "--estimator", "gaussian_copula", "--json")
    assert code == 0, err
    assert json.loads(out)["y_taken_as"].startswith("3 classes")


def wrong_inputs(folder: Path, gaussian) -> dict[str, tuple[tuple[object, ...], str]]:
    """What a user may get wrong -> arguments and what the message must say."""
    x, y, names = gaussian
    np.save(folder / "short.npy", y[:-1])
    np.save(folder / "text.npy", np.array(["a", "b", "c"] * 100))
    np.save(folder / "objects.npy", np.array([{}] * 300, dtype=object), allow_pickle=True)
    np.save(folder / "complex.npy", y * 1j)
    np.save(folder / "deep.npy", y[:, :, None])
    (folder / "empty.csv").write_text("")
    (folder / "text.parquet").write_text("not parquet")
    (folder / "text.h5ad").write_text("not HDF5")
    save_named(folder / "named.csv", y, names)
    save_named(folder / "others.csv", y, np.char.add(names, "-1"))
    save_named(folder / "reversed.csv", y, names[::-1])
    save_named(folder / "twice.csv", y, np.r_[names[:-1], names[:1]])
    pd.DataFrame(y).sample(frac=1, random_state=0).to_csv(folder / "shuffled.csv")
    pd.DataFrame(y).to_csv(folder / "from0.csv")
    pd.DataFrame(y, index=range(1, 301)).to_csv(folder / "from1.csv")
    pd.DataFrame({"kind": ["a", "b", "c"] * 100, "age": y[:, 0]}).to_csv(folder / "about.csv", index=False)
    pd.DataFrame({"when": pd.date_range("2020-01-01", periods=300)}).to_parquet(folder / "dates.parquet")
    anndata.AnnData(obs=pd.DataFrame({"kind": "a"}, index=names), obsm={"X_mine": x}).write_h5ad(folder / "c.h5ad")
    return {
        "missing file": (("x.npy", "absent.npy"), "no file absent.npy"),
        "unknown form": (("x.npy", "y.txt"), "y.txt is no table"),
        "no place": (("c.h5ad", "y.npy"), "c.h5ad:obsm:KEY"),
        "missing key": (("c.h5ad:obsm:PCA", "y.npy"), "Its keys: X_mine"),
        "missing obs column": (("c.h5ad:obsm:X_mine", "obs:kid"), "Its keys: kind"),
        "missing column": (("x.npy", "about.csv:age,kid"), "no column 'kid'. Its columns: kind, age"),
        "other length": (("x.npy", "short.npy"), "x.npy has 300 rows, short.npy has 299 rows"),
        "text in X": (("about.csv", "y.npy"), "about.csv: column 'kind' holds 'a'"),
        "text among numbers": (("x.npy", "about.csv"), "column 'kind' holds 'a', where a number is needed"),
        "text as numbers": (("x.npy", "text.npy", "--y-kind", "continuous"), "column '0' holds 'a'"),
        "classes of columns": (("x.npy", "y.npy", "--y-kind", "classes"), "classes need exactly one"),
        "classes of numbers": (("x.npy", "about.csv:age", "--y-kind", "classes"), "300 different values in as many"),
        "dates": (("x.npy", "dates.parquet"), "holds dates or times"),
        "groups of columns": (("x.npy", "y.npy", "--group", "y.npy"), "groups need exactly one"),
        "objects": (("x.npy", "objects.npy"), "pickled"),
        "complex": (("complex.npy", "y.npy"), "complex128"),
        "three axes": (("deep.npy", "y.npy"), "(300, 5, 1)"),
        "empty file": (("x.npy", "empty.csv"), "empty.csv cannot be read: it is empty"),
        "no parquet": (("x.npy", "text.parquet"), "text.parquet cannot be read"),
        "no h5ad": (("text.h5ad:obsm:X", "y.npy"), "text.h5ad cannot be opened"),
        "other names": (("named.csv", "others.csv"), "cell000, cell001, cell002; others.csv: cell000-1"),
        "repeated names": (("named.csv", "twice.csv"), "twice.csv names 1 cells twice, e.g. 'cell000'"),
        "shuffled row numbers": (("x.npy", "shuffled.csv"), "numbers its rows, but not in order"),
        "row numbers from 0 and 1": (("from1.csv", "from0.csv"), "from0.csv numbers its rows from 0, from1.csv from 1"),
        "groups without names": (("named.csv", "reversed.csv", "--group", "text.npy"), "different orders"),
    }


@pytest.mark.usefixtures("arrays")
def test_every_mistake_is_one_message_before_anything_is_measured(nsl, gaussian, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for mistake, (arguments, said) in wrong_inputs(tmp_path, gaussian).items():
        code, out, err = nsl(*arguments)
        assert (code, out) == (1, ""), mistake
        assert said in err, (mistake, err)
        assert len(err.splitlines()) == 1, (mistake, err)


def test_the_room_says_what_cannot_be_measured(nsl, arrays, tmp_path):
    np.save(tmp_path / "nan.npy", np.where(np.arange(300) == 7, np.nan, 1.0 + np.arange(300)))
    code, _, err = nsl(tmp_path / "nan.npy", arrays[1])
    assert code == 1
    assert "non-finite" in err
    for name in ("x", "y"):
        np.save(tmp_path / f"few_{name}.npy", np.arange(40.0))
    code, _, err = nsl(tmp_path / "few_x.npy", tmp_path / "few_y.npy")
    assert code == 1
    assert "at least 50" in err


def test_options_that_do_not_exist_are_usage_mistakes(nsl, arrays):
    assert nsl(*arrays, "--estimator", "mine")[0] == 2
    assert nsl(*arrays, "--device", "tpu")[0] == 2
    assert nsl(*arrays, "--y-kind", "text")[0] == 2
    assert nsl(arrays[0])[0] == 2


def test_a_gpu_that_is_not_there_is_named(nsl, arrays):
    code, _, err = nsl(*arrays, "--device", "cuda:99")
    assert code == 1
    assert "no cuda:99" in err


def test_mistakes_and_help_do_not_wait_for_torch(arrays, tmp_path):
    program = (
        "import sys; from nsl_assets.cli import main; sys.argv = ['nsl', 'mi', *sys.argv[1:]]; code = main();"
        "print(code, sorted({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    )

    def last_line(*arguments: object) -> str:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    assert last_line("--help") == "0 []"
    assert last_line(arrays[0], tmp_path / "absent.csv") == "1 []"
    assert last_line(arrays[0], y_file(tmp_path, np.ones(3))) == "1 []"
