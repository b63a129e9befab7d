"""`nsl report` as a user meets it: a study or a table, where the page is, and what bad input gets."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nsl_assets.cli import main
from nsl_assets.identity import cell_hashes
from nsl_assets.laws import noise_law
from nsl_assets.study import Study, load_project
from nsl_resources.results import MeasurementRow, Results, RunRow

Nsl = Callable[..., tuple[int, str, str]]
PROJECT = """
[studies.{name}]
description = "<b>mine</b>"
sizes = [100]
n_seeds = 2
untrained_baseline = "none"
noise = {{ kind = "binomial_thinning", levels = [1.0, 0.3, 0.1, 0.03] }}
probing = {{ estimators = ["pooled"] }}
[studies.{name}.tasks.cells]
kind = "simulated_cells"
[studies.{name}.models.pca]
kind = "pca"
"""


@pytest.fixture
def nsl(storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nsl:
    """Runs the command line in a project of the studies `mine` and `other`."""
    (tmp_path / "dagster_project.toml").write_text(PROJECT.format(name="mine") + PROJECT.format(name="other"))
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["nsl", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of one curve, as anybody may have it."""
    depth = np.geomspace(10, 3000, 6)
    path = tmp_path / "mi.csv"
    frame = pd.DataFrame({"model": "pca", "umis_per_cell": depth, "mi_bits": noise_law(depth, 2.0, 200.0)})
    frame.to_csv(path, index=False)
    return path


def land(storage: Path, name: str) -> None:
    """Measurements and runs of all cells of the grid of a study."""
    study, results = load_project().study(name), Results(storage)
    results.land("measurement", [measurement(name, study, cell) for cell in study.cells()])
    results.land("run", [run(name, cell) for cell in study.cells()])
    results.publish()


def measurement(name: str, study: Study, cell: Any) -> MeasurementRow:
    hashes = cell_hashes(study, cell)
    depth = 2_000 * cell.level * (1 + 0.01 * cell.seed)
    return MeasurementRow(
        study=name, task=cell.task, model=cell.model, n_cells=cell.n_cells, level=cell.level, seed=cell.seed,
        is_trained=True, estimator="pooled", is_headline=True, mi_bits=float(noise_law(depth, 1.8, 200.0)),
        low_bits=None, high_bits=None, floor_bits=0.0, ceiling_bits=None, umis_per_cell=depth, n_probe_cells=500,
        n_nonempty_probe_cells=500, n_pairs=500, n_train_cells=100, gap_bits=0.1, flags=(),
        diagnostics={"beyond_gaussian_bits": 0.0}, data_hash=hashes.data, noised_hash=hashes.noised,
        model_hash=hashes.trained.model, embedding_hash=hashes.trained.embedding,
        measurement_hash=hashes.trained.measurement["pooled"], protocol="corrected", measured_at=datetime.now(UTC),
    )  # fmt: skip


def run(name: str, cell: Any) -> RunRow:
    return RunRow(
        run_id=f"{name}-{cell.label}", study=name, task=cell.task, model=cell.model, n_cells=cell.n_cells,
        level=cell.level, seed=cell.seed, status="succeeded", cpu_seconds=3.0, peak_memory_mib=700.0, device="cpu",
        training_seconds=2.0, stop_reason="closed form", n_parameters=4_321, losses={"train_loss": [3.0, 2.0]},
        library_versions={"numpy": "9.9.9"}, finished_at=datetime.now(UTC),
    )  # fmt: skip


def test_the_only_study_with_results_is_reported(nsl: Nsl, storage: Path) -> None:
    land(storage, "mine")
    code, out, _ = nsl("report")
    page = storage / "reports" / "mine" / "report.html"
    assert code == 0 and str(page) in out
    text = page.read_text()
    assert "&lt;b&gt;mine&lt;/b&gt;" in text and "<b>mine</b>" not in text
    assert "4,321" in text and "9.9.9" in text and "700" in text
    assert "figures/loss-cells-pca-100-cells-level-1.svg" in text
    assert "are not in storage any more" in text, "the data were never prepared: leakage cannot be checked"
    assert (page.parent / "data" / "noise-law.csv").read_text().startswith("task,model,n_cells,")


def test_paths_as_json(nsl: Nsl, storage: Path, tmp_path: Path) -> None:
    land(storage, "mine")
    code, out, _ = nsl("report", "mine", "--output", tmp_path / "there", "--json")
    paths = json.loads(out)
    assert code == 0
    assert paths["page"] == str(tmp_path / "there" / "report.html")
    assert all(Path(path).is_file() for path in paths["files"])
    assert not (storage / "reports" / "mine").exists()


def test_several_studies_with_results_are_listed(nsl: Nsl, storage: Path) -> None:
    land(storage, "mine")
    land(storage, "other")
    code, _, err = nsl("report")
    assert code == 1 and "mine, other" in err and "nsl report mine" in err


def test_without_measurements_it_says_what_to_run(nsl: Nsl) -> None:
    code, _, err = nsl("report")
    assert code == 1 and "nsl run quickstart" in err
    code, _, err = nsl("report", "mine")
    assert code == 1 and "no measurements yet" in err and "nsl run mine" in err


def test_a_table_gets_the_same_page(nsl: Nsl, table: Path, storage: Path) -> None:
    code, _, _ = nsl("report", table)
    text = (storage / "reports" / "mi" / "report.html").read_text()
    assert code == 0
    assert "mi.csv" in text and "2.00 (2.00–2.00)" in text
    assert "A table of measurements says nothing of training" in text


def test_options_of_a_table_reach_the_law(nsl: Nsl, table: Path, tmp_path: Path) -> None:
    code, _, _ = nsl("report", table, "--target", "0.5", "--output", tmp_path / "half")
    assert code == 0 and "UMIs per cell for 50 % of Imax" in (tmp_path / "half" / "report.html").read_text()
    code, _, err = nsl("report", "mine", "--target", "0.5")
    assert code == 1 and "--target" in err


def test_bad_input_is_one_message(nsl: Nsl, tmp_path: Path) -> None:
    code, _, err = nsl("report", tmp_path / "nothing.csv")
    assert code == 1 and "nothing.csv" in err and "Traceback" not in err
    (tmp_path / "bad.csv").write_text("umis_per_cell,mi_bits\n10,much\n")
    code, _, err = nsl("report", tmp_path / "bad.csv")
    assert code == 1 and "no curve can be read" in err and "'much'" in err


def test_a_second_report_leaves_no_file_of_the_first_and_touches_no_other(
    nsl: Nsl, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "page"
    assert nsl("report", table, "--output", folder)[0] == 0
    first = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    (folder / "figures" / "mine.svg").write_text("drawn by hand")
    pd.read_csv(table).assign(model="scvi").to_csv(table, index=False)
    assert nsl("report", table, "--output", folder)[0] == 0
    second = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    gone, new = first - second, second - first
    assert gone
    assert all("pca" in path.name for path in gone)
    assert (folder / "figures" / "mine.svg").read_text() == "drawn by hand"
    assert Path("figures/mine.svg") in new
    listed = set(map(Path, (folder / "files.txt").read_text().splitlines()))
    assert listed == second - {Path("figures/mine.svg"), Path("files.txt")}
