"""Latent mutual information (Gowri et al. 2024): cross-predictive autoencoders, then nearest neighbours.

Two encoders map representation and auxiliary to a few latent dimensions, from which both sides are predicted.
The information between the latents is then estimated on pairs that neither trained nor stopped the encoders.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import leaky_relu, silu

from nsl_assets.probing.folds import Fold, cross_fitting_folds
from nsl_assets.probing.ksg import ksg_terms_bits
from nsl_assets.probing.margins import standardised
from nsl_assets.probing.measurement import Measurement, standard_error_bits
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import LatentMutualInformationSettings
from nsl_assets.probing.stacked import (
    DropoutMasks,
    Layer,
    Schedule,
    Trained,
    batches,
    n_parameters,
    train,
    training_on,
    unpack,
)
from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float32]


def measure_latent(
    pairs: Pairs, settings: LatentMutualInformationSettings, seed: int, device: str = "cpu"
) -> Measurement:
    """KSG between held-out latents; ± 1.96 standard errors of its terms; floor from re-paired held-out latents.

    The floor pairs the same held-out latents anew: encoders that never saw these pairs make the shuffled
    problem exactly independent, so nothing is trained again. Interval and floor hold sampling error, not the
    bias of too small or too short-trained networks.
    """
    x, y = (
        standardised(columns, clip=settings.clip).astype(np.float32)
        for columns in (pairs.representation, _auxiliary_columns(pairs))
    )
    folds = cross_fitting_folds(
        len(pairs),
        n_folds=settings.n_folds,
        validation_fraction=settings.stop_fraction,
        generator=generator("lmi folds", seed),
        classes=pairs.classes,
        group=pairs.group,
    )
    with training_on(device):
        autoencoders = Autoencoders(x, y, folds, settings, seed=seed)
        latents = [autoencoders.latents(number) for number in range(len(folds))]
    terms, floor_terms = np.empty(len(pairs)), np.empty(len(pairs))
    order = generator("lmi floor", seed)
    for fold, (x_latent, y_latent) in zip(folds, latents, strict=True):
        terms[fold.test] = ksg_terms_bits(x_latent, y_latent, k=settings.k_neighbours)
        shuffled = y_latent[order.permutation(len(y_latent))]
        floor_terms[fold.test] = ksg_terms_bits(x_latent, shuffled, k=settings.k_neighbours)
    return _measurement(terms, floor_terms, folds, pairs, autoencoders.trained)


def _auxiliary_columns(pairs: Pairs) -> npt.NDArray[np.float64]:
    """Columns as they are; classes as one indicator each."""
    if pairs.classes is None:
        assert pairs.columns is not None
        return pairs.columns
    indicators: npt.NDArray[np.float64] = np.eye(pairs.classes.max() + 1)[pairs.classes]
    return indicators


def _measurement(
    terms: npt.NDArray[np.float64],
    floor_terms: npt.NDArray[np.float64],
    folds: Sequence[Fold],
    pairs: Pairs,
    trained: Trained,
) -> Measurement:
    value = float(terms.mean())
    fold_bits = [float(terms[fold.test].mean()) for fold in folds]
    deviations = terms.copy()
    for fold, bits in zip(folds, fold_bits, strict=True):
        deviations[fold.test] -= bits
    error = standard_error_bits(deviations, pairs.group)
    return Measurement(
        value_bits=value,
        low_bits=value - 1.96 * error,
        high_bits=value + 1.96 * error,
        floor_bits=float(floor_terms.mean()),
        diagnostics={
            "standard_error_bits": error,
            "n_folds": len(folds),
            "fold_bits": fold_bits,
            "steps": list(trained.steps),
            "stopping_losses": trained.losses.tolist(),
        },
    )


class Autoencoders:
    """Two encoders and four decoders a fold, trained together: each latent predicts both variables."""

    def __init__(
        self,
        x: Columns,
        y: Columns,
        folds: Sequence[Fold],
        settings: LatentMutualInformationSettings,
        *,
        seed: int,
    ) -> None:
        self._x, self._y = torch.as_tensor(x), torch.as_tensor(y)
        self._folds, self._latent_slope = folds, settings.latent_slope
        x_layers, y_layers = (_encoder_layers(side.shape[1], settings) for side in (x, y))
        self._parts = (x_layers, y_layers, *(_mirrored(x_layers),) * 2, *(_mirrored(y_layers),) * 2)
        schedule = _schedule(folds, settings)
        self._batches = batches(folds, settings.batch_size, schedule.n_steps, generator("lmi batches", seed))
        self._masks = DropoutMasks(settings.cross_dropout, generator("lmi dropout", seed))
        initial = self._initial([generator("lmi", seed, fold) for fold in range(len(folds))])
        self.trained: Trained = train(initial, self._loss, self._stopping_loss, schedule)

    def latents(self, fold: int) -> tuple[Columns, Columns]:
        """Latents (n_test, n_latent) of both variables for the pairs that a fold holds out."""
        rows = torch.as_tensor(self._folds[fold].test)[None]
        with torch.no_grad():
            x_encoder, y_encoder, *_ = self._split(self.trained.parameters[fold : fold + 1])
            x = _encode(self._x[rows], x_encoder, self._latent_slope)
            y = _encode(self._y[rows], y_encoder, self._latent_slope)
        return x[0].cpu().numpy(), y[0].cpu().numpy()

    def _initial(self, generators: Sequence[np.random.Generator]) -> Tensor:
        layers = [layer for part in self._parts for layer in part]
        return torch.as_tensor(np.stack([np.concatenate([_xavier(layer, g) for layer in layers]) for g in generators]))

    def _split(self, parameters: Tensor) -> list[list[tuple[Tensor, Tensor]]]:
        pieces = torch.split(parameters, [n_parameters(part) for part in self._parts], dim=1)
        return [unpack(piece, part) for piece, part in zip(pieces, self._parts, strict=True)]

    def _losses(self, parameters: Tensor, rows: Tensor, masks: DropoutMasks | None) -> Tensor:
        """Mean squared errors of all four predictions, summed, (n_networks,)."""
        x_encoder, y_encoder, x_from_x, x_from_y, y_from_x, y_from_y = self._split(parameters)
        x, y = self._x[rows], self._y[rows]
        x_latent = _encode(x, x_encoder, self._latent_slope)
        y_latent = _encode(y, y_encoder, self._latent_slope)
        own = _error(x, _decode(x_latent, x_from_x)) + _error(y, _decode(y_latent, y_from_y))
        cross_x, cross_y = _decode(y_latent, x_from_y, masks), _decode(x_latent, y_from_x, masks)
        return own + _error(x, cross_x) + _error(y, cross_y)

    def _loss(self, parameters: Tensor, networks: Tensor, step: int) -> Tensor:
        return self._losses(parameters, self._batches[step, networks], self._masks).sum()

    def _stopping_loss(self, parameters: Tensor, networks: Tensor) -> Tensor:
        losses = [
            self._losses(parameters[position : position + 1], self._stopping_rows(fold), None)
            for position, fold in enumerate(networks.tolist())
        ]
        return torch.cat(losses)

    def _stopping_rows(self, fold: int) -> Tensor:
        return torch.as_tensor(self._folds[fold].validation)[None]


def _encoder_layers(n_columns: int, settings: LatentMutualInformationSettings) -> tuple[Layer, ...]:
    width = settings.hidden_width
    return tuple(pairwise((n_columns, width, width // 2, width // 4, settings.n_latent)))


def _mirrored(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    return tuple((n_out, n_in) for n_in, n_out in reversed(layers))


def _schedule(folds: Sequence[Fold], settings: LatentMutualInformationSettings) -> Schedule:
    n_train = min(len(fold.train) for fold in folds)
    n_steps = settings.max_epochs * n_train // settings.batch_size
    return Schedule(
        n_steps=min(max(n_steps, settings.fewest_steps), settings.max_steps),
        validate_every=settings.validate_every,
        patience=settings.patience,
        learning_rate=settings.learning_rate,
        weight_decay=0.0,
        is_cosine=False,
    )


def _xavier(layer: Layer, draws: np.random.Generator) -> Columns:
    """Uniform weights with variance 2/(n_in + n_out), zero biases (Glorot & Bengio 2010)."""
    n_in, n_out = layer
    bound = np.sqrt(6.0 / (n_in + n_out))
    weights = draws.uniform(-bound, bound, n_in * n_out)
    return np.concatenate([weights, np.zeros(n_out)]).astype(np.float32)


def _encode(x: Tensor, weights: list[tuple[Tensor, Tensor]], latent_slope: float) -> Tensor:
    for weight, bias in weights[:-1]:
        x = silu(torch.baddbmm(bias, x, weight))
    weight, bias = weights[-1]
    return leaky_relu(torch.baddbmm(bias, x, weight), latent_slope)


def _decode(x: Tensor, weights: list[tuple[Tensor, Tensor]], masks: DropoutMasks | None = None) -> Tensor:
    """Dropout, where masks are given, before every layer."""
    for number, (weight, bias) in enumerate(weights):
        x = x if number == 0 else silu(x)
        x = x if masks is None else x * masks.draw(x)
        x = torch.baddbmm(bias, x, weight)
    return x


def _error(truth: Tensor, predicted: Tensor) -> Tensor:
    return torch.square(predicted - truth).mean(dim=(1, 2))
