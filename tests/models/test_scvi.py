import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from nsl_assets.errors import InputError, MeasurementError, StorageError
from nsl_assets.models import Model, Runtime, Scvi, create

SMALL = {"n_hidden": 32, "n_latent": 4, "batch_size": 64, "max_epochs": 3}


def created(**settings):
    return create(Scvi(**{**SMALL, **settings}), task=None, level=1.0)


def some(cells, rows):
    rows = np.asarray(rows)
    return replace(cells, rows=cells.rows[rows], cell_names=cells.cell_names[rows])


def fitted(cells, *, seed=0, n_validation=60, **settings):
    model = created(**settings)
    split = np.arange(cells.n_cells)
    report = model.fit(some(cells, split[:-n_validation]), some(cells, split[-n_validation:]), seed=seed)
    return model, report


def untrained(cells, *, seed=0, **settings):
    model = created(**settings)
    model.initialise(some(cells, np.empty(0, int)), seed=seed)
    return model


@pytest.fixture(scope="module")
def latent_and_counts():
    """A latent state in two dimensions and shallow counts of it."""
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(900, 2))
    rate = np.exp(latent @ rng.normal(0, 0.6, (2, 150)) + rng.normal(-1, 1, 150))
    return latent, rng.poisson(rate * rng.lognormal(0, 0.3, (900, 1)))


def held_out_r2(embedding, latent):
    train, probe = slice(0, 600), slice(600, None)
    design = np.column_stack([embedding, np.ones(len(embedding))]).astype(float)
    weights = np.linalg.lstsq(design[train], latent[train], rcond=None)[0]
    return 1 - ((design[probe] @ weights - latent[probe]) ** 2).mean() / latent[probe].var()


def test_training_finds_the_latent_state(make_cells, latent_and_counts):
    latent, counts = latent_and_counts
    cells = make_cells(counts)
    model, report = fitted(some(cells, range(600)), budget="quick", n_hidden=64, batch_size=64, max_epochs=15)
    before = held_out_r2(untrained(cells, n_hidden=64).embed(cells), latent)
    after = held_out_r2(model.embed(cells), latent)
    assert after > 0.85, (before, after)
    assert after > before + 0.15, (before, after)
    assert report.losses["validation_loss"][-1] < report.losses["validation_loss"][0]


def test_the_report_says_what_happened(cells):
    _, report = fitted(cells)
    assert (report.n_train_cells, report.n_nonempty_train_cells, report.n_validation_cells) == (240, 239, 60)
    assert (report.epochs, report.steps, report.stop_reason) == (3.0, 12, "all epochs")
    assert (report.device, report.dtype) == ("cpu", "float32")
    assert report.n_parameters == 120 * (5 * 32 + 4) + 2 * (32 + 2 * 32) + 2 * (32 * 4 + 4) + 2 * 33 + (4 * 32 + 96)
    assert [len(losses) for losses in report.losses.values()] == [3, 3]
    assert report.notes["n_genes_seen_in_training"] <= 119
    assert report.notes["best_validation_loss"] == min(report.losses["validation_loss"])
    json.dumps(report.to_json())


def test_training_stops_when_the_validation_loss_does_and_the_best_weights_come_back(cells):
    model, report = fitted(cells, max_epochs=200, learning_rate=0.05, early_stopping_patience=2)
    losses = report.losses["validation_loss"]
    assert report.stop_reason == "early stopping" and len(losses) < 200
    best = int(np.argmin(losses)) + 1
    assert best < len(losses)
    again, _ = fitted(cells, max_epochs=best, learning_rate=0.05, early_stopping_patience=2)
    assert again.embed(cells).tobytes() == model.embed(cells).tobytes()


def test_same_seed_same_bytes_whatever_the_order_of_cells_and_chunks(make_cells, counts):
    cells, chunked = make_cells(counts), make_cells(counts, chunk_entries=64)
    order = np.random.default_rng(3).permutation(240)
    first, _ = fitted(cells)
    second = created()
    second.fit(some(chunked, order), some(chunked, np.arange(299, 239, -1)), seed=0)
    assert second.embed(cells).tobytes() == first.embed(cells).tobytes()
    other, _ = fitted(cells, seed=1)
    assert not np.allclose(other.embed(cells), first.embed(cells))


def test_training_leaves_the_global_state_of_torch_alone(cells):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fitted(cells)[0].embed(cells)
    assert torch.equal(torch.rand(3), expected)


def test_a_cells_embedding_does_not_depend_on_the_others(cells):
    model, _ = fitted(cells)
    whole = model.embed(cells)
    assert whole.shape == (300, 4) and whole.dtype == np.float32 and np.isfinite(whole).all()
    rows = [250, 0, 7, 0]
    np.testing.assert_array_equal(model.embed(some(cells, rows)), whole[rows])
    assert model.embed(some(cells, np.empty(0, int))).shape == (0, 4)


def test_all_empty_cells_have_one_embedding_and_train_nothing(make_cells, counts):
    with_empty = counts.copy()
    with_empty[100:120] = 0
    model, report = fitted(make_cells(with_empty))
    assert report.n_nonempty_train_cells == 240 - 21
    embedding = model.embed(make_cells(with_empty))
    assert len(np.unique(embedding[[0, *range(100, 120)]], axis=0)) == 1
    kept = [i for i in range(240) if i != 0 and not 100 <= i < 120]
    cells = make_cells(with_empty)
    alone = created()
    report_alone = alone.fit(some(cells, kept), some(cells, range(240, 300)), seed=0)
    assert report_alone.losses["train_loss"] == pytest.approx(report.losses["train_loss"], rel=0.05)


