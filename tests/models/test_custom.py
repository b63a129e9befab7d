from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.models import Custom, FitReport, Model, create, model_identity

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_model.py"

TOTALS = """
import numpy as np

class Totals:
    def __init__(self, factor: float = 1.0):
        self.factor = factor
    def fit(self, train, validation, *, seed):
        self.mean = train.read().sum() / train.n_cells
        return {returned}
    def initialise(self, train, *, seed):
        self.mean = 0.0
    def embed(self, cells):
        return {embedded}
    def save(self, folder):
        np.save(folder / "mean.npy", self.mean)
    def load(self, folder):
        self.mean = np.load(folder / "mean.npy", allow_pickle=False)
"""
GOOD = "np.asarray(cells.read().sum(axis=1))[:, None] * self.factor - self.mean"


@pytest.fixture
def write(tmp_path):
    def write(embedded=GOOD, returned="None", name="totals.py"):
        (tmp_path / name).write_text(TOTALS.format(embedded=embedded, returned=returned))
        return f"{tmp_path / name}:Totals"

    return write


def created(class_path, **settings):
    return create(Custom(class_path=class_path, settings=settings), task=None, level=1.0)


def test_the_example_runs_through_the_registry(make_cells, tmp_path):
    counts = np.random.default_rng(0).poisson(1.0, (200, 40)) * np.random.default_rng(1).integers(1, 5, (200, 1))
    counts[3] = 0
    cells = make_cells(counts)
    model = created(f"{EXAMPLE}:GeneProgrammes", n_programmes=3)
    assert isinstance(model, Model)
    report = model.fit(cells, cells, seed=1)
    assert isinstance(report, FitReport) and report.n_parameters == 3 * 40 and report.steps > 0
    embedding = model.embed(cells)
    assert embedding.shape == (200, 3) and embedding.dtype == np.float32 and (embedding >= 0).all()
    assert embedding.std(axis=0).min() > 0 and not embedding[3].any()
    model.save(tmp_path / "saved")
    loaded = created(f"{EXAMPLE}:GeneProgrammes", n_programmes=3)
    loaded.load(tmp_path / "saved")
    assert loaded.embed(cells).tobytes() == embedding.tobytes()
    again = created(f"{EXAMPLE}:GeneProgrammes", n_programmes=3)
    again.fit(cells, cells, seed=1)
    assert again.embed(cells).tobytes() == embedding.tobytes()
    again.initialise(cells, seed=2)
    assert not np.allclose(again.embed(cells), embedding)


def test_the_example_is_short():
    code = [line for line in EXAMPLE.read_text().split('"""', 2)[2].splitlines() if line.strip()]
    assert len(code) < 40


def test_a_model_may_report_nothing_and_gets_its_settings(write, cells, counts):
    model = created(write(), factor=2.0)
    report = model.fit(cells, replace(cells, rows=cells.rows[:5]), seed=0)
    assert (report.n_train_cells, report.n_validation_cells, report.stop_reason) == (300, 5, "not reported")
    assert report.seconds > 0
    expected = counts.sum(1) * 2.0 - counts.sum() / 300
    np.testing.assert_allclose(model.embed(cells)[:, 0], expected, rtol=1e-5)


def test_a_dotted_path_is_imported(write, tmp_path, monkeypatch, cells):
    write(name="my_totals_package.py")
    monkeypatch.syspath_prepend(tmp_path)
    model = created("my_totals_package:Totals")
    model.fit(cells, cells, seed=0)
    assert model.embed(cells).shape == (300, 1)
    assert "source_sha256" in model_identity(Custom(class_path="my_totals_package:Totals"))


def test_editing_the_source_changes_the_identity_and_the_class(write, cells):
    path = write()
    before = model_identity(Custom(class_path=path))
    assert before == model_identity(Custom(class_path=path, memory_mib=9))
    assert before == model_identity(Custom(class_path=write(name="moved.py")))
    assert before != model_identity(Custom(class_path=path, settings={"factor": 3}))
    write(embedded="np.ones((cells.n_cells, 2))")
    assert before != model_identity(Custom(class_path=path))
    assert created(path).embed(cells).shape == (300, 2)


@pytest.mark.parametrize(
    ("embedded", "message"),
    [
        ("np.ones(cells.n_cells)", r"shape \(300,\) for 300 cells"),
        ("np.ones((2, 2))", r"shape \(2, 2\) for 300 cells"),
        ("cells.read().sum(axis=1)[:, None] / cells.read().sum(axis=1)[:, None]", "1 of 300 cells hold NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_wrong_embeddings_are_named(write, cells, embedded, message):
    with pytest.raises(MeasurementError, match=message):
        created(write(embedded=embedded)).embed(cells)


def test_a_wrong_report_is_named(write, cells):
    with pytest.raises(InputError, match="fit returned str; return a FitReport or nothing"):
        created(write(returned="'done'")).fit(cells, cells, seed=0)


def test_classes_that_cannot_be_used_are_named(write, tmp_path):
    path = write()
    with pytest.raises(InputError, match=r"unexpected keyword argument 'width'.*arguments are \(factor"):
        created(path, width=3)
    with pytest.raises(InputError, match=r"no class 'Total'\. Its classes: Totals"):
        created(path.replace(":Totals", ":Total"))
    with pytest.raises(InputError, match="There is no file"):
        created(str(tmp_path / "absent.py:Model"))
    with pytest.raises(InputError, match=r"cannot be imported.*absent_module"):
        created("absent_module.models:Model")
    with pytest.raises(InputError, match="cannot be imported"):
        model_identity(Custom(class_path="absent_module.models:Model"))
    (tmp_path / "half.py").write_text("class Half:\n    def fit(self): ...\n    def embed(self): ...\n")
    with pytest.raises(InputError, match="has no method initialise, save, load"):
        created(f"{tmp_path / 'half.py'}:Half")
