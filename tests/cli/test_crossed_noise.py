"""Models probed at other noise levels than that of their training: the numbers, what is reused, what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from nsl_assets import models, probing
from nsl_assets.chain import links
from nsl_assets.cli.derive import Request, derive
from nsl_assets.cli.gc import collect_garbage
from nsl_assets.cli.transfer import export_study, import_study
from nsl_assets.crossed import read_noise_matrices
from nsl_assets.curves import read_curves
from nsl_assets.errors import InputError, StudyError
from nsl_assets.estimate import study_cost
from nsl_assets.grid import Measuring, is_measured, prepare_data, stored_task
from nsl_assets.identity import cell_hashes, noised_hash
from nsl_assets.randomness import integer_seed
from nsl_assets.reporting import write_report
from nsl_assets.study import GridCell, Study, load_project
from nsl_assets.tasks import CountRows, open_counts
from nsl_assets.worker import CellWork
from nsl_resources.artifacts import KINDS, Artifacts
from nsl_resources.results import Results

from .small_studies import platform, run, write

RAW = """
[studies.one.models.raw]
kind = "random_projection"
n_components = 4
input = "raw"
"""
LEVELS = "levels = [1.0, 0.5, 0.3]"
CROSSED = "select * exclude (landed_file, recorded_at) from cross_noise_measurement order by all"


@pytest.fixture
def project(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NSL_PROJECT", str(tmp_path))
    return tmp_path / "dagster_project.toml"


def write_crossed(project: Path, probe_levels: str = '"all"', *, keep_models: str = "all", more: str = RAW) -> Study:
    write(project, "one", keep_models=keep_models)
    text = project.read_text().replace("levels = [1.0, 0.3]", LEVELS)
    project.write_text(text.replace("n_seeds = 2", f"n_seeds = 2\nprobe_levels = {probe_levels}") + more)
    return load_project().study("one")


def stored(storage: Path) -> dict[str, int]:
    return {kind: len(Artifacts(storage).hashes(kind)) for kind in KINDS}


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the cells whose model was trained."""
    found: list[str] = []
    fit = CellWork._fit

    def counted(self, model, train):
        found.append(self.order.cell.label)
        return fit(self, model, train)

    monkeypatch.setattr(CellWork, "_fit", counted)
    return found


def by_hand(study: Study, cell: GridCell, probe_level: float, storage: Path) -> probing.Estimate:
    """Fitted at one level and embedded at the other, without the worker."""
    artifacts = Artifacts(storage)
    task = stored_task(study.tasks[cell.task], artifacts)

    def rows(which, level):
        path = artifacts.path("noised", noised_hash(study, cell.task, level, cell.seed)) / "counts.zarr"
        store = open_counts(path) if path.exists() else task.counts
        return CountRows(store, which, task.cell_names[which], task.gene_names)

    model = models.create(study.models[cell.model], task=task, level=cell.level)
    train, validation = task.train_rows(cell.n_cells, cell.seed), task.validation_rows()
    model.fit(rows(train, cell.level), rows(validation, cell.level), seed=cell.seed)
    pairs = task.pairs(cell.seed, probe_level)
    embedding = model.embed(rows(task.probe_rows(), probe_level))
    (estimate,) = probing.estimate_all(
        embedding[np.searchsorted(task.probe_rows(), pairs.rows)],
        task.signal(pairs, embedding),
        estimators=[study.probing.headline],
        settings=study.probing,
        seed=integer_seed("probe", cell.seed),
        group=task.pair_groups(pairs),
    )
    return estimate


