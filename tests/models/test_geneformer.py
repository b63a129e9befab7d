"""The network, its training and its embeddings, against transformers' own."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM, get_linear_schedule_with_warmup

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.models import Geneformer, Model, Runtime, create, estimate_cost
from nsl_assets.models.geneformer.masking import Masking
from nsl_assets.models.geneformer.medians import gene_medians
from nsl_assets.models.geneformer.network import hidden_states, masked_loss, n_parameters, network_config
from nsl_assets.models.geneformer.optimiser import adamw, learning_rate_at
from nsl_assets.models.geneformer.tokens import TokenRows, write_tokens
from nsl_assets.models.geneformer.vocabulary import Vocabulary

SMALL = {
    "n_layers": 2,
    "hidden_size": 32,
    "n_heads": 2,
    "intermediate_size": 48,
    "max_length": 40,
    "batch_size": 16,
    "max_steps": 30,
    "warmup_steps": 5,
    "evaluate_every_steps": 10,
}


def small(**settings):
    return Geneformer(**{**SMALL, **settings})


def model_of(tmp_path, **settings):
    return create(small(**settings), task=None, level=1.0, runtime=Runtime(scratch=tmp_path))


def chosen(cells, rows):
    return replace(cells, rows=cells.rows[rows], cell_names=cells.cell_names[rows])


@pytest.fixture
def fitted(cells, tmp_path):
    model = model_of(tmp_path)
    report = model.fit(chosen(cells, slice(0, 240)), chosen(cells, slice(240, 300)), seed=3)
    return model, report


@pytest.fixture
def network_and_cells():
    """A network in evaluation and three cells of different lengths with hidden tokens."""
    rng = np.random.default_rng(0)
    lengths = [40, 23, 5]
    tokens = np.concatenate([rng.permutation(60)[:n] + 2 for n in lengths]).astype(np.uint16)
    rows = TokenRows(tokens, np.concatenate([[0], np.cumsum(lengths)]), np.arange(3, dtype=np.uint64))
    torch.manual_seed(0)
    network = BertForMaskedLM(network_config(small(initializer_range=0.3), 62)).eval()
    masking = Masking.of(Vocabulary.of_genes([f"g{i}" for i in range(60)], np.ones(60)), 0.3)
    return network, masking.masked(rows, np.arange(3), 0)


def test_several_devices_cost_a_process_each():
    one, two, three = (estimate_cost(small(n_devices=n), 500, 100).memory_mib for n in (1, 2, 3))
    assert two > one + 2 * 1_500
    assert three - two > 1_500


def test_parameter_counts_are_those_of_the_paper():
    for n_genes, millions in ((25_289, 8.279), (20_729, 7.108), (483, 1.904)):
        with torch.device("meta"):
            network = BertForMaskedLM(network_config(Geneformer(), n_genes + 2))
        assert round(n_parameters(network) / 1e6, 3) == millions
        assert Geneformer()._n_parameters(n_genes) == n_parameters(network)


def test_loss_and_hidden_states_are_those_of_the_full_forward_pass(network_and_cells):
    network, cells = network_and_cells
    ids, labels = torch.from_numpy(cells.ids), torch.from_numpy(cells.labels)
    attention_mask = (ids != 0).long()
    with torch.no_grad():
        full = network(input_ids=ids, attention_mask=attention_mask, labels=labels, output_hidden_states=True)
        torch.testing.assert_close(masked_loss(network, cells) / cells.n_hidden, full.loss)
        real = attention_mask.bool()
        torch.testing.assert_close(hidden_states(network, cells.ids)[real], full.hidden_states[-1][real])


def test_gradients_are_those_of_the_full_forward_pass(network_and_cells):
    network, cells = network_and_cells
    ids, labels = torch.from_numpy(cells.ids), torch.from_numpy(cells.labels)
    network(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss.backward()
    full = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    (masked_loss(network, cells) / cells.n_hidden).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, full[name], atol=1e-5, rtol=1e-4)


def test_dropout_is_on_in_training_also_in_the_last_layer(network_and_cells):
    network, cells = network_and_cells
    config = network_config(small(n_layers=1, hidden_dropout=0.0, attention_dropout=0.5), 62)
    network = BertForMaskedLM(config).train()
    with torch.no_grad():
        losses = {round(float(masked_loss(network, cells)), 6) for _ in range(4)}
    assert len(losses) == 4


def test_nothing_hidden_gives_no_loss_and_no_gradient(network_and_cells):
    network, cells = network_and_cells
    loss = masked_loss(network, replace(cells, labels=np.full_like(cells.labels, -100)))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_learning_rate_is_that_of_transformers():
    settings = Geneformer(warmup_steps=7)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimiser, 7, 30)
    for step in range(31):
        assert math.isclose(learning_rate_at(step, settings, 30), schedule.get_last_lr()[0], abs_tol=1e-12)
        optimiser.step()
        schedule.step()


def test_weights_decay_but_biases_and_normalisation_do_not():
    network = BertForMaskedLM(network_config(small(), 10))
    decays, stays = adamw(network, small()).param_groups
    assert (decays["weight_decay"], stays["weight_decay"]) == (1e-3, 0.0)
    assert all(parameter.ndim == 2 for parameter in decays["params"])
    assert all(parameter.ndim == 1 for parameter in stays["params"])
    assert len(decays["params"]) + len(stays["params"]) == len(list(network.parameters()))


def test_report_is_filled(fitted):
    _, report = fitted
    assert (report.n_train_cells, report.n_nonempty_train_cells, report.n_validation_cells) == (240, 239, 60)
    assert (report.steps, report.stop_reason, report.device, report.dtype) == (30, "all steps", "cpu", "float32")
    assert report.notes["evaluation_steps"] == [10, 20, 30] and report.notes["planned_steps"] == 30
    assert len(report.losses["train_loss"]) == len(report.losses["validation_loss"]) == 3
    assert report.epochs == pytest.approx(2.0) and report.notes["departures"] == []
    assert report.notes["n_genes_without_token"] == 1
    json.dumps(report.to_json())


def test_training_learns_which_genes_go_together(make_cells, tmp_path):
    """Two kinds of cells with genes of their own: predicting hidden genes needs the others."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 300)
    rates = np.where((np.arange(40) < 20) == kind[:, None].astype(bool), 3.0, 0.0)
    cells = make_cells(rng.poisson(rates))
    model = model_of(tmp_path, max_steps=200, learning_rate=5e-3, evaluate_every_steps=50)
    report = model.fit(chosen(cells, slice(0, 250)), chosen(cells, slice(250, 300)), seed=0)
    assert report.losses["validation_loss"][0] > report.losses["validation_loss"][-1]
    assert report.losses["validation_loss"][-1] < math.log(20) + 0.1 < math.log(40)
    embedding = model.embed(cells)
    between = np.linalg.norm(embedding[kind == 0].mean(0) - embedding[kind == 1].mean(0))
    assert between > 5 * embedding[kind == 0].std(0).mean()


