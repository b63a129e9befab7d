"""Settings of the probing room."""

from typing import Literal

from pydantic import Field, model_validator

from nsl_assets.settings import Settings

EstimatorName = Literal["pooled", "infonce", "lmi", "ksg", "gaussian_copula"]


class InfoNceSettings(Settings):
    """Held-out InfoNCE: a lower bound from a Gaussian base and a neural critic, cross-fitted.

    The estimators "pooled" and "infonce" share one training with these settings; "gaussian_copula" uses the folds
    alone, where it has to.
    """

    n_folds: int = Field(default=3, ge=2)
    """Cross-fitting folds from ``many_folds_below`` pairs on."""
    n_folds_few_pairs: int = Field(default=5, ge=2)
    """Cross-fitting folds below ``many_folds_below`` pairs."""
    many_folds_below: int = Field(default=1_000, ge=0)
    """Number of pairs below which more folds and fewer steps are used."""
    validation_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Part of the pairs outside a test fold that stops the training and weighs base and critic (at least 40)."""
    hidden_width: int = Field(default=128, ge=1)
    """Units in each of the critic's two hidden layers."""
    hidden_width_many_pairs: int = Field(default=256, ge=1)
    """The same from ``wide_from`` pairs on, where the small critic underfits."""
    wide_from: int = Field(default=5_000, ge=0)
    """Number of pairs from which the wide critic and ``max_steps_many_pairs`` are used."""
    critic_dimensions: int = Field(default=32, ge=1)
    """Dimensions in which the critic compares the two sides."""
    max_components: int = Field(default=64, ge=1)
    """A side with more columns enters the critic as this many principal components."""
    max_canonical: int = Field(default=32, ge=0)
    """Canonical coordinates of the Gaussian base that join a side's columns as the critic's input."""
    n_bumps: int = Field(default=16, ge=2)
    """Gaussian bumps along each column of a side with at most two columns."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Probability that a hidden unit is dropped in training."""
    batch_size: int = Field(default=256, ge=2)
    """Pairs a step; every pair is contrasted with all others of its batch."""
    learning_rate: float = Field(default=4e-3, gt=0)
    """AdamW's rate at the first step; it falls to zero along half a cosine."""
    weight_decay: float = Field(default=1e-3, ge=0)
    """AdamW's weight decay."""
    averaging: float = Field(default=0.03, gt=0, le=1)
    """Weight of the newest step in the running mean of the parameters that is validated and kept; 1: no mean."""
    max_steps: int = Field(default=600, ge=1)
    """Largest number of training steps."""
    max_steps_few_pairs: int = Field(default=300, ge=1)
    """The same below ``many_folds_below`` pairs."""
    max_steps_many_pairs: int = Field(default=800, ge=1)
    """The same from ``wide_from`` pairs on."""
    validate_every: int = Field(default=25, ge=1)
    """Steps between validations."""
    patience: int = Field(default=8, ge=1)
    """Validations without improvement after which a network's training stops."""
    patience_few_pairs: int = Field(default=5, ge=1)
    """The same below ``many_folds_below`` pairs."""

    def width(self, n_pairs: int) -> int:
        """Units in each hidden layer for this number of pairs."""
        return self.hidden_width_many_pairs if n_pairs >= self.wide_from else self.hidden_width

    def steps(self, n_pairs: int) -> int:
        """Largest number of training steps for this number of pairs."""
        if n_pairs < self.many_folds_below:
            return self.max_steps_few_pairs
        return self.max_steps_many_pairs if n_pairs >= self.wide_from else self.max_steps


class LatentMutualInformationSettings(Settings):
    """Latent mutual information (Gowri et al. 2024): cross-predictive autoencoders, then nearest neighbours."""

    n_latent: int = Field(default=16, ge=1)
    """Latent dimensions of each side."""
    k_neighbours: int = Field(default=3, ge=1)
    """Nearest neighbours of the KSG estimate between the latents."""
    n_folds: int = Field(default=2, ge=2)
    """Cross-fitting folds: each part is estimated by networks that never saw it."""
    stop_fraction: float = Field(default=0.2, gt=0, lt=0.5)
    """Part of the pairs outside an estimated part that stops the training (at least 40)."""
    hidden_width: int = Field(default=192, ge=8)
    """Units in the widest layer; the next two have a half and a quarter."""
    latent_slope: float = Field(default=0.2, gt=0, le=1)
    """Slope of the latents below zero: 0.2 as published; 1, linear, loses about 0.1 bit less of 2 bits in 5 columns."""
    cross_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Dropout in the decoders that predict one side from the other's latent."""
    batch_size: int = Field(default=128, ge=1)
    """Pairs a step."""
    learning_rate: float = Field(default=1.5e-3, gt=0)
    """Adam's rate."""
    max_epochs: int = Field(default=40, ge=1)
    """Largest number of passes over the training pairs, where that is between ``fewest_steps`` and ``max_steps``."""
    fewest_steps: int = Field(default=200, ge=1)
    """Training steps allowed whatever the number of epochs."""
    max_steps: int = Field(default=500, ge=1)
    """Largest number of training steps, whatever the number of pairs."""
    validate_every: int = Field(default=25, ge=1)
    """Steps between validations."""
    patience: int = Field(default=6, ge=1)
    """Validations without improvement after which a network's training stops."""
    clip: float = Field(default=10.0, gt=0)
    """Standardised columns are clipped to ± this many standard deviations."""


class KsgSettings(Settings):
    """Nearest neighbours (Kraskov et al. 2004; Ross 2014 for classes) between the columns themselves."""

    k_neighbours: int = Field(default=3, ge=1)
    """Nearest neighbours that set the scale around each pair; more of them lower the variance, raise the bias."""


class ProbingSettings(Settings):
    """Which estimators measure the information between representation and auxiliary signal, and how."""

    estimators: tuple[EstimatorName, ...] = Field(
        default=("pooled", "infonce", "lmi", "ksg", "gaussian_copula"), min_length=1
    )
    """Estimators that are computed and stored."""
    headline: EstimatorName = "pooled"
    """The estimator whose value is fitted and reported first; left out, and not computed: the first that is."""
    infonce: InfoNceSettings = InfoNceSettings()
    """Settings of the held-out InfoNCE bound, from which "pooled" is made too."""
    lmi: LatentMutualInformationSettings = LatentMutualInformationSettings()
    """Settings of latent mutual information."""
    ksg: KsgSettings = KsgSettings()
    """Settings of the nearest-neighbour estimate on the columns themselves."""

    @model_validator(mode="after")
    def _headline_is_computed(self) -> "ProbingSettings":
        if self.headline in self.estimators:
            return self
        if "headline" not in self.model_fields_set:
            self.__dict__["headline"] = self.estimators[0]
            return self
        message = (
            f"headline {self.headline!r} is not among the estimators {list(self.estimators)}: add it there,"
            " or name one of them"
        )
        raise ValueError(message)
