"""The `nsl` command as a user meets it: what it prints, its exit codes, and what bad input gets."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse

from nsl_assets.cli import main
from nsl_assets.cli.derive import Request, derive
from nsl_assets.study import load_project

Nsl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nsl(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs the command line in a project without studies; gives exit code, stdout and stderr."""
    (tmp_path / "dagster_project.toml").write_text("")
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_check_says_one_line_a_finding(nsl: Nsl, small_h5ad: Path):
    code, out, _ = nsl("check", small_h5ad, "--auxiliary", "obs:cell_type")
    assert code == 0
    assert "can run" in out
    assert "400 cells x 60 genes" in out


def test_check_of_normalised_values_names_cell_gene_and_the_place_of_the_counts(nsl: Nsl, small_h5ad: Path):
    code, out, _ = nsl("check", small_h5ad, "--auxiliary", "obs:cell_type", "--layer", "normalised", "--json")
    assert code == 1
    errors = [finding for finding in json.loads(out)["findings"] if finding["level"] == "error"]
    assert any("gene" in error["message"] and "cell" in error["message"] for error in errors)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--auxiliary", "obs:cell_typ"], ["cell_typ", "cell_type"]),
        (["--auxiliary", "obs:age", "--layer", "count"], ["count", "normalised"]),
        (["--auxiliary", "cell_type"], ["obs:COLUMN"]),
        (["--auxiliary", "obs:cell_type", "--models", "pcaa"], ["'pcaa'", "'random_projection'"]),
        (["--auxiliary", "obs:cell_type", "--group", "house"], ["house", "donor"]),
    ],
)
def test_bad_options_end_at_once_with_what_was_found_and_what_there_is(nsl: Nsl, small_h5ad: Path, arguments, said):
    code, out, err = nsl("run", "--h5ad", small_h5ad, *arguments)
    assert code == 1
    assert out == ""
    assert "Traceback" not in err
    for part in said:
        assert part in err


def with_counts(path: Path, change: Callable[[np.ndarray], np.ndarray], target: Path) -> Path:
    adata = anndata.read_h5ad(path)
    adata.X = scipy.sparse.csr_matrix(change(adata.X.toarray().astype(np.float32)))
    adata.write_h5ad(target)
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x - 5 * (np.arange(x.size).reshape(x.shape) == 7), "-"),
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 7, np.nan, x), "nan"),
        (np.log1p, "integer counts"),
    ],
)
def test_values_that_are_no_counts_are_refused(nsl: Nsl, small_h5ad: Path, tmp_path: Path, change, said):
    file = with_counts(small_h5ad, change, tmp_path / "bad.h5ad")
    code, _, err = nsl("run", "--h5ad", file, "--auxiliary", "obs:cell_type")
    assert code == 1
    assert said in err


def test_files_that_are_no_h5ad_are_refused(nsl: Nsl, small_h5ad: Path, tmp_path: Path):
    truncated = tmp_path / "truncated.h5ad"
    truncated.write_bytes(small_h5ad.read_bytes()[:20_000])
    text = tmp_path / "text.h5ad"
    text.write_text("not HDF5")
    for file in (truncated, text, tmp_path / "absent.h5ad"):
        code, _, err = nsl("run", "--h5ad", file, "--auxiliary", "obs:cell_type")
        assert code == 1
        assert file.name in err
        assert "Traceback" not in err


def test_duplicate_names_and_an_auxiliary_with_one_value_are_refused(nsl: Nsl, small_h5ad: Path, tmp_path: Path):
    adata = anndata.read_h5ad(small_h5ad)
    adata.obs["only"] = "one"
    adata.write_h5ad(tmp_path / "one.h5ad")
    assert nsl("run", "--h5ad", tmp_path / "one.h5ad", "--auxiliary", "obs:only")[0] == 1
    adata.obs_names = ["same", "same", *adata.obs_names[2:]]
    adata.write_h5ad(tmp_path / "same.h5ad")
    code, _, err = nsl("run", "--h5ad", tmp_path / "same.h5ad", "--auxiliary", "obs:cell_type")
    assert code == 1
    assert "'same'" in err