def test_crossed_numbers_are_those_of_a_model_of_one_level_on_cells_of_another(project: Path, storage: Path):
    study = write_crossed(project, more="")
    run("one", project, storage)
    results = Results(storage)
    rows = results.query(CROSSED)
    assert len(rows) == 2 * 3 * 2 * 2, "sizes × levels × other levels × seeds"
    depths = {row["level"]: row["umis_per_cell"] for row in results.query("select * from measurement where seed = 1")}
    for train, probe in ((1.0, 0.3), (0.3, 1.0), (0.5, 0.3)):
        cell = GridCell(task="simulated", model="pca", n_cells=60, level=train, seed=1)
        (row,) = [
            row
            for row in rows
            if (row["n_cells"], row["train_level"], row["probe_level"], row["seed"]) == (60, train, probe, 1)
        ]
        expected = by_hand(study, cell, probe, storage)
        assert row["mi_bits"] == expected.value_bits
        assert (row["low_bits"], row["n_pairs"]) == (expected.low_bits, expected.n_pairs)
        assert (row["train_umis_per_cell"], row["probe_umis_per_cell"]) == (depths[train], depths[probe])
        assert (row["n_shared_cells"], row["n_train_cells"]) == (0, 60)


def test_what_learns_nothing_is_the_same_wherever_it_was_trained(project: Path, storage: Path):
    """A projection of raw counts does not know the noise of its training cells: no bit may differ."""
    write_crossed(project)
    run("one", project, storage)
    pairs = Results(storage).query(
        """select crossed.mi_bits, matched.mi_bits as matched_bits, crossed.truth_bits, matched.truth_bits as truth
        from cross_noise_measurement as crossed join measurement as matched using (study, task, model, n_cells, seed)
        where matched.level = crossed.probe_level and model = 'raw'"""
    )
    assert len(pairs) == 3 * 2 * 2
    for pair in pairs:
        assert (pair["mi_bits"], pair["truth_bits"]) == (pair["matched_bits"], pair["truth"])
    of_matrix = Results(storage).query("select * from train_probe_matrix where model = 'raw'")
    assert {(row["difference_bits"], row["difference_low_bits"]) for row in of_matrix} == {(0.0, 0.0)}
    learned = Results(storage).query("select * from train_probe_matrix where model = 'pca'")
    assert any(row["difference_bits"] != 0 for row in learned)


def test_without_the_option_nothing_is_crossed_and_with_it_no_hash_changes(project: Path):
    plain, crossed = write_crossed(project, "[]"), write_crossed(project)
    for cell in plain.cells():
        before, after = cell_hashes(plain, cell), cell_hashes(crossed, cell)
        assert before.crossed == ()
        assert after.model_copy(update={"crossed": ()}) == before
        assert [one.level for one in after.crossed] == [level for level in (1.0, 0.5, 0.3) if level != cell.level]
        assert [one.noised for one in after.crossed] == [
            noised_hash(plain, cell.task, one.level, cell.seed) for one in after.crossed
        ]
        assert {one.model for one in after.crossed} == {before.trained.model}
    chains = [links(cell_hashes(crossed, cell)) for cell in crossed.cells()]
    measurements = [link for chain in chains for link in chain if link[0] == "measurement"]
    assert len(measurements) == len(set(measurements)) == 18 + 36


def test_a_finished_study_is_crossed_without_training(project: Path, storage: Path, fits: list[str]):
    write_crossed(project, "[]")
    run("one", project, storage)
    before, rows = stored(storage), Results(storage).query("select * from measurement order by all")
    assert len(fits) == 18
    study = write_crossed(project, "[0.3]")
    cost = study_cost("one", study, platform(project, storage))
    assert cost.n_left == 12 and not any(model.disk_mib for model in cost.models)
    run("one", project, storage)
    assert len(fits) == 18, "no model was trained again"
    assert stored(storage) == before | {kind: before[kind] + 12 for kind in ("embedding", "measurement")}
    assert Results(storage).query("select * from measurement order by all") == rows
    assert {row["probe_level"] for row in Results(storage).query(CROSSED)} == {0.3}
    assert study_cost("one", study, platform(project, storage)).n_left == 0


