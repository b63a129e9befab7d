"""`nsl data` as a user meets it: listing, fetching what was put there by hand, and where it is."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from nsl_assets.cli import main
from nsl_assets.cli.data_progress import DataProgress
from nsl_assets.datasets import Advance
from nsl_assets.randomness import generator
from nsl_assets.study import load_project, paper_study, save_study

Nsl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def nsl(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs the command line with a storage of its own and no network; gives exit code, stdout and stderr."""
    (tmp_path / "dagster_project.toml").write_text("")
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    monkeypatch.delenv("NSL_DATA", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", offline)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def offline(*_arguments, **_options):
    from urllib.error import URLError

    raise URLError("Network is unreachable")


def put_merfish(folder: Path, n_cells: int = 20) -> np.ndarray:
    folder.mkdir(parents=True)
    names, columns = [f"cell{i}" for i in range(n_cells)], [f"G{i}" for i in range(483)] + ["Blank-1", "Blank-2"]
    counts = generator("cli data").poisson(2.0, (n_cells, 485))
    pd.DataFrame(counts, index=names, columns=columns).to_csv(folder / "cell_by_gene_S1R1.csv")
    pd.DataFrame({"center_x": 1.0, "center_y": range(n_cells)}, index=names).to_csv(folder / "cell_metadata_S1R1.csv")
    return counts[:, :483]


def test_list_says_what_there_is_and_what_is_left_to_do(nsl: Nsl):
    code, out, _ = nsl("data", "list")
    assert code == 0
    for name in ("embryo", "pbmc_citeseq", "larry", "merfish"):
        assert name in out
    assert "to download" in out
    assert "to fetch by hand" in out


def test_list_as_json_has_addresses_licence_and_citation(nsl: Nsl):
    _, out, _ = nsl("data", "list", "--json")
    listed = {one["name"]: one for one in json.loads(out)}
    assert listed["larry"]["n_genes"] == 25_289
    assert listed["embryo"]["files"][0]["addresses"][0]["url"].startswith("https://datasets.cellxgene.")
    assert all(one["citation"] and one["licence"] for one in listed.values())


def test_files_put_there_by_hand_are_made_into_an_h5ad_that_can_be_checked(nsl: Nsl, storage: Path):
    counts = put_merfish(storage / "data" / "merfish")
    assert nsl("data", "where", "merfish")[0] == 1
    code, out, err = nsl("data", "fetch", "merfish")
    assert code == 0
    path = Path(out.strip())
    assert path == storage / "data" / "merfish" / "merfish.h5ad"
    np.testing.assert_array_equal(anndata.read_h5ad(path).X.toarray(), counts)
    assert "20 of 20 cells" in err
    assert "Vizgen" in err
    assert nsl("data", "where", "merfish") == (0, f"{path}\n", "")
    code, out, _ = nsl("check", path, "--auxiliary", "obsm:spatial")
    assert "20 cells x 483 genes" in out


def test_options_name_another_file(nsl: Nsl, storage: Path):
    put_merfish(storage / "data" / "merfish")
    code, out, _ = nsl("data", "fetch", "merfish", "--keep-blanks", "true", "--json")
    assert code == 0
    made = json.loads(out)
    assert made["options"] == {"keep_blanks": True}
    assert made["state"] == "there"
    assert anndata.read_h5ad(made["path"]).n_vars == 485
    assert nsl("data", "where", "merfish")[0] == 1


def test_nsl_data_names_another_folder(nsl: Nsl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NSL_DATA", str(tmp_path / "elsewhere"))
    put_merfish(tmp_path / "elsewhere" / "merfish")
    assert nsl("data", "fetch", "merfish")[1].startswith(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("larry", ["no connection", "stateFate_inVitro_clone_matrix.mtx.gz", "kleintools.hms.harvard.edu", "4 of 4"]),
        ("merfish", ["by hand", "cell_by_gene_S1R1.csv", "cell_metadata_S1R1.csv", "info.vizgen.com", "2 of 2"]),
        ("embryo", ["a5a85963-8004-41a1-8eb5-ca65266d89c3.h5ad"]),
    ],
)
def test_offline_it_says_what_to_download_and_where_to_put_it(nsl: Nsl, storage: Path, name: str, said: list[str]):
    code, out, err = nsl("data", "fetch", name)
    assert (code, out) == (1, "")
    for text in (*said, str(storage / "data" / name), "run the same command again"):
        assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lary"], ["no data set 'lary'", "'larry'"]),
        (["larry", "--invertion", "rounded"], ["invertion", "inversion, tolerance"]),
        (["larry", "--inversion", "floor"], ["inversion", "'rounded' or 'truncated'"]),
        (["larry", "--tolerance"], ["--option value"]),
        (["larry", "rounded"], ["--option value"]),
        (["embryo", "--max-cells=0"], ["max_cells", "greater than or equal to 1"]),
    ],
)
def test_bad_names_and_options_say_what_there_is(nsl: Nsl, arguments: list[str], said: list[str]):
    code, out, err = nsl("data", "fetch", *arguments)
    assert (code, out) == (1, "")
    for text in said:
        assert text in err


def test_a_damaged_file_is_named_and_left(nsl: Nsl, storage: Path):
    put_merfish(storage / "data" / "merfish")
    counts = storage / "data" / "merfish" / "cell_by_gene_S1R1.csv"
    damaged = counts.read_text().replace("cell3,", "cell3,x", 1)
    counts.write_text(damaged)
    code, _, err = nsl("data", "fetch", "merfish")
    assert code == 1
    assert "cell_by_gene_S1R1.csv" in err
    assert "cell3" in err
    assert counts.read_text() == damaged


