"""Two gloo ranks on the CPU against one process, and what comes back when a rank fails."""

from dataclasses import replace

import numpy as np
import pytest

from nsl_assets.errors import InputError, MeasurementError
from nsl_assets.models import Geneformer, Runtime, create
from nsl_assets.models.geneformer import launch
from nsl_assets.models.geneformer.orders import read_error, write_error

SETTINGS = Geneformer(
    n_layers=2,
    hidden_size=32,
    n_heads=2,
    intermediate_size=48,
    max_length=40,
    batch_size=16,
    max_steps=20,
    warmup_steps=3,
    evaluate_every_steps=5,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    n_devices=2,
)


def fitted(cells, scratch, n_devices, **settings):
    said = []
    runtime = Runtime(n_devices=n_devices, scratch=scratch, say=said.append)
    model = create(SETTINGS.model_copy(update=settings), task=None, level=1.0, runtime=runtime)
    train = replace(cells, rows=cells.rows[:241], cell_names=cells.cell_names[:241])
    validation = replace(cells, rows=cells.rows[241:], cell_names=cells.cell_names[241:])
    return model, model.fit(train, validation, seed=3), said


@pytest.mark.slow
def test_two_ranks_train_as_one_process_does(cells, tmp_path, capfd):
    one, report, _ = fitted(cells, tmp_path, 1)
    several, ranks, said = fitted(cells, tmp_path, 2)
    assert (ranks.steps, ranks.stop_reason, ranks.n_devices) == (20, "all steps", 2)
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(ranks.losses[name], report.losses[name], atol=1e-4)
    assert ranks.losses["validation_loss"][-1] < ranks.losses["validation_loss"][0]
    np.testing.assert_allclose(several.embed(cells), one.embed(cells), atol=2e-3)
    assert not capfd.readouterr().out and not any("DeepSpeed" in line for line in said)
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.slow
def test_a_batch_of_one_cell_leaves_a_rank_without_work(cells, tmp_path):
    few = replace(cells, rows=cells.rows[:258], cell_names=cells.cell_names[:258])
    one, several = (fitted(few, tmp_path, n, batch_size=239, max_steps=4)[1] for n in (1, 2))
    np.testing.assert_allclose(several.losses["train_loss"], one.losses["train_loss"], atol=1e-4)


@pytest.mark.slow
def test_the_error_of_a_rank_comes_back(cells, tmp_path):
    with pytest.raises(MeasurementError, match=r"loss became (nan|inf) at step .*learning rate 1e\+30"):
        fitted(cells, tmp_path, 2, learning_rate=1e30, warmup_steps=0, max_gradient_norm=1e30)
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.slow
def test_a_killed_rank_ends_all(cells, tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text("import os, signal\nif os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\n"
                                       "import time; time.sleep(600)\n")  # fmt: skip
    monkeypatch.setattr(launch, "_RANK_MODULE", "dying")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MeasurementError, match=r"on 2 devices ended with exit code 1(.|\n)*Signal 9 \(SIGKILL\)"):
        fitted(cells, tmp_path, 2)


def test_errors_keep_their_kind(tmp_path):
    assert read_error(tmp_path) is None
    write_error(InputError("a file is missing"), tmp_path)
    error = read_error(tmp_path)
    assert type(error) is InputError and str(error) == "a file is missing"
