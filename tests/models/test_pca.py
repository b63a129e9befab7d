from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import StandardScaler

from nsl_assets.errors import MeasurementError
from nsl_assets.models import Pca, create
from nsl_assets.models.highly_variable import gene_statistics, highly_variable_genes
from nsl_assets.models.pca import leading_eigenvectors


def fitted(cells, *, seed=0, **settings):
    model = create(Pca(**settings), task=None, level=1.0)
    report = model.fit(cells, replace(cells, rows=cells.rows[:0], cell_names=cells.cell_names[:0]), seed=seed)
    return model, report


def log_expression(counts, genes):
    dense = np.asarray(counts.toarray() if hasattr(counts, "toarray") else counts, dtype=float)
    return np.log1p(dense / np.maximum(dense.sum(1, keepdims=True), 1) * 1e4)[:, genes]


def chosen_genes(real):
    scores = gene_statistics(real.cells, "log_variance").scores
    return highly_variable_genes(scores, real.cells.gene_names, 750)


def up_to_sign(ours, reference):
    return ours * np.sign((ours * reference).sum(0))


def test_scores_are_those_of_sklearn_on_real_cells(real_cells):
    real = real_cells("citeseq_pbmc10k")
    model, report = fitted(real.cells)
    genes = chosen_genes(real)
    scaled = StandardScaler().fit_transform(log_expression(real.counts, genes))
    reference = PCA(16, svd_solver="full").fit(scaled)
    scores = reference.transform(scaled)
    np.testing.assert_allclose(report.notes["singular_values"], reference.singular_values_, rtol=1e-9)
    embedding = model.embed(real.cells)
    assert embedding.shape == (6855, 16) and embedding.dtype == np.float32
    np.testing.assert_allclose(up_to_sign(embedding, scores), scores, atol=1e-4 * np.abs(scores).max())


def test_uncentred_scores_are_those_of_truncated_svd(real_cells):
    real = real_cells("celltype_pbmc3k")
    model, report = fitted(real.cells, centred=False, n_components=8)
    genes = chosen_genes(real)
    expression = log_expression(real.counts, genes)
    reference = TruncatedSVD(8, algorithm="arpack", random_state=0)
    scores = reference.fit_transform(expression)
    np.testing.assert_allclose(report.notes["singular_values"], reference.singular_values_, rtol=1e-9)
    embedding = model.embed(real.cells)
    np.testing.assert_allclose(up_to_sign(embedding, scores), scores, atol=1e-4 * np.abs(scores).max())


def test_held_out_cell_types_are_found_by_neighbours_in_the_embedding(real_cells):
    from sklearn.neighbors import KNeighborsClassifier

    real = real_cells("celltype_pbmc3k")
    order = np.random.default_rng(0).permutation(real.cells.n_cells)
    train, probe = order[:1900], order[1900:]
    model, _ = fitted(replace(real.cells, rows=train, cell_names=real.cells.cell_names[train]))
    embedding = model.embed(real.cells)
    neighbours = KNeighborsClassifier(15).fit(embedding[train], real.labels[train])
    accuracy = neighbours.score(embedding[probe], real.labels[probe])
    assert accuracy >= 0.8, accuracy


def test_an_empty_cell_has_one_embedding_and_a_cell_does_not_depend_on_the_others(cells):
    model, _ = fitted(cells)
    whole = model.embed(cells)
    assert np.isfinite(whole).all()
    some = np.array([250, 0, 7, 0])
    part = model.embed(replace(cells, rows=some, cell_names=cells.cell_names[some]))
    np.testing.assert_array_equal(part, whole[some])


def test_numbers_do_not_depend_on_order_of_cells_chunks_or_seed(make_cells, counts):
    cells, chunked = make_cells(counts), make_cells(counts, chunk_entries=64)
    order = np.random.default_rng(3).permutation(len(counts))
    shuffled = replace(chunked, rows=order, cell_names=chunked.cell_names[order])
    first, second = fitted(cells, seed=1)[0], fitted(shuffled, seed=2)[0]
    assert first.embed(cells).tobytes() == second.embed(cells).tobytes()


def test_order_of_genes_changes_nothing_but_rounding(make_cells, counts):
    cells = make_cells(counts)
    order = np.random.default_rng(4).permutation(counts.shape[1])
    permuted = make_cells(counts[:, order], gene_names=cells.gene_names[order])
    settings = {"n_highly_variable_genes": 40, "n_components": 3}
    np.testing.assert_allclose(
        fitted(cells, **settings)[0].embed(cells),
        fitted(permuted, **settings)[0].embed(permuted),
        rtol=1e-4,
        atol=1e-4,
    )


def test_saved_and_loaded_embeds_the_same_bytes(cells, tmp_path):
    model, _ = fitted(cells)
    model.save(tmp_path / "model")
    loaded = create(Pca(), task=None, level=1.0)
    loaded.load(tmp_path / "model")
    assert loaded.embed(cells).tobytes() == model.embed(cells).tobytes()


def test_directions_without_variance_are_zero():
    low_rank = np.random.default_rng(0).normal(size=(20, 2))
    values, vectors = leading_eigenvectors(low_rank @ low_rank.T, 4)
    assert np.count_nonzero(values) == 2
    assert not vectors[:, 2:].any()
    assert np.all(vectors[np.abs(vectors[:, :2]).argmax(0), [0, 1]] > 0)


def test_untrained_baseline_is_orthonormal_directions_of_all_genes(cells, counts):
    model = create(Pca(), task=None, level=1.0)
    model.initialise(cells, seed=5)
    expression = log_expression(counts, slice(None))
    directions = np.linalg.lstsq(expression, model.embed(cells).astype(float), rcond=None)[0]
    seen = counts.any(0)
    np.testing.assert_allclose(model.embed(cells)[0], 0)
    gram = directions[seen].T @ directions[seen]
    assert np.linalg.norm(gram - np.eye(16)) < 1  # all but the genes never seen
    again = create(Pca(), task=None, level=1.0)
    again.initialise(cells, seed=6)
    assert not np.allclose(again.embed(cells), model.embed(cells))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((30, 40)), "0 of 30 training cells have a count"),
        (np.vstack([np.zeros((9, 40)), np.eye(3, 40)]), "3 of 12 training cells have a count"),
        (np.random.default_rng(0).poisson(2, (50, 10)), "10 genes, fewer than the 16 components"),
    ],
)
def test_too_few_cells_or_genes_are_named(make_cells, counts, message):
    with pytest.raises(MeasurementError, match=message):
        fitted(make_cells(counts))


def test_embedding_before_training_and_other_genes_are_errors(make_cells, cells, counts):
    from nsl_assets.errors import InputError

    with pytest.raises(MeasurementError, match="Call fit, initialise or load"):
        create(Pca(), task=None, level=1.0).embed(cells)
    other = make_cells(counts, gene_names=[f"other{i}" for i in range(counts.shape[1])])
    with pytest.raises(InputError, match="made for 120 genes"):
        fitted(cells)[0].embed(other)