def test_numbers_do_not_depend_on_order_or_chunks_of_the_store(make_cells, counts, tmp_path):
    cells = make_cells(counts)
    order = np.random.default_rng(0).permutation(len(counts))
    names = cells.cell_names[order]
    moved = replace(make_cells(counts[order], chunk_entries=64), cell_names=names)
    models = [model_of(tmp_path, max_steps=8) for _ in range(3)]
    for model, (train, seed) in zip(models, ((cells, 1), (moved, 1), (cells, 2)), strict=True):
        model.fit(train, train, seed=seed)
    first, second, other = (model.embed(cells) for model in models)
    assert first.tobytes() == second.tobytes()
    assert not np.allclose(first, other)


def test_global_random_states_are_left_alone(cells, tmp_path):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the state that must not change
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model_of(tmp_path, max_steps=2).fit(cells, cells, seed=0)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_embeddings_are_means_of_transformers_hidden_states(fitted, cells, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "model")
    network = BertForMaskedLM.from_pretrained(tmp_path / "model").eval()
    dictionary = json.loads((tmp_path / "model" / "token_dictionary.json").read_text())
    medians = json.loads((tmp_path / "model" / "gene_medians.json").read_text())
    assert dictionary["<pad>"] == 0 and dictionary["<mask>"] == 1
    assert dictionary["gene0007"] == 9 and "gene0119" not in medians
    table = Vocabulary(dictionary, medians).table(cells.gene_names)
    tokens = write_tokens(cells, table, tmp_path / "tokens.bin", max_length=40, of_empty=1)
    embedding = model.embed(cells)
    for row in (0, 1, 7, 299):
        ids = torch.from_numpy(tokens.padded(np.array([row]), 0))
        with torch.no_grad():
            hidden = network.bert(input_ids=ids).last_hidden_state
        np.testing.assert_allclose(embedding[row], hidden[0].mean(0).numpy(), atol=1e-5)


