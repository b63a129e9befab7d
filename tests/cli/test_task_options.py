"""`--task`: every kind of task of a file from the command line, and what options about another kind get."""

import json
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pytest

from nsl_assets.cli import main
from nsl_assets.cli.file_task import TASKS
from nsl_assets.study import load_project
from nsl_assets.tasks import ClonalPairs, H5adTask, SpatialPairs

Nsl = Callable[..., tuple[int, str, str]]
OPTIONS = {
    "protein": ["--auxiliary", "obsm:protein"],
    "numeric": ["--auxiliary", "obs:age"],
    "cell_type": ["--auxiliary", "obs:cell_type", "--unknown", "B", "--group", "donor"],
    "time": ["--auxiliary", "obs:day", "--stages", "2,4,6"],
    "clonal": ["--clone", "obs:clone", "--time", "obs:day", "--early", "2,4", "--late", "6"],
    "spatial": ["--coordinates", "obsm:place", "--section", "obs:slice", "--neighbours", "3", "--blocks", "20"],
}


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


@pytest.fixture
def file(small_h5ad: Path) -> Path:
    """Cells with everything that any kind of task asks for."""
    adata = anndata.read_h5ad(small_h5ad)
    adata.obs["clone"] = [f"clone{i % 130}" for i in range(400)]
    adata.obs["day"] = np.array([2, 4, 6])[np.arange(400) // 134]
    adata.obs["slice"] = np.array(["a", "b"])[np.arange(400) % 2]
    adata.obs["total"] = np.asarray(adata.X.sum(axis=1)).ravel() * 4
    adata.obsm["place"] = np.random.default_rng(0).uniform(0, 1, (400, 2))
    adata.write_h5ad(small_h5ad)
    return small_h5ad


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_task_can_be_checked_and_planned(nsl: Nsl, file: Path, task: str):
    code, out, err = nsl("check", file, "--task", task, *OPTIONS[task], "--total-umis", "obs:total")
    assert (code, err) == (0, "")
    assert "25.0% of them in these genes" in out
    code, out, err = nsl("plan", "--h5ad", file, "--task", task, *OPTIONS[task], "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["n_grid_cells"] > 0


@pytest.mark.parametrize("task", TASKS)
def test_options_arrive_in_the_study(nsl: Nsl, file: Path, task: str):
    shared = ["--total-umis", "3.5", "--probe-fraction", "0.4", "--name", "mine"]
    assert nsl("init", file, "--task", task, *OPTIONS[task], *shared)[0] == 0
    found = load_project().study("mine").tasks["cells"]
    assert (found.path, found.total_umis, found.probe_fraction) == (file, 3.5, 0.4)
    if task == "clonal":
        assert isinstance(found, ClonalPairs)
        assert (found.clone, found.time, found.early, found.late) == ("obs:clone", "obs:day", ("2", "4"), ("6",))
    elif task == "spatial":
        assert isinstance(found, SpatialPairs)
        assert (found.coordinates, found.section, found.n_neighbours, found.n_blocks) == (
            "obsm:place",
            "obs:slice",
            3,
            20,
        )
    else:
        assert isinstance(found, H5adTask)
        kind = {"time": "ordered", "cell_type": "categorical"}.get(task, "continuous")
        assert (found.auxiliary, found.auxiliary_kind) == (OPTIONS[task][1], kind)
        assert found.stages == (("2", "4", "6") if task == "time" else ())
        assert (found.unknown_labels, found.group) == ((("B",), "donor") if task == "cell_type" else ((), None))


def test_without_a_task_the_auxiliary_decides_as_before(nsl: Nsl, file: Path):
    assert nsl("init", file, "--auxiliary", "obs:age")[0] == 0
    found = load_project().study("cells_age").tasks["cells"]
    assert isinstance(found, H5adTask)
    assert found == H5adTask(path=file, auxiliary="obs:age")


def test_studies_of_several_kinds_have_names_of_their_own(nsl: Nsl, file: Path):
    for task, options in OPTIONS.items():
        assert nsl("init", file, "--task", task, *options)[0] == 0
    names = {name for name in load_project().studies if name.startswith("cells_")}
    expected = {"protein", "age", "cell_type", "time_day", "clone_partner", "neighbour"}
    assert names == {f"cells_{what}" for what in expected}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "clonal", "--clone", "obs:clone"], ["--time, --early, --late"]),
        (["--task", "time", "--auxiliary", "obs:day"], ["--stages"]),
        (["--auxiliary", "obs:age", "--clone", "obs:clone"], ["--clone", "--task clonal"]),
        (["--task", "spatial", "--auxiliary", "obs:age"], ["--auxiliary says nothing about --task spatial"]),
        (["--task", "time", "--auxiliary", "obs:day", "--stages", "2,6,4"], ["'4' comes after '6'"]),
        (["--task", "spatial", "--coordinates", "place"], ["obsm:KEY"]),
        (["--task", "clonal", "--clone", "clone", *OPTIONS["clonal"][2:]], ["obs:COLUMN"]),
    ],
)
def test_options_that_do_not_fit_end_at_once_and_say_why(nsl: Nsl, file: Path, arguments: list[str], said: list[str]):
    for command in (["check", file], ["run", "--h5ad", file]):
        code, out, err = nsl(*command, *arguments)
        assert (code, out) == (1, "")
        assert "Traceback" not in err
        for part in said:
            assert part in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "spatial", "--coordinates", "obsm:spatial"], "There is no key 'spatial' in obsm"),
        (["--task", "time", "--auxiliary", "obs:day", "--stages", "2,4"], "'6', which is not among the stages 2, 4"),
        (["--task", "clonal", *OPTIONS["clonal"][:-1], "8"], "no time point '8' in obs:day"),
        (["--task", "clonal", *OPTIONS["clonal"], "--probe-fraction", "0.2"], "at least 50 are needed"),
        (["--auxiliary", "obs:age", "--sha256", "ab" * 32], f"the task expects {'ab' * 32}"),
    ],
)
def test_what_the_file_lacks_is_a_finding_and_stops_a_run(nsl: Nsl, file: Path, arguments: list[str], said: str):
    code, out, _ = nsl("check", file, *arguments)
    assert code == 1
    assert said in out
    code, out, err = nsl("run", "--h5ad", file, *arguments)
    assert (code, out) == (1, "")
    assert said in err


def test_warnings_of_the_check_are_said_again_where_a_study_is_planned(nsl: Nsl, file: Path):
    arguments = ["--task", "clonal", *OPTIONS["clonal"]]
    checked = nsl("check", file, *arguments)[1]
    code, out, err = nsl("plan", "--h5ad", file, *arguments)
    assert (code, err) == (0, "")
    warnings = [line.partition(": ")[2] for line in checked.splitlines() if line.startswith("WARNING")]
    assert any("so that the law and its advice may remain open" in warning for warning in warnings)
    for warning in warnings:
        assert f"warning: task 'cells': {warning}" in out
    assert len(json.loads(nsl("plan", "--h5ad", file, *arguments, "--json")[1])["warnings"]) == len(warnings)


def test_a_group_may_be_named_like_any_other_column(nsl: Nsl, file: Path):
    plain, with_place = (
        nsl("check", file, "--auxiliary", "obs:cell_type", "--group", group) for group in ("donor", "obs:donor")
    )
    assert plain == with_place
    assert plain[0] == 0
