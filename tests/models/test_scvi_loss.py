import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from nsl_assets.models.scvi.counts import batch_of
from nsl_assets.models.scvi.loss import rising_factorial
from nsl_assets.models.scvi.network import negative_elbo, store_by_gene

vae = pytest.importorskip("scvi.module").VAE


def network(n_genes, *, dtype=torch.float64, **settings):
    torch.manual_seed(0)
    module = vae(n_input=n_genes, n_batch=1, n_labels=1, n_hidden=32, n_latent=5, **settings).to(dtype)
    module.px_r.data *= 3  # from strongly to hardly overdispersed genes
    return module


def overdispersed_counts(n_cells, n_genes, density, seed=0):
    rng = np.random.default_rng(seed)
    mean = density * rng.lognormal(-1, 2, n_genes)
    counts = csr_array(rng.negative_binomial(0.5, 0.5 / (0.5 + mean), (n_cells, n_genes)).astype(np.float32))
    return counts[counts.sum(axis=1) > 0]


def loss_of_scvi_tools(module, counts, noise, kl_weight):
    dense = torch.from_numpy(counts.toarray()).to(noise.dtype)
    cell = torch.zeros(len(dense), 1)
    posterior, _ = module.z_encoder(torch.log1p(dense), cell)
    inference = {
        "z": posterior.loc + posterior.scale * noise,
        "qz": posterior,
        "ql": None,
        "library": torch.log(dense.sum(1))[:, None],
    }
    generative = module.generative(inference["z"], inference["library"], cell)
    return module.loss({"X": dense}, inference, generative, kl_weight=kl_weight).loss


def gradients(module, loss):
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize(("density", "is_sparse"), [(1.0, False), (0.02, True)])
@pytest.mark.parametrize("n_layers", [1, 2])
def test_loss_and_gradients_are_those_of_scvi_tools(density, is_sparse, n_layers):
    module, counts = network(700, n_layers=n_layers).eval(), overdispersed_counts(60, 700, density)
    noise = torch.randn(counts.shape[0], 5, dtype=torch.float64)
    expected = loss_of_scvi_tools(module, counts, noise, 0.3)
    expected_gradients = gradients(module, expected)
    batch = batch_of(counts, dtype=torch.float64)
    assert (batch.by_gene is not None) == is_sparse
    if is_sparse:
        store_by_gene(module.z_encoder)
    elbo = negative_elbo(module, batch, noise)
    ours = elbo.reconstruction + 0.3 * elbo.kl
    ours_gradients = gradients(module, ours)
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-11)
    assert ours_gradients.keys() == expected_gradients.keys() and len(ours_gradients) > 14
    for name, expected_gradient in expected_gradients.items():
        error = (ours_gradients[name] - expected_gradient).abs().max() / expected_gradient.abs().max()
        assert error < 1e-9, (name, float(error))


def test_large_counts_and_single_precision_agree_with_scvi_tools():
    module, counts = network(300, dtype=torch.float32).eval(), overdispersed_counts(40, 300, 20.0)
    assert counts.max() > 1000
    noise = torch.randn(counts.shape[0], 5)
    elbo = negative_elbo(module, batch_of(counts), noise)
    expected = loss_of_scvi_tools(module, counts, noise, 1.0)
    assert float((elbo.reconstruction + elbo.kl).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_rising_factorial_is_a_ratio_of_gamma_functions():
    from scipy.special import digamma, gammaln

    theta = torch.logspace(-6, 6, 25, dtype=torch.float64)
    counts = torch.tensor([1, 2, 15, 16, 17, 18, 1000], dtype=torch.float64)
    genes = torch.arange(25).repeat_interleave(7)
    value, slope = rising_factorial(theta, genes, counts.repeat(25))
    t, x = theta.numpy()[genes], counts.repeat(25).numpy()
    np.testing.assert_allclose(value, gammaln(x + t) - gammaln(t), rtol=1e-7)
    np.testing.assert_allclose(slope, digamma(x + t) - digamma(t), rtol=1e-7)


def test_extreme_logits_and_dispersions_leave_loss_and_gradients_finite():
    module = network(50, dtype=torch.float32).eval()
    module.px_r.data = torch.linspace(-40, 40, 50)
    module.decoder.px_dropout_decoder.bias.data = torch.linspace(-60, 60, 50).roll(7)
    counts = overdispersed_counts(30, 50, 30.0)
    elbo = negative_elbo(module, batch_of(counts), torch.randn(counts.shape[0], 5))
    found = gradients(module, elbo.reconstruction)
    assert torch.isfinite(elbo.reconstruction)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_the_loss_works_under_mixed_precision():
    module, counts = network(200, dtype=torch.float32).eval(), overdispersed_counts(64, 200, 1.0)
    noise, batch = torch.randn(counts.shape[0], 5), batch_of(counts)
    exact = gradients(module, sum(negative_elbo(module, batch, noise)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        elbo = negative_elbo(module, batch, noise)
    mixed = gradients(module, sum(elbo))
    for name in exact:
        cosine = torch.cosine_similarity(exact[name].flatten(), mixed[name].flatten(), dim=0)
        assert cosine > 0.98, (name, float(cosine))


@pytest.mark.parametrize(("n_genes", "millions"), [(25_289, 64.871), (20_729, 53.179), (483, 1.269)])
def test_parameter_counts_are_those_of_the_paper(n_genes, millions):
    with torch.device("meta"):
        module = vae(n_input=n_genes, n_batch=1, n_labels=1, n_hidden=512, n_latent=16)
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=6e-4)