def test_a_cell_does_not_depend_on_the_others_but_for_rounding(fitted, cells):
    model, _ = fitted
    whole = model.embed(cells)
    assert whole.dtype == np.float32 and whole.shape == (300, 32) and np.isfinite(whole).all()
    some = np.array([250, 0, 7, 0, 199])
    part = model.embed(chosen(cells, some))
    np.testing.assert_allclose(part, whole[some], atol=2e-6)
    np.testing.assert_array_equal(part[1], part[3])


def test_empty_cells_have_one_embedding_to_the_last_digit_whatever_stands_beside_them(make_cells, tmp_path):
    counts = np.zeros((23, 30), np.uint32)
    counts[:15] = np.random.default_rng(0).poisson(1.0, (15, 30))
    counts[15:18, 4] = 1  # of one gene: as long as an empty cell
    rows = make_cells(counts)
    model = model_of(tmp_path, evaluation_batch_size=10)
    model.initialise(rows, seed=0)
    embedding = model.embed(rows)
    np.testing.assert_array_equal(embedding[18:], np.repeat(embedding[18:19], 5, axis=0))
    np.testing.assert_array_equal(model.embed(chosen(rows, [20]))[0], embedding[18])
    assert np.abs(embedding[18] - embedding[15]).max() > 1e-3


def test_validation_cells_without_a_hidden_token_do_not_stop_the_training(cells, tmp_path):
    model = model_of(tmp_path, mask_fraction=1e-9, max_steps=20)
    report = model.fit(chosen(cells, slice(0, 40)), chosen(cells, slice(40, 45)), seed=0)
    assert (report.steps, report.losses["validation_loss"]) == (20, [])
    assert any("no early stopping" in text for text in report.notes["departures"])


def test_saved_and_loaded_embeds_the_same_bytes(fitted, cells, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "model")
    assert not list((tmp_path / "model").glob("*.bin"))
    loaded = model_of(tmp_path)
    loaded.load(tmp_path / "model")
    assert loaded.embed(cells).tobytes() == model.embed(cells).tobytes()


def test_order_of_genes_changes_nothing_after_training(fitted, cells, make_cells, counts):
    model, _ = fitted
    order = np.random.default_rng(0).permutation(counts.shape[1])
    permuted = make_cells(counts[:, order], gene_names=cells.gene_names[order])
    np.testing.assert_array_equal(model.embed(permuted), model.embed(cells))


def test_untrained_baseline_sees_no_cell(cells, tmp_path):
    models = [model_of(tmp_path) for _ in range(3)]
    none = chosen(cells, slice(0, 0))
    for model, (train, seed) in zip(models, ((cells, 1), (none, 1), (none, 2)), strict=True):
        model.initialise(train, seed=seed)
    first, second, other = (model.embed(cells) for model in models)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    assert models[0]._fitted().vocabulary.medians == dict.fromkeys(map(str, cells.gene_names), 1.0)