def test_only_the_measurement_that_is_lost_is_made_again(project: Path, storage: Path, fits: list[str]):
    study = write_crossed(project)
    run("one", project, storage)
    before, artifacts = Results(storage).query(CROSSED), Artifacts(storage)
    assert len(before) == 36
    cell = next(study.cells())
    lost = cell_hashes(study, cell).crossed[1]
    (digest,) = lost.measurement.values()
    made = {one: (artifacts.path("measurement", one) / "measurement.json").stat() for one in all_measurements(storage)}
    shutil.rmtree(artifacts.path("measurement", digest))
    shutil.rmtree(artifacts.path("embedding", lost.embedding))
    assert not is_measured(cell_hashes(study, cell), artifacts)
    fits.clear()
    outcomes = list(Measuring("one", study, platform(project, storage)).run(list(study.cells())))
    assert [one.cell for one in outcomes if one.status == "succeeded"] == [cell]
    assert fits == []
    for one, status in made.items():
        now = (artifacts.path("measurement", one) / "measurement.json").stat()
        assert (now.st_mtime_ns == status.st_mtime_ns) == (one != digest)
    after = Results(storage).query(CROSSED)
    assert [dict(row, measured_at=None) for row in after] == [dict(row, measured_at=None) for row in before]


def all_measurements(storage: Path) -> list[str]:
    return Artifacts(storage).hashes("measurement")


@pytest.mark.parametrize("keep_models", ["none", "best"])
def test_models_that_are_not_kept_are_there_as_long_as_they_are_needed(
    project: Path, storage: Path, keep_models: str, fits: list[str], capsys: pytest.CaptureFixture[str]
):
    study = write_crossed(project, "[]", keep_models=keep_models, more="")
    run("one", project, storage)
    collect_garbage(None, is_dry_run=False, as_json=False)
    trained = len(fits)
    assert stored(storage)["model"] == (0 if keep_models == "none" else 2)
    study = write_crossed(project, "[1.0]", keep_models=keep_models, more="")
    if keep_models == "none":
        costs = study_cost("one", study, platform(project, storage)).models
        assert costs[0].n_left == 8
    run("one", project, storage)
    assert len(fits) > trained, "a model that was removed is trained again"
    assert len(Results(storage).query(CROSSED)) == 8
    collect_garbage(None, is_dry_run=False, as_json=False)
    assert stored(storage)["model"] == (0 if keep_models == "none" else 2)
    assert all(is_measured(cell_hashes(study, cell), Artifacts(storage)) for cell in study.cells())


def test_collecting_garbage_leaves_crossed_artifacts_until_the_option_is_gone(
    project: Path, storage: Path, capsys: pytest.CaptureFixture[str]
):
    write_crossed(project)
    run("one", project, storage)
    everything = stored(storage)
    collect_garbage(None, is_dry_run=False, as_json=False)
    assert stored(storage) == everything
    write_crossed(project, "[]")
    collect_garbage(None, is_dry_run=False, as_json=False)
    assert stored(storage) == everything | {kind: everything[kind] - 36 for kind in ("embedding", "measurement")}


def test_levels_that_are_not_stored_stop_before_any_worker(project: Path, storage: Path):
    study = write_crossed(project)
    where = platform(project, storage)
    prepare_data(study, "simulated", where)
    with pytest.raises(InputError, match=r"noise level 1 \(seed 0\) of task 'simulated' is not stored"):
        list(Measuring("one", study, where).run([next(study.cells())]))
    run("one", project, storage)
    artifacts = Artifacts(storage)
    shutil.rmtree(artifacts.path("noised", noised_hash(study, "simulated", 0.3, 0)))
    cell = next(study.cells())
    shutil.rmtree(artifacts.path("measurement", next(iter(cell_hashes(study, cell).crossed[1].measurement.values()))))
    with pytest.raises(InputError, match=r"noise level 0\.3 \(seed 0\) of task 'simulated' is not stored"):
        list(Measuring("one", study, where).run([cell]))


@pytest.mark.parametrize("probe_levels", ["[0.2]", "[1.0, 0.2, 0.1]"])
def test_a_probe_level_that_is_none_of_the_study_is_refused(project: Path, probe_levels: str):
    with pytest.raises(StudyError, match=r"probe_levels 0\.2.*Its levels are 1, 0\.5, 0\.3"):
        write_crossed(project, probe_levels)


