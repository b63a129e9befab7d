"""`nsl gc`: what can go and why; what is needed, or in use, stays."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from nsl_assets.chain import links
from nsl_assets.cli.gc import collect_garbage
from nsl_assets.errors import StudyError
from nsl_assets.grid import is_measured
from nsl_assets.identity import auxiliary_hash, cell_hashes, data_hash
from nsl_assets.study import Study, load_project, paper_study, save_study
from nsl_resources.artifacts import KINDS, Artifacts
from nsl_resources.results import Results

from .small_studies import run, write


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    return tmp_path / "dagster_project.toml"


def stored(storage: Path) -> dict[str, int]:
    return {kind: len(Artifacts(storage).hashes(kind)) for kind in KINDS}


def gc(capsys: pytest.CaptureFixture[str], study: str | None = None, *, is_dry_run: bool = False) -> str:
    capsys.readouterr()
    collect_garbage(study, is_dry_run=is_dry_run, as_json=False)
    return capsys.readouterr().out


def hashes_of(study: Study) -> set[str]:
    return {digest for cell in study.cells() for _, digest in links(cell_hashes(study, cell))}


def test_what_known_studies_need_stays_and_the_rest_goes(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one", seed=0)
    run("one", project, storage)
    write(project, "two", seed=1)
    run("two", project, storage)
    both = stored(storage)
    assert both == {"data": 2, "auxiliary": 2, "noised": 6, "model": 16, "embedding": 16, "measurement": 16}
    listed = gc(capsys, is_dry_run=True)
    assert stored(storage) == both, "a dry run removes nothing"
    lines = [line.split()[:2] for line in listed.splitlines()]
    assert all([kind, str(number // 2)] in lines for kind, number in both.items())
    assert "no known study asks for it" in listed and "nothing was removed" in listed
    gc(capsys)
    assert stored(storage) == {kind: number // 2 for kind, number in both.items()}
    study = load_project().study("two")
    kept = {digest for kind in KINDS for digest in Artifacts(storage).hashes(kind)}
    assert kept == hashes_of(study)
    assert "everything is needed" in gc(capsys)
    assert Results(storage).row_counts()["measurement"] == 16, "rows of the study that is gone stay"


def test_with_a_study_only_what_its_rows_name_goes(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one", seed=0)
    run("one", project, storage)
    write(project, "two", seed=1)
    run("two", project, storage)
    write(project, "one", seed=2)
    gc(capsys, "one")
    assert stored(storage)["model"] == 8
    assert stored(storage)["measurement"] == 8
    left = set(Artifacts(storage).hashes("measurement"))
    assert left <= Results(storage).recorded_artifacts("two")


def test_the_study_may_be_one_that_is_gone_but_not_a_wrong_name(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one", seed=0)
    run("one", project, storage, n_cells=1)
    write(project, "two", seed=1)
    with pytest.raises(StudyError, match="no study is named 'three'"):
        collect_garbage("three", is_dry_run=False, as_json=False)
    gc(capsys, "one")
    assert stored(storage)["model"] == stored(storage)["measurement"] == 0


@pytest.mark.parametrize(("keep_models", "n_models"), [("best", 2), ("all", 8), ("none", 0)])
def test_models_are_kept_as_the_study_says(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str], keep_models: str, n_models: int
) -> None:
    write(project, "one", keep_models=keep_models)
    run("one", project, storage, n_cells=7)
    gc(capsys)
    assert stored(storage)["model"] == (0 if keep_models == "none" else 7), "the curves are not complete yet"
    run("one", project, storage)
    gc(capsys)
    assert stored(storage)["model"] == n_models
    assert stored(storage)["embedding"] == 8
    study = load_project().study("one")
    assert all(is_measured(cell_hashes(study, cell), Artifacts(storage)) for cell in study.cells())
    if keep_models == "best":
        best = Results(storage).query(
            "select n_cells, level from measurement group by all order by avg(mi_bits) desc limit 1"
        )[0]
        kept = [cell for cell in study.cells() if (cell.n_cells, cell.level) == (best["n_cells"], best["level"])]
        assert set(Artifacts(storage).hashes("model")) == {cell_hashes(study, cell).trained.model for cell in kept}


def test_a_study_whose_file_is_gone_keeps_what_its_rows_name(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str], small_h5ad: Path
) -> None:
    write(project, "one")
    task = f'kind = "h5ad"\npath = "{small_h5ad}"\nauxiliary = "obs:cell_type"\n'
    text = project.read_text()
    start, stop = text.index('kind = "simulated_cells"'), text.index("[studies.one.models")
    project.write_text(text[:start] + task + text[stop:])
    run("one", project, storage)
    before = stored(storage)
    small_h5ad.unlink()
    for remembered in (data_hash, auxiliary_hash):
        remembered.cache_clear()  # as in a process that did not read the file
    collect_garbage(None, is_dry_run=False, as_json=False)
    assert "study one" in capsys.readouterr().err
    assert stored(storage) == before


def test_a_study_whose_data_were_never_here_keeps_nothing_of_others(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one")
    save_study("paper", paper_study(), storage)
    for kind in KINDS:
        with Artifacts(storage).create(kind, "a" * 32, {}) as folder:
            (folder / "content.txt").write_text("of a study that is gone")
    collect_garbage(None, is_dry_run=False, as_json=False)
    assert capsys.readouterr().err == ""
    assert set(stored(storage).values()) == {0}


KILLED_WRITER = """
    import os, signal, sys
    from pathlib import Path
    from nsl_resources.artifacts import Artifacts
    with Artifacts(Path(sys.argv[1])).create("model", "a" * 32, {}) as folder:
        (folder / "weights.bin").write_bytes(bytes(2**20))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_damaged_and_superseded_things_go(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one")
    run("one", project, storage)
    study = load_project().study("one")
    digest = cell_hashes(study, next(study.cells())).trained.measurement["gaussian_copula"]
    (Artifacts(storage).path("measurement", digest) / "measurement.json").write_text("{")
    run("one", project, storage)
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(storage)], check=False)
    assert killed.returncode == -signal.SIGKILL
    numbers = "select * exclude landed_file from measurement order by all"
    before = Results(storage).query(numbers)
    listed = gc(capsys, is_dry_run=True)
    for words in ("temporary", "left by a process that was killed", "damaged", "measurement: later rows"):
        assert words in listed
    gc(capsys)
    assert not list((storage / "artifacts").rglob(".creating-*"))
    assert Artifacts(storage).damaged() == ()
    assert Results(storage).query(numbers) == before
    assert "everything is needed" in gc(capsys)