def test_best_weights_are_restored_when_training_stops_early(cells, tmp_path):
    model = model_of(tmp_path, max_steps=400, learning_rate=0.02, patience=2, evaluate_every_steps=5)
    train, validation = chosen(cells, slice(0, 30)), chosen(cells, slice(240, 300))
    report = model.fit(train, validation, seed=0)
    assert report.stop_reason == "early stopping" and report.steps < 400
    losses = report.losses["validation_loss"]
    assert min(losses) == losses[-3] < losses[-1]
    parameters = model._fitted()
    table = parameters.vocabulary.table(cells.gene_names)
    tokens = write_tokens(validation, table, tmp_path / "tokens.bin", max_length=40)
    masked = Masking.of(parameters.vocabulary, 0.15).masked(tokens, tokens.nonempty(), "validation", 0)
    with torch.no_grad():
        loss = float(masked_loss(parameters.network.eval(), masked)) / masked.n_hidden
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_all_training_cells_empty_is_an_error(make_cells, tmp_path):
    cells = make_cells(np.zeros((20, 30)))
    with pytest.raises(MeasurementError, match="none of the 20 training cells has a count"):
        model_of(tmp_path).fit(cells, cells, seed=0)


def test_nothing_to_stop_the_published_training_is_an_error(cells, tmp_path):
    with pytest.raises(MeasurementError, match=r"none of the 1 validation cells has a count.*set max_steps"):
        model_of(tmp_path, max_steps=None).fit(cells, chosen(cells, slice(0, 1)), seed=0)


def test_a_loss_that_is_not_finite_ends_the_training(cells, tmp_path):
    model = model_of(tmp_path, learning_rate=1e30, warmup_steps=0, max_gradient_norm=1e30)
    with pytest.raises(MeasurementError, match=r"loss became (nan|inf) at step .* \(learning rate 1e\+30\)"):
        model.fit(cells, cells, seed=0)
    with pytest.raises(MeasurementError, match="Call fit, initialise or load"):
        model.embed(cells)


def test_few_cells_and_no_validation_are_noted(cells, tmp_path):
    few = chosen(cells, slice(1, 6))
    report = model_of(tmp_path, max_steps=4).fit(few, chosen(cells, slice(0, 1)), seed=0)
    assert report.steps == 4 and report.epochs == 4 and report.losses["validation_loss"] == []
    assert report.notes["departures"] == [
        "a step sees 5 cells, all there are, instead of 16",
        "the learning rate is still rising at the end: 4 steps, 5 warm-up",
        "no early stopping: of 1 validation cells none has a token to be predicted",
    ]


def test_epochs_follow_the_papers_budget(cells, tmp_path):
    factor = 2.5 * 299 / 10_000_000
    report = model_of(tmp_path, max_steps=None, epochs_factor=factor).fit(cells, cells, seed=0)
    assert report.epochs == 2 and report.steps == 2 * 19 and report.stop_reason == "all epochs"
    assert Geneformer().planned_steps(64_000) == 1000 * 1562
    assert Geneformer().planned_steps(10**9) == 10**9 // 64


def test_scratch_files_are_removed(fitted, cells, tmp_path):
    fitted[0].embed(cells)
    assert not [path for path in tmp_path.rglob("tokens*") if path.suffix == ".bin"]


def test_settings():
    quick = Geneformer(budget="quick")
    assert quick.max_steps and quick.max_length < 512
    assert Geneformer(budget="quick", max_steps=7).max_steps == 7
    assert Geneformer(n_devices=2).devices_wanted() == 2
    assert Geneformer(n_devices=2).identity() == Geneformer().identity() != quick.identity()
    with pytest.raises(ValueError, match="4 heads do not divide"):
        Geneformer(hidden_size=30)
    assert isinstance(create(quick, task=None, level=1.0), Model)
    costs = [estimate_cost(quick, n, genes) for n, genes in ((2400, 500), (4100, 4000), (100_000, 20_000))]
    assert [sorted(getattr(c, f) for c in costs) == [getattr(c, f) for c in costs] for f in ("seconds", "memory_mib")]
    assert all(5 < cost.seconds < 3600 and cost.device_memory_mib > 600 for cost in costs)


def test_unseen_genes_get_medians_of_zero_and_no_token(cells):
    medians = gene_medians(cells)
    assert medians[-1] == 0 and (medians[:-1] > 0).all()


def test_cells_of_another_task_are_refused(fitted, make_cells, counts):
    other = make_cells(counts, gene_names=[f"other{i}" for i in range(counts.shape[1])])
    with pytest.raises(InputError, match=r"knows 0 of the task's 120 genes.*The task has other0, other1"):
        fitted[0].embed(other)