def test_what_is_made_elsewhere_has_one_level_and_is_not_crossed(project: Path):
    files = '{ "1.0" = "a.npy", "0.5" = "b.npy", "0.3" = "c.npy" }'
    made = f'[studies.one.models.made]\nkind = "embeddings"\nfiles = {files}\n'
    study = write_crossed(project, more=made)
    crossed = {cell.model for cell in study.cells() if study.probe_levels_of(cell)}
    assert crossed == {"pca"}


@pytest.mark.slow
def test_the_report_has_the_section_only_where_there_is_something_to_show(project: Path, storage: Path):
    study = write_crossed(project, "[]")
    run("one", project, storage)
    results = Results(storage)
    plain = write_report(results, "one", study)
    assert "probed at another" not in plain.page.read_text()
    study = write_crossed(project)
    run("one", project, storage)
    written = write_report(results, "one", study)
    assert "Trained at one depth, probed at another" in written.page.read_text()
    names = {path.relative_to(written.folder).as_posix() for path in written.files}
    assert {f"figures/train-probe-simulated-{model}.svg" for model in ("pca", "raw")} <= names
    assert {"data/trained-at-full-depth.csv", "data/probed-at-full-depth.csv"} <= names


def test_the_matrix_of_the_report_is_that_of_the_view(project: Path, storage: Path):
    study, results = write_crossed(project), Results(storage)
    run("one", project, storage)
    headline = [one for one in read_curves(results, "one", study) if one.estimator == study.probing.headline]
    matrices = {(one.model, one.n_cells): one for one in read_noise_matrices(results, "one", study, headline)}
    view = results.query("select * from train_probe_matrix")
    assert len(view) == 3 * 9
    for row in view:
        one, place = matrices[row["model"], row["n_cells"]], (row["train_level"], row["probe_level"])
        difference = one.difference(*place)
        assert one.mean_bits(*place) == pytest.approx(row["mi_bits"], abs=1e-12)
        assert difference is not None
        assert difference.bits == pytest.approx(row["difference_bits"], abs=1e-12)
        assert difference.high_bits == pytest.approx(row["difference_high_bits"], abs=1e-6)
        assert one.umis_per_cell[row["probe_level"]] == pytest.approx(row["probe_umis_per_cell"])


def test_rows_of_earlier_settings_are_not_in_the_matrix(project: Path, storage: Path):
    write_crossed(project, more="")
    run("one", project, storage)
    study = write_crossed(project, "[0.3]", more="")
    headline = read_curves(Results(storage), "one", study)
    matrices = read_noise_matrices(Results(storage), "one", study, headline)
    assert len(Results(storage).query(CROSSED)) == 24
    for one in matrices:
        assert {place for place in one.bits if place[0] != place[1]} == {(1.0, 0.3), (0.5, 0.3)}


def test_crossed_rows_are_exported_and_imported(project: Path, storage: Path, tmp_path: Path):
    write_crossed(project, more="")
    run("one", project, storage)
    rows = Results(storage).query("select * from train_probe_matrix")
    export_study("one", tmp_path / "exported", as_json=False)
    import_study(tmp_path / "exported", "two", as_json=False)
    again = Results(storage).query("select * from train_probe_matrix where study = 'two'")
    assert [dict(row, study="one") for row in again] == rows
    assert len(rows) == 2 * 9


def test_a_study_of_a_file_takes_probe_levels(project: Path, small_h5ad: Path):
    project.write_text("")
    request = Request(h5ad=small_h5ad, auxiliary="obs:cell_type", n_levels=3, probe_levels="all")
    assert derive(request, load_project())[1]["probe_levels"] == "all"
    wrong = Request(h5ad=small_h5ad, auxiliary="obs:cell_type", n_levels=3, probe_levels=(0.7,))
    with pytest.raises(StudyError, match=r"Its levels are 1, 0\.158, 0\.025"):
        derive(wrong, load_project())