def test_progress_says_amounts_and_time_left_counting_only_what_came_in_this_run():
    now, stream = [0.0], io.StringIO()
    progress = DataProgress(stream, clock=lambda: now[0])
    for now[0], done in ((0.0, 50_000_000), (10.0, 60_000_000), (30.0, 80_000_000)):
        progress.advance(Advance("f.gz", done, 100_000_000, "bytes", 50_000_000))
    assert stream.getvalue().splitlines() == [
        "f.gz: 50.0 of 100.0 MB (50 %)",
        "f.gz: 80.0 of 100.0 MB (80 %), about 20 s left",
    ]


def test_study_writes_a_file_that_the_project_reads_and_says_what_to_fetch(nsl: Nsl, storage: Path):
    code, out, err = nsl("data", "study", "larry")
    assert code == 0
    assert "nsl plan paper_larry" in out
    assert "nsl data fetch larry" in err
    task = load_project().study("paper_larry").tasks["larry"]
    assert task.path == storage / "data" / "larry" / "larry.h5ad"
    assert nsl("data", "study", "larry")[0] == 0


def test_the_published_study_of_larry_reads_truncated_counts(nsl: Nsl, storage: Path):
    assert nsl("data", "study", "larry", "--protocol", "published")[0] == 0
    study = load_project().study("paper_larry_published")
    assert study.protocol == "published"
    assert study.tasks["larry"].path.name == "larry-inversion=truncated.h5ad"


@pytest.fixture
def paper(storage: Path) -> Path:
    """The storage of a project with the study `paper`; of merfish there is a small version, not yet fetched."""
    content = paper_study()
    content["grids"]["merfish"] = {"sizes": [10], "levels": [1.0, 0.5]}
    save_study("paper", content, storage)
    put_merfish(storage / "data" / "merfish", n_cells=600)
    return storage


def test_a_study_whose_data_are_not_here_says_how_to_get_them_before_any_work(nsl: Nsl, paper: Path):
    for command in ("plan", "run"):
        code, out, err = nsl(command, "paper")
        assert (code, out) == (1, "")
        for name in ("embryo", "pbmc_citeseq", "larry", "merfish"):
            assert f"task '{name}': the public data set {name} is not here" in err
            assert f"`nsl data fetch {name}`" in err
        assert "https://kleintools.hms.harvard.edu" in err and str(paper / "data" / "larry") in err
        assert "Traceback" not in err
    assert not (paper / "artifacts").exists()


def test_of_a_study_whose_data_are_here_in_part_this_part_is_planned_and_nothing_is_run(nsl: Nsl, paper: Path):
    assert nsl("data", "fetch", "merfish")[0] == 0
    code, out, err = nsl("plan", "paper")
    assert code == 0, err
    assert "1 training sizes × 2 noise levels × 3 seeds" in out
    assert "task 'larry' is not priced" in out and "task 'merfish' is not priced" not in out
    plan = json.loads(nsl("plan", "paper", "--json")[1])
    assert {model["task"] for model in plan["models"]} == {"merfish"}
    assert plan["n_grid_cells"] == 4 * 2 * 3
    assert plan["not_priced"]["larry"] == "nsl data fetch larry"

    code, _, err = nsl("run", "paper")
    assert code == 1
    assert "task 'embryo'" in err and "task 'merfish'" not in err
    assert not (paper / "artifacts").exists()

    (state,) = json.loads(nsl("status", "paper", "--json")[1])
    assert (state["done"], state["left"]) == (0, 4 * 2 * 3)
    assert "nsl data fetch larry" in state["note"] and "merfish" not in state["note"]


def test_check_of_a_data_set_that_is_not_here_says_how_to_get_it(nsl: Nsl, storage: Path):
    for file in ("data:pbmc_citeseq", storage / "data" / "pbmc_citeseq" / "pbmc_citeseq.h5ad"):
        code, out, _ = nsl("check", file, "--auxiliary", "obsm:protein_counts")
        assert code == 1
        assert "nsl data fetch pbmc_citeseq" in out and "pbmc_seurat_v4.h5ad" in out
    code, _, err = nsl("run", "--h5ad", "data:pbmc_citeseq", "--auxiliary", "obsm:protein_counts")
    assert code == 1 and "nsl data fetch pbmc_citeseq" in err
    code, out, _ = nsl("check", storage / "data" / "pbmc_citeseq" / "mine.h5ad", "--auxiliary", "obs:x")
    assert code == 1 and "There is no file" in out


def test_definitions_load_without_the_data_and_source_says_how_to_get_them(nsl: Nsl, paper: Path):
    import dagster as dg

    from nsl_assets.defs.build import build_definitions

    job = build_definitions(load_project()).resolve_implicit_global_asset_job_def()
    for asset in ("source", "noised"):
        key = dg.AssetKey(["paper", "larry", asset])
        subset = job.get_subset(asset_selection={key}, asset_check_selection=set())
        partition = None if asset == "source" else "q1.000000"
        with dg.DagsterInstance.ephemeral() as instance:
            result = subset.execute_in_process(instance=instance, raise_on_error=False, partition_key=partition)
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        said = str(failure.step_failure_data.user_failure_data.description)
        assert "`nsl data fetch larry`" in said and "stateFate_inVitro_metadata.txt.gz" in said
        assert "embryo" not in said
