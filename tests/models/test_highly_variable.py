import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

from nsl_assets.models.highly_variable import gene_statistics, highly_variable_genes

SEURAT = "seurat_dispersion"


def scanpy_table(counts: csr_array, n_chosen: int):
    import anndata
    import scanpy as sc

    data = anndata.AnnData(csr_matrix(counts.astype(np.float64)))
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    sc.pp.highly_variable_genes(data, n_top_genes=n_chosen, flavor="seurat")
    return data.var


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["celltype_pbmc3k", "citeseq_pbmc10k"])
def test_genes_and_scores_are_those_of_scanpy(real_cells, name):
    real = real_cells(name)
    table = scanpy_table(real.counts, 750)
    scores = gene_statistics(real.cells, SEURAT).scores
    expected = table["dispersions_norm"].to_numpy()
    varying = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isfinite(scores), varying)
    np.testing.assert_allclose(scores[varying], expected[varying], rtol=1e-6, atol=1e-8)
    chosen = highly_variable_genes(scores, real.cells.gene_names, 750)
    np.testing.assert_array_equal(chosen, np.flatnonzero(table["highly_variable"]))


@pytest.mark.filterwarnings("ignore")
def test_genes_are_those_of_scanpy_on_thinned_counts_with_empty_cells(real_cells, make_cells):
    counts = real_cells("celltype_pbmc3k").counts[:800]
    thinned = counts.copy()
    thinned.data = np.random.default_rng(0).binomial(thinned.data, 0.002).astype(np.uint32)
    cells = make_cells(thinned.toarray())
    statistics = gene_statistics(cells, SEURAT)
    assert statistics.n_nonempty_cells == np.count_nonzero(thinned.sum(1)) < 800
    table = scanpy_table(thinned, 300)
    scores = statistics.scores
    cut = np.sort(scores)[-300]
    chosen = highly_variable_genes(scores, cells.gene_names, 300)
    assert np.all(table["highly_variable"].to_numpy()[chosen])  # scanpy takes every tie at the cut
    assert np.all(scores[chosen] >= cut - 1e-9)


def test_log_variance_is_the_variance_of_log_normalised_counts(real_cells):
    real = real_cells("citeseq_pbmc10k")
    dense = real.counts.toarray().astype(float)
    variance = np.log1p(dense / dense.sum(1, keepdims=True) * 1e4).var(axis=0)
    scores = gene_statistics(real.cells, "log_variance").scores
    np.testing.assert_allclose(np.exp(scores), variance, rtol=1e-10)
    chosen = highly_variable_genes(scores, real.cells.gene_names, 750)
    np.testing.assert_array_equal(chosen, np.sort(np.argsort(-variance)[:750]))


@pytest.mark.parametrize("criterion", ["log_variance", SEURAT])
def test_ties_are_ordered_by_name_not_by_place(make_cells, criterion):
    pattern = np.random.default_rng(1).poisson(2, (40, 1))
    counts = np.hstack([pattern] * 4 + [np.full((40, 1), 1)])
    for names in (["d", "b", "c", "a", "z"], ["a", "b", "c", "d", "z"]):
        cells = make_cells(counts, gene_names=names)
        chosen = highly_variable_genes(gene_statistics(cells, criterion).scores, cells.gene_names, 3)
        assert len({names[i] for i in chosen} & {"a", "b", "c"}) >= 2
        assert "d" not in {names[i] for i in chosen}


@pytest.mark.parametrize("criterion", ["log_variance", SEURAT])
def test_constant_genes_come_last_and_all_genes_are_taken_if_few(make_cells, criterion):
    counts = np.random.default_rng(2).poisson(1.0, (60, 6))
    counts[:, 2] = 0
    cells = make_cells(counts)
    scores = gene_statistics(cells, criterion).scores
    assert highly_variable_genes(scores, cells.gene_names, 5).tolist() == [0, 1, 3, 4, 5]
    assert highly_variable_genes(scores, cells.gene_names, 750).tolist() == [0, 1, 2, 3, 4, 5]
