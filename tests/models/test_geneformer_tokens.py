"""Tokens, medians, batches and masks, against naive references."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from nsl_assets.models.geneformer.batches import by_length, epoch_batches, portions, sample
from nsl_assets.models.geneformer.masking import IGNORED, Masking
from nsl_assets.models.geneformer.medians import gene_medians
from nsl_assets.models.geneformer.tokens import TokenRows, rank_tokens, write_tokens
from nsl_assets.models.geneformer.vocabulary import GeneTable, Vocabulary


def naive_medians(counts):
    counts = np.asarray(counts, dtype=np.float64)
    library = counts.sum(axis=1, keepdims=True)
    values = (counts * (10_000 / np.maximum(library, 1))).astype(np.float32)
    found = [column[column > 0].astype(np.float64) for column in values.T]
    return np.array([np.median(column) if column.size else 0.0 for column in found])


def naive_tokens(row, table, max_length):
    """As it is defined, gene by gene: by count / median in float32, of equal ones the smaller token first."""
    seen = [gene for gene in np.flatnonzero(row) if table.medians[gene] > 0]
    scored = [(-np.float32(row[gene] * (1 / table.medians[gene])), table.tokens[gene]) for gene in seen]
    return [int(token) for _, token in sorted(scored)][:max_length]


def published_values(row, medians, tokens):
    """Value of each token as the field defines it: count / library size * 10,000 / gene median."""
    return (row / row.sum() * 10_000 / np.where(medians > 0, medians, np.nan))[np.asarray(tokens) - 2]


def rows_of(ranked, lengths):
    return [list(map(int, part)) for part in np.split(ranked, np.cumsum(lengths)[:-1])]


def random_counts(n_cells, n_genes, seed):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.3, 1.0, (n_cells, n_genes)) * rng.lognormal(0, 1.5, n_genes)).astype(np.uint32)


def token_rows(lengths, n_genes=50, seed=0):
    rng = np.random.default_rng(seed)
    tokens = [rng.permutation(n_genes)[:length] + 2 for length in lengths]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = rng.integers(0, 2**63, len(lengths)).astype(np.uint64)
    return TokenRows(np.concatenate(tokens).astype(np.uint16), starts, keys)


@pytest.mark.parametrize("max_length", [1, 7, 64, 1000])
@pytest.mark.parametrize("n_genes", [40, 700])
def test_tokens_are_those_of_the_naive_definition(n_genes, max_length):
    rng = np.random.default_rng(n_genes)
    counts = random_counts(60, n_genes, seed=n_genes)
    counts[5] = 0
    medians = rng.lognormal(0, 2, n_genes) * (rng.random(n_genes) > 0.2)
    table = GeneTable((rng.permutation(n_genes) + 2).astype(np.uint32), medians)
    ranked, lengths = rank_tokens(csr_array(counts), table, max_length)
    assert rows_of(ranked, lengths) == [naive_tokens(row, table, max_length) for row in counts.astype(float)]


def test_equal_expression_is_ranked_by_token():
    counts = np.ones((1, 300), np.uint32)
    counts[0, 7] = 3
    medians = np.ones(300)
    medians[[7, 9]] = 3, 1 / 3
    shuffled = np.random.default_rng(0).permutation(300).astype(np.uint32)
    ranked, _ = rank_tokens(csr_array(counts), GeneTable(shuffled, medians), 300)
    assert ranked[0] == shuffled[9]
    assert list(ranked[1:]) == sorted(set(range(300)) - {int(shuffled[9])})


def test_counts_of_any_size_are_ranked():
    counts = np.array([[2**32 - 1, 1, 2**31, 70_000]], np.uint32)
    table = GeneTable(np.arange(2, 6, dtype=np.uint32), np.array([1.0, 1e-7, 1.0, 1e4]))
    assert list(rank_tokens(csr_array(counts), table, 4)[0]) == [2, 4, 3, 5]


def test_medians_are_exact(make_cells):
    counts = random_counts(301, 80, seed=1)
    counts[:, 3] = 0
    counts[9] = 0
    np.testing.assert_array_equal(gene_medians(make_cells(counts)), naive_medians(counts))


def test_medians_of_few_cells_and_of_none(make_cells):
    cells = make_cells(np.array([[2, 0, 0], [1, 3, 0], [0, 0, 0]]))
    np.testing.assert_allclose(gene_medians(cells), [(10_000 + 2_500) / 2, 7_500, 0])
    none = replace(cells, rows=cells.rows[:0], cell_names=cells.cell_names[:0])
    np.testing.assert_array_equal(gene_medians(none), np.zeros(3))


def test_tokens_and_medians_on_real_cells(real_cells):
    real = real_cells("citeseq_pbmc10k")
    some = np.arange(0, 6000, 40)
    cells = replace(real.cells, rows=some, cell_names=real.cells.cell_names[some])
    dense = real.counts[some].toarray()
    medians = gene_medians(cells)
    np.testing.assert_array_equal(medians, naive_medians(dense))
    table = Vocabulary.of_genes(cells.gene_names, medians).table(cells.gene_names)
    ranked, lengths = rank_tokens(csr_array(dense), table, 512)
    rows = rows_of(ranked, lengths)
    assert rows == [naive_tokens(row, table, 512) for row in dense.astype(float)]
    for tokens, row in zip(rows, dense, strict=True):
        values = published_values(row, medians, tokens)
        assert np.all(values[1:] <= values[:-1] * (1 + 1e-6))
        assert np.sum(published_values(row, medians, np.flatnonzero(row) + 2) > values[-1] * (1 + 1e-6)) < 512


def test_token_files_hold_every_cell_in_the_order_given(make_cells, tmp_path):
    counts = random_counts(50, 60, seed=2)
    counts[[0, 20, 49]] = 0
    cells = make_cells(counts, chunk_entries=64)
    table = Vocabulary.of_genes(cells.gene_names, gene_medians(cells)).table(cells.gene_names)
    order = np.random.default_rng(0).permutation(50)
    shuffled = replace(cells, rows=order, cell_names=cells.cell_names[order])
    expected = [naive_tokens(row, table, 9) for row in counts[order].astype(float)]
    written = write_tokens(shuffled, table, tmp_path / "tokens.bin", max_length=9)
    assert written.tokens.dtype == np.uint16
    assert rows_of(written.tokens, written.lengths) == expected
    with_empty = write_tokens(shuffled, table, tmp_path / "others.bin", max_length=9, of_empty=1)
    assert rows_of(with_empty.tokens, with_empty.lengths) == [row or [1] for row in expected]
    padded = with_empty.padded(np.array([3, 0]), pad=0, frame=(100, 101))
    wanted = [[100, *(expected[i] or [1]), 101] for i in (3, 0)]
    assert [list(line[line > 0]) for line in padded] == wanted


def test_many_genes_need_wider_tokens(make_cells, tmp_path):
    cells = make_cells(np.ones((2, 3)))
    table = GeneTable(np.array([5, 70_000, 80_000], np.uint32), np.ones(3))
    written = write_tokens(cells, table, tmp_path / "tokens.bin", max_length=9)
    assert written.tokens.dtype == np.uint32 and list(written.tokens[:3]) == [5, 70_000, 80_000]


def test_genes_without_median_or_token_are_dropped():
    vocabulary = Vocabulary.of_genes(["A", "B", "C"], np.array([1.0, 0.0, 2.0]))
    assert vocabulary.token_of == {"<pad>": 0, "<mask>": 1, "A": 2, "B": 3, "C": 4}
    table = vocabulary.table(["C", "other", "B", "A"])
    np.testing.assert_array_equal(table.medians, [2, 0, 0, 1])
    assert table.n_with_token == 2 and vocabulary.size == 5 and vocabulary.frame == ()
    ranked, _ = rank_tokens(csr_array(np.array([[2, 9, 9, 3]], np.uint32)), table, 9)
    assert list(ranked) == [2, 4]


def test_batches_hold_each_cell_once_and_cells_of_similar_length_together():
    rng = np.random.default_rng(0)
    tokens = token_rows(rng.integers(0, 50, 1000))
    batches = epoch_batches(tokens, 16, seed=1, epoch=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), tokens.nonempty())
    assert sorted({batch.size for batch in batches}) in ([16], [tokens.nonempty().size % 16, 16])
    spread = np.mean([np.ptp(tokens.lengths[batch]) for batch in batches])
    assert spread < 0.2 * np.ptp(tokens.lengths)
    assert all(np.all(np.diff(tokens.lengths[batch]) <= 0) for batch in batches)
    longest = [tokens.lengths[batch[0]] for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.4  # no curriculum by length


def test_batches_follow_from_cells_and_keys_alone():
    tokens = token_rows(np.random.default_rng(0).integers(1, 50, 200))
    order = np.random.default_rng(1).permutation(200)
    starts = np.concatenate([[0], np.cumsum(tokens.lengths[order])])
    moved = TokenRows(np.zeros(starts[-1], np.uint16), starts, tokens.keys[order])
    for one, other in zip(
        epoch_batches(tokens, 16, seed=1, epoch=3), epoch_batches(moved, 16, seed=1, epoch=3), strict=True
    ):
        np.testing.assert_array_equal(one, order[other])
    first = np.concatenate(epoch_batches(tokens, 16, seed=1, epoch=3))
    assert not np.array_equal(first, np.concatenate(epoch_batches(tokens, 16, seed=1, epoch=4)))
    assert not np.array_equal(first, np.concatenate(epoch_batches(tokens, 16, seed=2, epoch=3)))


def test_portions_are_bounded_and_lose_no_cell():
    tokens = token_rows([50, 40, 40, 30, 9, 9, 1, 0])
    rows = by_length(tokens, np.arange(8)[::-1])
    cut = list(portions(tokens, rows, 90))
    np.testing.assert_array_equal(np.concatenate(cut), rows)
    assert [list(tokens.lengths[part]) for part in cut] == [[50], [40, 40], [30, 9, 9], [1, 0]]
    assert [part.size for part in portions(tokens, rows, 1)] == [1] * 7 + [1]


def test_samples_are_nested_and_without_empty_cells():
    tokens = token_rows([5, 0, 3, 8, 0, 2])
    assert set(sample(tokens, None, 0)) == {0, 2, 3, 5}
    assert set(sample(tokens, 2, 0)) < set(sample(tokens, 3, 0))


@pytest.fixture
def masking():
    return Masking.of(Vocabulary.of_genes([f"g{i}" for i in range(400)], np.ones(400)), 0.15)


def test_masks_have_the_rates_of_bert(masking):
    tokens = token_rows([300] * 400, n_genes=400)
    rows = np.arange(400)
    before = tokens.padded(rows, 0)
    masked = masking.masked(tokens, rows, 1, 0)
    chosen = masked.labels != IGNORED
    np.testing.assert_array_equal(masked.labels[chosen], before[chosen])
    np.testing.assert_array_equal(masked.ids[~chosen], before[~chosen])
    n = chosen.sum()
    assert masked.n_hidden == n
    assert abs(n / chosen.size - 0.15) < 4 * np.sqrt(0.15 * 0.85 / chosen.size)
    now, was = masked.ids[chosen], before[chosen]
    hidden, left = now == 1, now == was
    for share, expected in ((hidden.mean(), 0.8), (left.mean(), 0.1 + 0.1 / 400)):
        assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / n)
    replaced = now[~hidden & ~left]
    assert replaced.min() >= 2 and replaced.max() <= 401
    assert np.bincount(replaced, minlength=402)[2:].max() < 30  # about 4.5 each: all genes alike
    by_place = chosen.mean(axis=0)
    assert np.abs(by_place - 0.15).max() < 5 * np.sqrt(0.15 * 0.85 / 400)


def test_masks_of_transformers_have_the_same_rates(masking):
    """The reference itself: chosen, hidden and left shares of HF's own function on the same tokens."""
    import torch
    from transformers import DataCollatorForLanguageModeling

    class Tokens:
        mask_token, pad_token, mask_token_id, pad_token_id = "<mask>", "<pad>", 1, 0

        def __len__(self):
            return 402

        def convert_tokens_to_ids(self, token):
            return {"<mask>": 1, "<pad>": 0}[token]

    tokens = token_rows([300] * 200, n_genes=400)
    before = torch.from_numpy(tokens.padded(np.arange(200), 0))
    collator = DataCollatorForLanguageModeling.__new__(DataCollatorForLanguageModeling)
    collator.__dict__.update(
        tokenizer=Tokens(),
        mlm_probability=0.15,
        mask_replace_prob=0.8,
        random_replace_prob=0.1,
        seed=None,
        generator=None,
    )
    ids, labels = collator.torch_mask_tokens(before.clone(), special_tokens_mask=torch.zeros_like(before))
    ours = masking.masked(tokens, np.arange(200), 5)
    theirs = [(labels != -100).float().mean(), (ids[labels != -100] == 1).float().mean()]
    mine = [(ours.labels != -100).mean(), (ours.ids[ours.labels != -100] == 1).mean()]
    np.testing.assert_allclose(mine, theirs, atol=0.015)


