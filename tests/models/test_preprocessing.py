import numpy as np
from scipy.sparse import csr_array

from nsl_assets.models.preprocessing import Moments, in_storage_order, log_normalised, sorted_parts


def test_each_cell_is_scaled_to_ten_thousand_counts_of_all_genes(counts):
    expected = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4)
    part = csr_array(counts.astype(np.uint32))
    np.testing.assert_allclose(log_normalised(part).toarray(), expected, rtol=1e-14)
    genes = np.array([3, 50, 119])
    np.testing.assert_allclose(log_normalised(part, genes).toarray(), expected[:, genes], rtol=1e-14)
    assert not log_normalised(part).toarray()[0].any()


def test_large_counts_stay_exact():
    part = csr_array(np.array([[2**32 - 1, 2**32 - 1], [1, 0]], dtype=np.uint32))
    np.testing.assert_allclose(np.expm1(log_normalised(part).toarray()), [[5e3, 5e3], [1e4, 0]])


def test_moments_are_those_of_numpy_and_know_constant_columns():
    values = np.random.default_rng(0).normal(3, 2, (50, 4))
    values[:, 1], values[:, 2] = 0.0, 0.1
    moments = Moments.of_sums(values.sum(0), (values**2).sum(0), 50, ddof=1)
    np.testing.assert_allclose(moments.mean, values.mean(0))
    np.testing.assert_allclose(moments.variance[[0, 3]], values.var(0, ddof=1)[[0, 3]])
    assert moments.is_constant.tolist() == [False, True, True, False]
    assert moments.inverse_deviation()[[1, 2]].tolist() == [0.0, 0.0]


def test_parts_hold_all_cells_in_storage_order_whatever_the_order_given(make_cells):
    from dataclasses import replace

    counts = np.arange(1, 5001)[:, None] * np.ones((1, 2), dtype=int)
    cells = make_cells(counts)
    order = np.random.default_rng(0).permutation(5000)
    shuffled = replace(cells, rows=cells.rows[order], cell_names=cells.cell_names[order])
    read = np.concatenate([part.toarray() for part in sorted_parts(shuffled)])
    np.testing.assert_array_equal(read, counts)
    stored, places = in_storage_order(shuffled)
    np.testing.assert_array_equal(shuffled.cell_names[places], stored.cell_names)
