"""scVI from a checkpoint that scvi-tools made by itself."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.errors import InputError, StorageError
from nsl_assets.models import Scvi, create, needs_training

from .conftest import simulated_counts

scvi = pytest.importorskip("scvi")


def annotated(counts, gene_names):
    import anndata
    import pandas as pd
    import scipy.sparse

    return anndata.AnnData(
        scipy.sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame({"donor": np.arange(len(counts)) % 2 * 1.0}, index=[f"c{i}" for i in range(len(counts))]),
        var=pd.DataFrame(index=list(map(str, gene_names))),
    )


def saved(folder, gene_names, *, setup=None, is_trained=False, **settings):
    """A checkpoint of scvi-tools on its own simulated cells; returns its model."""
    cells = annotated(simulated_counts(n_genes=len(gene_names), seed=4)[1:], gene_names)
    cells.obs["donor"] = cells.obs["donor"].astype("category")
    scvi.model.SCVI.setup_anndata(cells, **(setup or {}))
    model = scvi.model.SCVI(cells, n_hidden=24, n_latent=3, **settings)
    if is_trained:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        model.train(1, accelerator="cpu", enable_progress_bar=False, batch_size=100)
    model.save(folder, overwrite=True)
    return model


def names(n_genes=120):
    return np.array([f"gene{i:04d}" for i in range(n_genes)], dtype=object)


def created(folder, **settings):
    settings = {"batch_size": 64, "max_epochs": 2, **settings}
    return create(Scvi(checkpoint=str(folder), **settings), task=None, level=1.0)


def validation_of(cells):
    return replace(cells, rows=cells.rows[:60], cell_names=cells.cell_names[:60])


def theirs(model, counts, gene_names):
    cells = annotated(counts, gene_names)
    cells.obs["donor"] = cells.obs["donor"].astype("category")
    model.is_trained_ = True  # scvi-tools embeds with no other,
    model.module.eval()  # and leaves the dropout of one that it did not train on
    return model.get_latent_representation(cells)


def test_a_trained_checkpoint_frozen_embeds_as_scvi_tools_does(cells, counts, tmp_path):
    model = saved(tmp_path / "checkpoint", names(), is_trained=True)
    ours = created(tmp_path / "checkpoint", is_frozen=True)
    assert not needs_training(Scvi(checkpoint="x", is_frozen=True))
    report = ours.fit(cells, validation_of(cells), seed=0)
    assert (report.stop_reason, report.steps) == ("frozen", 0)
    embedding = ours.embed(cells)
    np.testing.assert_allclose(embedding[1:], theirs(model, counts[1:], names()), rtol=1e-4, atol=1e-5)
    ours.save(tmp_path / "saved")
    again = created(tmp_path / "gone", is_frozen=True)
    again.load(tmp_path / "saved")
    assert again.embed(cells).tobytes() == embedding.tobytes()


def test_genes_are_matched_by_name_missing_ones_are_zero_and_others_ignored(make_cells, counts, tmp_path):
    of_checkpoint = np.array([*names()[20:], *(f"elsewhere{i}" for i in range(30))])[::-1]
    model = saved(tmp_path, of_checkpoint)
    aligned = np.zeros((len(counts), len(of_checkpoint)), dtype=int)
    for column, name in enumerate(of_checkpoint):
        if name in names():
            aligned[:, column] = counts[:, list(names()).index(name)]
    cells = make_cells(counts)
    ours = created(tmp_path, is_frozen=True)
    ours.fit(cells, validation_of(cells), seed=0)
    np.testing.assert_allclose(ours.embed(cells)[1:], theirs(model, aligned[1:], of_checkpoint), rtol=1e-4, atol=1e-5)


def test_fine_tuning_begins_with_the_checkpoint_and_improves_on_it(cells, tmp_path):
    saved(tmp_path / "checkpoint", names())
    frozen, tuned = created(tmp_path / "checkpoint", is_frozen=True), created(tmp_path / "checkpoint")
    frozen.fit(cells, validation_of(cells), seed=0)
    tuned.initialise(cells, seed=0)
    np.testing.assert_array_equal(tuned.embed(cells), frozen.embed(cells))
    report = tuned.fit(cells, validation_of(cells), seed=0)
    assert report.losses["validation_loss"][1] < report.losses["validation_loss"][0]
    assert not np.allclose(tuned.embed(cells), frozen.embed(cells))
    tuned.save(tmp_path / "tuned")
    loaded = created(tmp_path / "gone")
    loaded.load(tmp_path / "tuned")
    assert loaded.embed(cells).tobytes() == tuned.embed(cells).tobytes()


def test_a_checkpoint_of_another_vocabulary_is_refused_before_training(make_cells, counts, tmp_path):
    saved(tmp_path, names())
    cells = make_cells(counts, gene_names=[f"ENSG{i:011d}" if i > 40 else f"gene{i:04d}" for i in range(120)])
    with pytest.raises(InputError, match=r"another vocabulary: 41 of its 120 genes .* gene ids .* min_shared_genes"):
        created(tmp_path).fit(cells, validation_of(cells), seed=0)
    created(tmp_path, min_shared_genes=0.3).initialise(cells, seed=0)


@pytest.mark.parametrize(
    ("setup", "settings", "message"),
    [
        ({"batch_key": "donor"}, {}, "several batches or covariates"),
        ({"categorical_covariate_keys": ["donor"]}, {}, "several batches or covariates"),
        ({}, {"gene_likelihood": "nb"}, "gene_likelihood = 'nb'"),
        ({}, {"dispersion": "gene-cell"}, "dispersion = 'gene-cell'"),
        ({}, {"use_batch_norm": "none"}, "use_batch_norm = 'none'"),
    ],
)
def test_what_cannot_be_trained_further_is_named_and_can_be_used_frozen(make_cells, tmp_path, setup, settings, message):
    counts = simulated_counts()
    cells = make_cells(counts)
    model = saved(tmp_path, names(), setup=setup, **settings)
    with pytest.raises(InputError, match=message):
        created(tmp_path).initialise(cells, seed=0)
    frozen = created(tmp_path, is_frozen=True)
    frozen.fit(cells, validation_of(cells), seed=0)
    np.testing.assert_allclose(frozen.embed(cells)[1:], theirs(model, counts[1:], names()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("setup", "settings", "message"),
    [
        ({"batch_key": "donor"}, {"encode_covariates": True}, "without encode_covariates"),
        ({}, {"latent_distribution": "ln"}, "latent_distribution = 'ln'"),
    ],
)
def test_an_encoder_that_needs_more_than_genes_is_refused(cells, tmp_path, setup, settings, message):
    saved(tmp_path, names(), setup=setup, **settings)
    with pytest.raises(InputError, match=message):
        created(tmp_path, is_frozen=True).initialise(cells, seed=0)


def test_folders_that_are_no_checkpoints_are_named(cells, tmp_path):
    with pytest.raises(InputError, match="cannot be read as a scVI model"):
        created(tmp_path).initialise(cells, seed=0)
    (tmp_path / "model.pt").write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be read as a scVI model"):
        created(tmp_path).initialise(cells, seed=0)
    with pytest.raises(StorageError, match="holds no saved scVI model"):
        created(tmp_path, is_frozen=True).load(tmp_path)