def test_plan_prices_a_file_and_runs_nothing(nsl: Nsl, small_h5ad: Path, storage: Path):
    code, out, _ = nsl("plan", "--h5ad", small_h5ad, "--auxiliary", "obs:cell_type", "--levels", 3, "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["n_grid_cells"] == plan["n_left"] == 2 * 3 * 3
    assert plan["seconds"] > 0
    assert plan["memory_mib"] > 0
    assert plan["disk_mib"] > 0
    assert not (storage / "artifacts").exists()
    assert not (storage / "studies").exists()


TEMPLATE = """
[studies.grid]
sizes = [20, 40]
n_seeds = 2
[studies.grid.tasks.simulated]
kind = "simulated_cells"
[studies.grid.grids.simulated]
levels = [1.0]
[studies.grid.models.oracle]
kind = "oracle"
[studies.grid.models.few_components]
kind = "pca"
n_components = 3
[studies.grid.models.pca]
kind = "pca"
[studies.grid.noise]
kind = "binomial_thinning"
levels = [1.0, 0.5, 0.1]
[studies.grid.probing]
estimators = ["infonce"]
"""


def test_a_study_is_a_template_for_a_file(nsl: Nsl, small_h5ad: Path, tmp_path: Path, storage: Path):
    (tmp_path / "dagster_project.toml").write_text(TEMPLATE)
    code, out, err = nsl("plan", "grid", "--h5ad", small_h5ad, "--auxiliary", "obs:age", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["study"] == "cells_age_grid"
    assert {model["model"] for model in plan["models"]} == {"few_components", "pca"}
    assert plan["n_grid_cells"] == 2 * 2 * 3 * 2
    request = Request(small_h5ad, "obs:age", template="grid", models=("few_components",), n_seeds=1)
    name, content = derive(request, load_project())
    assert content["models"] == {"few_components": {"kind": "pca", "n_components": 3}}
    assert content["probing"] == {"estimators": ["infonce"]}
    assert (content["n_seeds"], content["sizes"], name) == (1, [20, 240], "cells_age_grid")


def test_a_budget_is_for_models_that_have_one(nsl: Nsl, small_h5ad: Path):
    options = ["--h5ad", small_h5ad, "--auxiliary", "obs:age", "--budget", "quick"]
    code, _, err = nsl("plan", *options)
    assert code == 1
    assert "scvi and geneformer" in err
    _, content = derive(Request(small_h5ad, "obs:age", models=("pca", "scvi"), budget="quick"), load_project())
    assert content["models"] == {"pca": {"kind": "pca"}, "scvi": {"kind": "scvi", "budget": "quick"}}


def test_a_budget_that_no_worker_can_finish_is_priced_but_not_run(nsl: Nsl, small_h5ad: Path, storage: Path):
    options = ["--h5ad", small_h5ad, "--auxiliary", "obs:age", "--models", "geneformer", "--seeds", 1]
    code, out, err = nsl("plan", *options)
    assert code == 0, err
    assert "--budget quick" in out
    (storage.parent / "dagster_project.toml").write_text("[machine]\nworker_timeout_s = 60.0\n")
    code, _, err = nsl("run", *options)
    assert code == 1
    assert "quick" in err and "worker_timeout_s" in err
    assert not (storage / "artifacts" / "model").exists()


def test_a_worker_that_takes_more_cores_than_there_are_is_refused(nsl: Nsl, small_h5ad: Path, tmp_path: Path):
    (tmp_path / "dagster_project.toml").write_text("[machine]\nworker_threads = 2\ncores = 1\n")
    code, _, err = nsl("plan", "--h5ad", small_h5ad, "--auxiliary", "obs:age")
    assert code == 1
    assert "worker_threads" in err


def test_init_writes_a_study_that_loads(nsl: Nsl, small_h5ad: Path, storage: Path):
    code, out, _ = nsl("init", small_h5ad, "--auxiliary", "obsm:protein", "--sizes", 2, "--json")
    assert code == 0
    written = Path(json.loads(out)["file"])
    assert written.parent == storage / "studies"
    assert "# Training sizes" in written.read_text()
    assert nsl("plan", "cells_protein")[0] == 0


def test_a_study_file_that_was_made_by_hand_or_of_other_data_is_never_overwritten(
    nsl: Nsl, small_h5ad: Path, storage: Path
):
    assert nsl("init", small_h5ad, "--auxiliary", "obs:age", "--name", "mine")[0] == 0
    written = (storage / "studies" / "mine.toml").read_text()
    for command in (["init", small_h5ad], ["run", "--h5ad", small_h5ad]):
        code, _, err = nsl(*command, "--auxiliary", "obs:cell_type", "--name", "mine")
        assert code == 1
        assert "nsl run mine" in err
    assert (storage / "studies" / "mine.toml").read_text() == written


def test_status_of_an_empty_storage_is_that_everything_is_left(nsl: Nsl, small_h5ad: Path):
    nsl("init", small_h5ad, "--auxiliary", "obs:age", "--name", "mine", "--levels", 3, "--seeds", 1)
    code, out, _ = nsl("status", "--json")
    assert code == 0
    (state,) = json.loads(out)
    assert (state["done"], state["left"], state["failed"]) == (0, 6, 0)


def test_an_oracle_of_real_cells_and_a_long_file_name(nsl: Nsl, small_h5ad: Path, tmp_path: Path):
    code, _, err = nsl("plan", "--h5ad", small_h5ad, "--auxiliary", "obs:age", "--models", "oracle")
    assert code == 1
    assert "simulated" in err
    long = tmp_path / f"{'GSM_filtered_matrix_' * 5}.h5ad"
    long.write_bytes(small_h5ad.read_bytes())
    assert nsl("plan", "--h5ad", long, "--auxiliary", "obs:age")[0] == 0


def test_study_files_that_are_no_studies_are_named(nsl: Nsl, tmp_path: Path):
    for text in ("studies = 3", "[studies]\na = 1"):
        (tmp_path / "dagster_project.toml").write_text(text)
        code, _, err = nsl("status")
        assert code == 1
        assert "studies" in err
        assert "unexpected" not in err


def test_unknown_studies_and_unusable_storage_are_named(nsl: Nsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    code, _, err = nsl("run", "quickstat")
    assert code == 1
    assert "quickstat" in err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NSL_STORAGE", str(tmp_path / "file" / "storage"))
    code, _, err = nsl("sql", "select 1")
    assert code == 1
    assert "storage" in err


def test_more_training_cells_than_there_are_is_refused_before_any_work(nsl: Nsl, small_h5ad: Path, storage: Path):
    nsl("init", small_h5ad, "--auxiliary", "obs:age", "--name", "mine")
    file = storage / "studies" / "mine.toml"
    file.write_text(file.read_text().replace("sizes = [240]", "sizes = [24000]"))
    code, _, err = nsl("run", "mine")
    assert code == 1
    assert "24000" in err
    assert "240" in err
    assert not (storage / "artifacts").exists()


def test_sql_prints_rows_and_explains_mistakes(nsl: Nsl):
    code, out, _ = nsl("sql", "select count(*) as n from measurement", "--json")
    assert (code, json.loads(out)) == (0, [{"n": 0}])
    code, _, err = nsl("sql", "selct")
    assert code == 1
    assert "Traceback" not in err
    assert nsl("sql", "delete from measurement")[0] == 1


def test_usage_mistakes_exit_with_2(nsl: Nsl, small_h5ad: Path):
    assert nsl("run", "--h5ad", small_h5ad)[0] == 2
    assert nsl("run", "quickstart", "--levels", 3)[0] == 2
    assert nsl("rum")[0] == 2


def test_in_the_background_of_a_shell_a_command_can_still_be_ended():
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
from dagster._utils.interrupts import capture_interrupts
from nsl_assets.cli import main
sys.argv = ["nsl", "--help"]
main()
with capture_interrupts():
    pass
os.kill(os.getpid(), signal.SIGINT)
print("not interrupted")
os.kill(os.getpid(), signal.SIGTERM)
print("not ended")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "not interrupted" in done.stdout
    assert "not ended" not in done.stdout and "KeyboardInterrupt" in done.stderr
