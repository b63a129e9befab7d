"""Checkpoints of the user: frozen, fine-tuned, and everything that can be wrong with one."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from nsl_assets.errors import InputError
from nsl_assets.models import Geneformer, Runtime, create, depends_on_size, model_identity, needs_training
from nsl_assets.models.geneformer.medians import gene_medians
from nsl_assets.models.geneformer.vocabulary import Vocabulary

N_GENES = 120
NAMES = [f"gene{i:04d}" for i in range(N_GENES)]


def write_checkpoint(folder, token_of, *, model=BertForMaskedLM, medians=None, **config):
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    size = max(token_of.values()) + 1
    network = model(BertConfig(**{**sizes, "vocab_size": size, "max_position_embeddings": 50, **config}))
    network.save_pretrained(folder)
    (folder / "token_dictionary.json").write_text(json.dumps(token_of))
    if medians is not None:
        (folder / "gene_medians.json").write_text(json.dumps(medians))
    return folder


def tokens_of(names, special=("<pad>", "<mask>")):
    return {name: i for i, name in enumerate([*special, *names])}


@pytest.fixture
def checkpoint(tmp_path):
    """Knows the genes in another order, and some that the task lacks."""
    return write_checkpoint(tmp_path / "checkpoint", tokens_of([*NAMES[::-1], "elsewhere1", "elsewhere2"]))


def model_of(checkpoint, tmp_path, **settings):
    settings = Geneformer(checkpoint=str(checkpoint), **settings)
    return create(settings, task=None, level=1.0, runtime=Runtime(scratch=tmp_path))


def by_hand(checkpoint, cells, counts, *, rows, medians, max_length):
    """Mean of HF's own hidden states over each cell's genes."""
    network = BertForMaskedLM.from_pretrained(checkpoint).eval()
    token_of = json.loads((checkpoint / "token_dictionary.json").read_text())
    frame = [token_of[name] for name in ("<cls>", "<eos>") if name in token_of]
    found = []
    for row in rows:
        genes = [gene for gene in np.flatnonzero(counts[row]) if str(cells.gene_names[gene]) in medians]
        tokens = np.array([token_of[str(cells.gene_names[gene])] for gene in genes])
        values = np.array([counts[row, gene] * (1 / medians[str(cells.gene_names[gene])]) for gene in genes])
        ranked = list(tokens[np.lexsort((tokens, -values.astype(np.float32)))][:max_length]) or [token_of["<mask>"]]
        ids = torch.tensor([[*frame[:1], *ranked, *frame[1:]]])
        with torch.no_grad():
            hidden = network.bert(input_ids=ids).last_hidden_state[0]
        found.append(hidden[len(frame) // 2 :][: len(ranked)].mean(0).numpy())
    return np.array(found)


def test_frozen_embeds_as_transformers_does(checkpoint, cells, counts, tmp_path):
    model = model_of(checkpoint, tmp_path, is_frozen=True)
    assert not needs_training(model.settings)
    report = model.fit(cells, cells, seed=0)
    assert (report.steps, report.stop_reason, report.losses["train_loss"]) == (0, "frozen", [])
    medians = {str(n): m for n, m in zip(cells.gene_names, gene_medians(cells), strict=True) if m > 0}
    expected = by_hand(checkpoint, cells, counts, rows=[0, 1, 50, 299], medians=medians, max_length=50)
    np.testing.assert_allclose(model.embed(cells)[[0, 1, 50, 299]], expected, atol=1e-5)


def test_a_config_that_asks_for_another_attention_gives_the_same_embeddings(checkpoint, cells, tmp_path):
    expected = model_of(checkpoint, tmp_path, is_frozen=True)
    expected.fit(cells, cells, seed=0)
    config = json.loads((checkpoint / "config.json").read_text())
    for name in ("attn_implementation", "_attn_implementation"):
        (checkpoint / "config.json").write_text(json.dumps(config | {name: "eager"}))
        model = model_of(checkpoint, tmp_path, is_frozen=True)
        model.fit(cells, cells, seed=0)
        np.testing.assert_array_equal(model.embed(cells), expected.embed(cells))


def test_a_frozen_checkpoint_depends_on_training_cells_only_where_it_has_no_medians(checkpoint):
    frozen = Geneformer(checkpoint=str(checkpoint), is_frozen=True)
    assert depends_on_size(frozen)
    (checkpoint / "gene_medians.json").write_text(json.dumps({NAMES[0]: 2.0}))
    assert not depends_on_size(frozen)
    assert depends_on_size(Geneformer(checkpoint=str(checkpoint)))
    # What is about training decides nothing of a frozen one.
    assert frozen.identity() == Geneformer(checkpoint=str(checkpoint), is_frozen=True, learning_rate=0.5).identity()


def test_medians_of_the_checkpoint_come_first(cells, counts, tmp_path):
    rng = np.random.default_rng(0)
    medians = {name: float(m) for name, m in zip(NAMES[:100], rng.lognormal(0, 2, 100), strict=True)}
    checkpoint = write_checkpoint(tmp_path / "own", tokens_of(NAMES), medians=medians)
    model = model_of(checkpoint, tmp_path, is_frozen=True, max_length=20)
    report = model.fit(cells, cells, seed=0)
    assert report.notes["n_genes_without_token"] == 20
    expected = by_hand(checkpoint, cells, counts, rows=[3, 4], medians=medians, max_length=20)
    np.testing.assert_allclose(model.embed(cells)[[3, 4]], expected, atol=1e-5)


def test_frames_of_geneformers_second_version(cells, counts, tmp_path):
    token_of = tokens_of(NAMES, ("<pad>", "<mask>", "<cls>", "<eos>"))
    checkpoint = write_checkpoint(tmp_path / "framed", token_of, medians=dict.fromkeys(NAMES, 1.0))
    model = model_of(checkpoint, tmp_path, is_frozen=True)
    model.fit(cells, cells, seed=0)
    expected = by_hand(checkpoint, cells, counts, rows=[0, 1, 2], medians=dict.fromkeys(NAMES, 1.0), max_length=48)
    np.testing.assert_allclose(model.embed(cells)[:3], expected, atol=1e-5)
    tuned = model_of(checkpoint, tmp_path, max_steps=3, warmup_steps=0)
    assert tuned.fit(cells, cells, seed=0).steps == 3
    assert np.isfinite(tuned.embed(cells)).all()


def test_fine_tuning_begins_at_the_checkpoint(checkpoint, cells, tmp_path):
    frozen = model_of(checkpoint, tmp_path, is_frozen=True)
    frozen.fit(cells, cells, seed=0)
    still = model_of(checkpoint, tmp_path, max_steps=2, warmup_steps=0, learning_rate=1e-9)
    report = still.fit(cells, cells, seed=0)
    assert report.steps == 2 and report.stop_reason == "all steps"
    np.testing.assert_allclose(still.embed(cells), frozen.embed(cells), atol=1e-5)
    tuned = model_of(checkpoint, tmp_path, max_steps=20, warmup_steps=0)
    tuned.fit(cells, cells, seed=0)
    assert np.abs(tuned.embed(cells) - frozen.embed(cells)).max() > 0.01
    tuned.save(tmp_path / "tuned")
    loaded = model_of(checkpoint, tmp_path)
    loaded.load(tmp_path / "tuned")
    assert loaded.embed(cells).tobytes() == tuned.embed(cells).tobytes()


def test_untrained_baseline_is_the_checkpoint_itself(checkpoint, cells, counts, tmp_path):
    model = model_of(checkpoint, tmp_path)
    model.initialise(replace(cells, rows=cells.rows[:0], cell_names=cells.cell_names[:0]), seed=0)
    expected = by_hand(checkpoint, cells, counts, rows=[5], medians=dict.fromkeys(NAMES, 1.0), max_length=50)
    np.testing.assert_allclose(model.embed(cells)[[5]], expected, atol=1e-5)


def test_another_padding_token(cells, counts, tmp_path):
    token_of = {name: i for i, name in enumerate([*NAMES, "<mask>", "<pad>"])}
    checkpoint = write_checkpoint(tmp_path / "other", token_of, medians=dict.fromkeys(NAMES, 1.0), pad_token_id=0)
    model = model_of(checkpoint, tmp_path, is_frozen=True)
    model.fit(cells, cells, seed=0)
    expected = by_hand(checkpoint, cells, counts, rows=[0, 9], medians=dict.fromkeys(NAMES, 1.0), max_length=50)
    np.testing.assert_allclose(model.embed(cells)[[0, 9]], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "cause"),
    [
        ([f"ENSG{i:011d}" for i in range(N_GENES)], "knows Ensembl identifiers, the task has symbols"),
        ([name.upper() for name in NAMES], "differ in their case"),
        ([f"{name}.3" for name in NAMES], "remove the versions"),
        ([*NAMES[:59], *(f"other{i}" for i in range(61))], "knows 59 of the task's 120 genes"),
    ],
)
def test_another_vocabulary_is_refused_before_training(names, cause, cells, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "foreign", tokens_of(names))
    for act in (lambda m: m.fit(cells, cells, seed=0), lambda m: m.initialise(cells, seed=0)):
        with pytest.raises(InputError, match=r"another vocabulary.*The task has gene0000") as error:
            act(model_of(checkpoint, tmp_path))
        assert cause in str(error.value) and names[0] in str(error.value)


def test_a_lower_share_is_a_setting(cells, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "few", tokens_of(NAMES[:30]))
    model = model_of(checkpoint, tmp_path, is_frozen=True, min_shared_genes=0.2)
    assert model.fit(cells, cells, seed=0).notes["n_genes_without_token"] == 90
    assert np.isfinite(model.embed(cells)).all()


def remove(name):
    return lambda folder: (folder / name).unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "does not exist|has no config.json"),
        (remove("token_dictionary.json"), 'no token_dictionary.json: put .* beside the network.*"<pad>": 0'),
        (remove("config.json"), "no config.json"),
        (pickled, "no model.safetensors: pickled weights"),
        (write("token_dictionary.json", "{"), "cannot be read as JSON"),
        (write("token_dictionary.json", "[1]"), "holds a list"),
        (write("token_dictionary.json", json.dumps(tokens_of(NAMES, ("<pad>",)))), '"<mask>"'),
        (write("token_dictionary.json", json.dumps(tokens_of([*NAMES, *"abcdef"]))), "has token 127, but the network"),
        (write("token_dictionary.json", json.dumps(tokens_of(NAMES) | {"x": 1.5})), "whole number of its own"),
        (write("gene_medians.json", '{"gene0000": 0}'), "median above 0"),
        (write("model.safetensors", "nothing"), "cannot be read"),
        (write("config.json", '{"model_type": "gpt2"}'), "type 'gpt2'; a 'bert' is needed"),
    ],
)
def test_damaged_checkpoints_are_named(damage, message, checkpoint, cells, tmp_path):
    damage(checkpoint)
    with pytest.raises(InputError, match=message):
        model_of(checkpoint, tmp_path).fit(cells, cells, seed=0)


def test_a_network_without_head_is_refused(cells, tmp_path):
    checkpoint = write_checkpoint(tmp_path / "headless", tokens_of(NAMES), model=BertModel)
    with pytest.raises(InputError, match=r"lacks \d+ weights of a BertForMaskedLM, among them cls"):
        model_of(checkpoint, tmp_path).fit(cells, cells, seed=0)


def test_identity_follows_the_content_of_the_checkpoint(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "copy")
    first, second = (Geneformer(checkpoint=str(folder)) for folder in (checkpoint, tmp_path / "copy"))
    assert model_identity(first) == model_identity(second)
    (tmp_path / "copy" / "gene_medians.json").write_text("{}")
    assert model_identity(first) != model_identity(second)


def test_vocabularies_keep_their_tokens_with_other_medians():
    vocabulary = Vocabulary({"<pad>": 0, "<mask>": 1, "A": 9}, {})
    scaled = vocabulary.with_medians(["A", "B"], np.array([2.0, 3.0]))
    assert scaled.token_of == vocabulary.token_of and scaled.table(["B", "A"]).medians.tolist() == [0, 2]