def test_what_a_living_process_uses_or_writes_stays(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "one", seed=0)
    run("one", project, storage)
    write(project, "two", seed=1)
    artifacts = Artifacts(storage)
    used = artifacts.hashes("model")[:3]
    with artifacts.in_use(used), artifacts.create("model", "b" * 32, {}) as folder:
        (folder / "weights.bin").write_text("half")
        gc(capsys)
        assert artifacts.hashes("model") == used
    assert "b" * 32 in artifacts.hashes("model")
    gc(capsys)
    assert artifacts.hashes("model") == []


WAITING = """
import time
from pathlib import Path
import numpy as np
FOLDER = Path(__file__).parent
class Waiting:
    def fit(self, train, validation, *, seed):
        (FOLDER / "training").touch()
        while not (FOLDER / "go").exists():
            time.sleep(0.05)
    def initialise(self, train, *, seed): ...
    def embed(self, cells): return np.asarray(cells.read()[:, :2].todense(), dtype=np.float32)
    def save(self, folder): (folder / "weights.txt").write_text("1")
    def load(self, folder): ...
"""


@pytest.mark.slow
def test_a_worker_at_work_for_a_study_that_is_not_known_any_more_ends_well(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.parent / "waiting.py").write_text(WAITING)
    write(project, "one", seed=0)
    model = '[studies.one.models.waiting]\nkind = "custom"\nclass_path = "waiting.py:Waiting"\n'
    project.write_text(project.read_text() + model)
    study = load_project().study("one")
    command = "import sys; from nsl_assets.cli import main; sys.exit(main())"
    log = (project.parent / "log").open("w")
    running = subprocess.Popen([sys.executable, "-c", command, "run", "one"], stdout=log, stderr=log, env=os.environ)
    wait_for(project.parent / "training", running)
    write(project, "two", seed=1)
    gc(capsys)
    (project.parent / "go").touch()
    assert running.wait(150) == 0, (project.parent / "log").read_text()
    waited = [cell for cell in study.cells() if cell.model == "waiting"]
    assert all(is_measured(cell_hashes(study, cell), Artifacts(storage)) for cell in waited)


def wait_for(path: Path, process: subprocess.Popen[Any]) -> None:
    while not path.exists():
        assert process.poll() is None, "it ended before"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