def test_masks_follow_the_cell_and_the_keys_not_the_batch(masking):
    tokens = token_rows([300, 200, 10], n_genes=400)
    together = masking.masked(tokens, np.array([0, 1, 2]), "seed", 3)
    alone = masking.masked(tokens, np.array([1]), "seed", 3)
    np.testing.assert_array_equal(together.ids[1, :200], alone.ids[0])
    assert np.all(together.labels[1, 200:] == IGNORED) and np.all(together.ids[1, 200:] == 0)
    assert not np.array_equal(alone.ids, masking.masked(tokens, np.array([1]), "seed", 4).ids)
    places, is_place = together.places()
    for row in range(3):
        np.testing.assert_array_equal(places[row][is_place[row]], np.flatnonzero(together.labels[row] != IGNORED))


def test_frames_are_never_hidden():
    token_of = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3} | {f"g{i}": i + 4 for i in range(400)}
    masking = Masking.of(Vocabulary(token_of, {}), 0.9)
    tokens = token_rows([50] * 100, n_genes=300)
    moved = replace(tokens, tokens=tokens.tokens + 2)
    masked = masking.masked(moved, np.arange(100), 0)
    assert np.all(masked.ids[:, 0] == 2) and np.all(masked.ids[:, -1] == 3)
    assert np.all(masked.labels[:, [0, -1]] == IGNORED) and masked.n_hidden > 4000
