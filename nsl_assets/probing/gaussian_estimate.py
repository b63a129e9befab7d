"""What linear dependence alone tells: the Gaussian copula, or linear discriminants of classes.

Where the copula is not defined (one side fixes a combination of the other), the shrunk, cross-fitted Gaussian
base stands in.
"""

from dataclasses import replace

from nsl_assets.probing.gaussian import gaussian_information
from nsl_assets.probing.held_out import pooled_measurement
from nsl_assets.probing.measurement import Measurement, standard_error_bits
from nsl_assets.probing.pairs import Pairs
from nsl_assets.probing.settings import InfoNceSettings
from nsl_assets.probing.views import plain_view
from nsl_assets.randomness import generator


def measure_gaussian(pairs: Pairs, settings: InfoNceSettings, seed: int) -> Measurement:
    """Gaussian copula ± 1.96 standard errors of its terms; the floor is the same with pairs shuffled."""
    if pairs.classes is not None:
        from nsl_assets.probing.classifier import bounds_of_discriminants

        return pooled_measurement(bounds_of_discriminants(pairs, settings, seed))
    assert pairs.columns is not None
    view = plain_view(pairs.representation, pairs.columns)
    shuffled = view.re_paired(generator("gaussian floor", seed).permutation(len(pairs)))
    true, floor = gaussian_information(view.x, view.y), gaussian_information(shuffled.x, shuffled.y)
    if true is None or floor is None:
        from nsl_assets.probing.infonce import bounds_of_base

        held_out = pooled_measurement(bounds_of_base(pairs, settings, seed))
        return replace(held_out, flags=(*held_out.flags, "copula_undefined"))
    error = standard_error_bits(true.terms_bits - true.value_bits, pairs.group)
    return Measurement(
        value_bits=true.value_bits,
        low_bits=true.value_bits - 1.96 * error,
        high_bits=true.value_bits + 1.96 * error,
        floor_bits=floor.value_bits,
        diagnostics={"standard_error_bits": error, "chance_bits": true.chance_bits},
    )
