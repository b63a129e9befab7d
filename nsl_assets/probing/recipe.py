"""What both forms of held-out InfoNCE share: folds and training schedule by the number of pairs."""

from nsl_assets.probing.folds import Fold, cross_fitting_folds
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import InfoNceSettings
from nsl_assets.probing.stacked import Schedule
from nsl_assets.randomness import generator


def fold_pairs(pairs: Pairs, settings: InfoNceSettings, seed: int) -> list[Fold]:
    """Cross-fitting folds; more of them where pairs are few."""
    is_few = len(pairs) < settings.many_folds_below
    return cross_fitting_folds(
        len(pairs),
        n_folds=settings.n_folds_few_pairs if is_few else settings.n_folds,
        validation_fraction=settings.validation_fraction,
        generator=generator("infonce folds", seed),
        classes=pairs.classes,
        group=pairs.group,
    )


def training_schedule(n_pairs: int, settings: InfoNceSettings) -> Schedule:
    """Steps and patience by the number of pairs."""
    is_few = n_pairs < settings.many_folds_below
    return Schedule(
        n_steps=settings.steps(n_pairs),
        validate_every=settings.validate_every,
        patience=settings.patience_few_pairs if is_few else settings.patience,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        is_cosine=True,
        averaging=settings.averaging,
    )
