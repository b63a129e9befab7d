import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter, ValidationError

from nsl_assets.errors import InputError
from nsl_assets.models import (
    Custom,
    Embeddings,
    Model,
    ModelSettings,
    Oracle,
    Pca,
    RandomProjection,
    code_version,
    create,
    depends_on_size,
    estimate_cost,
    model_identity,
    needs_training,
)

HEAVY = (
    "torch",
    "numba",
    "sklearn",
    "anndata",
    "matplotlib",
    "pandas",
    "scvi",
    "transformers",
    "dagster",
    "scipy",
)
PARSER: TypeAdapter[ModelSettings] = TypeAdapter(ModelSettings)


def test_importing_the_room_imports_no_models_stack():
    code = f"import sys, nsl_assets.models; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_training_pca_imports_no_other_stack(make_cells, tmp_path):
    code = (
        "import sys; from nsl_assets.models import Pca, create; create(Pca(), task=None, level=1.0);"
        "import scipy.linalg, scipy.sparse, nsl_assets.tasks;"
        f"print([m for m in {HEAVY[:-1]!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"kind": "pca"}, Pca),
        ({"kind": "random_projection", "input": "raw", "fixed_seed": 42}, RandomProjection),
        ({"kind": "oracle"}, Oracle),
        ({"kind": "embeddings", "files": {"1.0": "a.npy"}}, Embeddings),
        ({"kind": "custom", "class_path": "package.module:Name"}, Custom),
    ],
)
def test_settings_are_told_apart_by_kind_and_survive_json(given, kind):
    settings = PARSER.validate_python(given)
    assert isinstance(settings, kind)
    assert PARSER.validate_json(PARSER.dump_json(settings)) == settings
    assert code_version(settings) == "1"


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "umap"},
        {"kind": "pca", "components": 3},
        {"kind": "pca", "n_components": 0},
        {"kind": "pca", "n_components": 20, "n_highly_variable_genes": 10},
        {"kind": "embeddings", "files": {}},
        {"kind": "embeddings", "files": {"deep": "a.npy"}},
        {"kind": "embeddings", "files": {"1": "a.npy", "1.0": "b.npy"}},
        {"kind": "custom", "class_path": "no_colon"},
    ],
)
def test_mistakes_in_settings_are_refused(given):
    with pytest.raises(ValidationError):
        PARSER.validate_python(given)


def test_linear_models_answer_the_protocol():
    for settings in (Pca(), RandomProjection()):
        assert isinstance(create(settings, task=None, level=0.5), Model)


def test_identity_is_json_and_changes_with_every_setting():
    identities = [
        model_identity(settings)
        for settings in (
            Pca(),
            Pca(n_components=8),
            Pca(centred=False),
            Pca(highly_variable_by="seurat_dispersion"),
            RandomProjection(),
            RandomProjection(input="raw"),
            RandomProjection(fixed_seed=42),
        )
    ]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == len(identities)
    assert all("code_version" in identity for identity in identities)


def test_what_depends_on_the_training_size():
    embeddings = Embeddings(files={"1": "a.npy"})
    assert [depends_on_size(s) for s in (Pca(), RandomProjection(), Oracle(), embeddings)] == [
        True,
        True,
        False,
        False,
    ]
    assert not depends_on_size(RandomProjection(input="raw"))
    assert [needs_training(s) for s in (Pca(), RandomProjection(), Oracle(), embeddings)] == [
        True,
        True,
        False,
        False,
    ]


def test_costs_grow_with_the_data_and_stay_plausible(cells):
    for settings in (Pca(), RandomProjection(), RandomProjection(input="raw")):
        small = estimate_cost(settings, n_train_cells=100, n_genes=500)
        large = estimate_cost(settings, n_train_cells=100_000, n_genes=20_000)
        assert 100 < small.memory_mib < large.memory_mib < 2000
        assert 0 < small.seconds < large.seconds < 600
    tables = Embeddings(files={"1": "absent.npy"})
    assert estimate_cost(tables, n_train_cells=10, n_genes=10).memory_mib > 0
    assert estimate_cost(Custom(class_path="a:B", memory_mib=7), n_train_cells=1, n_genes=1).memory_mib == 7


def test_a_report_is_json(cells):
    report = create(Pca(), task=None, level=1.0).fit(cells, cells, seed=0)
    record = json.loads(json.dumps(report.to_json()))
    assert record["n_train_cells"] == 300 and record["n_nonempty_train_cells"] == 299
    assert record["n_parameters"] == 120 * 16 and len(record["notes"]["singular_values"]) == 16


def test_the_oracle_needs_simulated_cells():
    with pytest.raises(InputError, match="simulated_cells"):
        create(Oracle(), task=SimpleNamespace(simulation=None), level=1.0)