def test_saved_and_loaded_embeds_the_same_bytes_and_so_does_scvi_tools(cells, counts, tmp_path):
    import anndata
    import pandas as pd
    import scipy.sparse
    import scvi

    model, _ = fitted(cells)
    model.save(tmp_path / "model")
    loaded = created()
    loaded.load(tmp_path / "model")
    assert loaded.embed(cells).tobytes() == model.embed(cells).tobytes()

    theirs = anndata.AnnData(
        scipy.sparse.csr_matrix(counts[1:].astype(np.float32)),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(1, 300)]),
        var=pd.DataFrame(index=cells.gene_names.astype(str)),
    )
    latent = scvi.model.SCVI.load(tmp_path / "model", adata=theirs, accelerator="cpu").get_latent_representation()
    np.testing.assert_allclose(latent, model.embed(cells)[1:], rtol=1e-4, atol=1e-5)
    assert isinstance(loaded, Model)


def test_untrained_models_are_random_weights_of_the_seed(cells):
    first, second, other = (untrained(cells, seed=seed).embed(cells) for seed in (3, 3, 4))
    assert first.tobytes() == second.tobytes()
    assert not np.allclose(first, other)


def test_a_last_cell_that_would_be_alone_joins_the_batch_before(cells):
    _, report = fitted(some(cells, range(1, 190)), n_validation=60, batch_size=64)
    assert report.steps == 2 * 3  # 129 cells
    _, small = fitted(some(cells, range(1, 70)), n_validation=60, batch_size=64)
    assert small.steps == 3 and "9 non-empty training cells" in small.notes["batch"]


def test_threads_are_restored(cells):
    before = torch.get_num_threads()
    model = create(Scvi(**SMALL), task=None, level=1.0, runtime=Runtime(n_threads=before + 1))
    model.fit(some(cells, range(200)), some(cells, range(200, 300)), seed=0)
    assert torch.get_num_threads() == before


def test_a_loss_that_is_no_number_ends_the_training(cells):
    with pytest.raises(MeasurementError, match=r"training loss became .* Lower learning_rate"):
        fitted(cells, learning_rate=1e6, max_epochs=20)


def test_too_few_cells_are_named(make_cells, cells, counts):
    empty = make_cells(np.zeros((50, 120)))
    with pytest.raises(MeasurementError, match="0 of 40 training cells have a count"):
        fitted(empty, n_validation=10)
    one = np.zeros((50, 120))
    one[3] = counts[5]
    with pytest.raises(MeasurementError, match="1 of 40 training cells have a count"):
        fitted(make_cells(one), n_validation=10)
    with pytest.raises(MeasurementError, match="none of the 10 validation cells"):
        created().fit(cells, some(empty, range(10)), seed=0)


def test_embedding_before_training_other_genes_and_foreign_folders_are_errors(make_cells, cells, counts, tmp_path):
    with pytest.raises(MeasurementError, match="Call fit, initialise or load"):
        created().embed(cells)
    other = make_cells(counts, gene_names=[f"other{i}" for i in range(counts.shape[1])])
    with pytest.raises(InputError, match="made for 120 genes"):
        untrained(cells).embed(other)
    with pytest.raises(StorageError, match="holds no saved scVI model"):
        created().load(tmp_path)


def test_the_quick_budget_fills_in_what_is_not_set():
    assert Scvi(budget="quick").batch_size < Scvi().batch_size == 512
    assert Scvi(budget="quick", batch_size=77).batch_size == 77
    paper = Scvi()
    assert (paper.n_hidden, paper.n_latent, paper.learning_rate, paper.max_epochs) == (512, 16, 1e-3, None)
    assert "budget" not in paper.identity() and paper.identity() != Scvi(budget="quick").identity()


def test_costs_grow_with_the_data(cells):
    small, large = Scvi(budget="quick").cost(2400, 500), Scvi().cost(100_000, 20_000)
    assert 500 < small.memory_mib < 1500 < large.memory_mib < 12_000
    assert 0 < small.device_memory_mib < large.device_memory_mib
    assert small.seconds < 30 and large.seconds > 1000
    assert large.disk_mib == pytest.approx(4 * 20_000 * (5 * 512 + 4) / 2**20, rel=0.01)


def test_pickled_code_in_a_checkpoint_is_not_run(cells, tmp_path):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    model = untrained(cells)
    model.save(tmp_path / "model")
    content = torch.load(tmp_path / "model" / "model.pt", weights_only=False)
    content["attr_dict"]["history_"] = Evil()
    torch.save(content, tmp_path / "model" / "model.pt", pickle_module=pickle)
    loaded = created()
    loaded.load(tmp_path / "model")
    assert loaded.embed(cells).tobytes() == model.embed(cells).tobytes()
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_the_quick_budget_finds_cell_types_of_held_out_real_cells(real_cells):
    from sklearn.neighbors import KNeighborsClassifier

    real = real_cells("citeseq_pbmc10k")
    order = np.random.default_rng(0).permutation(real.cells.n_cells)
    train, probe = order[:4800], order[4800:]
    model = create(Scvi(budget="quick"), task=None, level=1.0)
    report = model.fit(some(real.cells, train[:4100]), some(real.cells, train[4100:]), seed=0)
    embedding = model.embed(real.cells)
    neighbours = KNeighborsClassifier(15).fit(embedding[train], real.labels[train])
    assert report.steps <= 15 * 33
    assert neighbours.score(embedding[probe], real.labels[probe]) >= 0.85
