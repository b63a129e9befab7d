"""Distributions of pairs (representation, auxiliary signal), and their mutual information in bits."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nsl_assets.randomness import generator

Columns = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Map = Callable[[Columns], Columns]

_N_MONTE_CARLO = 200_000


def rotation(n: int, draws: np.random.Generator) -> Columns:
    """A random orthogonal matrix (n, n)."""
    rotated: Columns = np.linalg.qr(draws.standard_normal((n, n)))[0]
    return rotated


def correlated(d: int, bits: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """``bits`` spread evenly over ``d`` pairs of standard normal columns: ρ² = 1 - 2^(-2 bits/d)."""
    x = draws.standard_normal((n_pairs, d))
    noise = 2.0 ** (-bits / d)
    y: Columns = np.sqrt(1.0 - noise**2) * x + noise * draws.standard_normal((n_pairs, d))
    return x, y


def gaussian(
    columns: tuple[int, int], d: int, bits: float, n_pairs: int, draws: np.random.Generator
) -> tuple[Columns, Columns]:
    """``d`` informative dimensions, rotated among noise columns."""
    n_x, n_y = columns
    x, y = correlated(d, bits, n_pairs, draws)
    x = np.hstack([x, draws.standard_normal((n_pairs, n_x - d))])
    y = np.hstack([y, draws.standard_normal((n_pairs, n_y - d))])
    return x @ rotation(n_x, draws), y @ rotation(n_y, draws)


def mapped(
    d: int,
    bits: float,
    maps: tuple[Map, Map],
    n_pairs: int,
    draws: np.random.Generator,
) -> tuple[Columns, Columns]:
    """Correlated columns through monotone maps, each side then rotated."""
    x, y = correlated(d, bits, n_pairs, draws)
    return maps[0](x) @ rotation(d, draws), maps[1](y) @ rotation(d, draws)


def half_cube(z: Columns) -> Columns:
    """sign(z) |z|^1.5."""
    result: Columns = np.sign(z) * np.abs(z) ** 1.5
    return result


def uniform(z: Columns) -> Columns:
    """Φ(z), centred: uniform margins."""
    from scipy.special import ndtr

    result: Columns = ndtr(z) - 0.5
    return result


def steep(z: Columns) -> Columns:
    """sinh(1.5 z): very heavy tails."""
    result: Columns = np.sinh(1.5 * z)
    return result


def wiggly(z: Columns) -> Columns:
    """Monotone with waves: z + 0.45 sin(2 z)."""
    result: Columns = z + 0.45 * np.sin(2.0 * z)
    return result


def exponential(z: Columns) -> Columns:
    """-ln Φ(-z): exponential margins."""
    from scipy.special import log_ndtr

    result: Columns = -log_ndtr(-z)
    return result


def spiral(bits: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """The first two of three columns turned by an angle that grows with their squared distance from zero."""
    x, y = correlated(3, bits, n_pairs, draws)
    turned = np.exp(1j * np.square(x[:, :2]).sum(axis=1)) * (x[:, 0] + 1j * x[:, 1])
    return np.column_stack([turned.real, turned.imag, x[:, 2]]), y


def student(d: int, bits: float, freedom: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Correlated columns with one common random scale: also the scale is shared information."""
    x, y = correlated(d, bits, n_pairs, draws)
    scale = np.sqrt(freedom / draws.chisquare(freedom, n_pairs))[:, None]
    return x * scale, y * scale


def student_bits(d: int, bits: float, freedom: float) -> float:
    """Gaussian information plus what the common scale adds (Arellano-Valle, Contreras-Reyes & Genton 2013)."""
    from scipy.special import digamma, gammaln

    def entropy_nats(n: int) -> float:
        half, whole = freedom / 2, (freedom + n) / 2
        norm = gammaln(half) + 0.5 * n * np.log(freedom * np.pi) - gammaln(whole)
        return float(norm + whole * (digamma(whole) - digamma(half)))

    return bits + (2 * entropy_nats(d) - entropy_nats(2 * d)) / float(np.log(2))


def independent_student(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Five and five columns with two degrees of freedom and a scale of each side's own."""
    x, y = draws.standard_normal((2, n_pairs, 5))
    scales = np.sqrt(2.0 / draws.chisquare(2.0, (2, n_pairs, 1)))
    return x * scales[0], y * scales[1]


def clusters(
    n_clusters: int, d: int, spread: float, n_pairs: int, draws: np.random.Generator
) -> tuple[Columns, Columns]:
    """Both sides show the same cluster and independent noise: linear correlations are strong and say too much."""
    means = generator("calibration clusters", n_clusters, d).standard_normal((2, n_clusters, d))
    code = draws.integers(0, n_clusters, n_pairs)
    noise = spread * draws.standard_normal((2, n_pairs, d))
    return means[0, code] + noise[0], means[1, code] + noise[1]


def clusters_bits(n_clusters: int) -> float:
    """The cluster's entropy; at the suite's spread of 0.1 the clusters do not overlap."""
    return float(np.log2(n_clusters))


def parabola(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """y = first of 8 columns squared plus noise: no linear correlation at all."""
    x = draws.standard_normal((n_pairs, 8))
    return x, np.square(x[:, :1]) + 0.5 * draws.standard_normal((n_pairs, 1))


def parabola_bits() -> float:
    """By Monte Carlo over the signal's density."""
    return _additive_bits(np.square, 0.5)


def bump(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """y = a wave of the first of 4 columns plus noise."""
    x = draws.standard_normal((n_pairs, 4))
    return x, np.sin(2.0 * x[:, :1]) + 0.3 * draws.standard_normal((n_pairs, 1))


def bump_bits() -> float:
    """By quadrature over the signal's density."""
    return _additive_bits(lambda x: np.sin(2.0 * x), 0.3)


def _additive_bits(signal: Callable[[Columns], Columns], noise: float) -> float:
    """h(y) - h(noise) for y = signal(standard normal) + Gaussian noise, on a fine grid of y."""
    nodes = np.linspace(-7.0, 7.0, 4_001)
    weights = np.exp(-0.5 * nodes**2)
    weights /= weights.sum()
    values = signal(nodes)
    grid = np.linspace(values.min() - 6 * noise, min(values.max(), 60.0) + 6 * noise, 20_001)
    density = np.concatenate(
        [np.exp(-0.5 * ((part[:, None] - values) / noise) ** 2) @ weights for part in np.array_split(grid, 40)]
    ) / (noise * np.sqrt(2 * np.pi))
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), grid)
    return float((entropy - 0.5 * np.log(2 * np.pi * np.e * noise**2)) / np.log(2))


_MIXTURE = ((0.4, 1.5, 0.8), (0.4, -1.5, 0.8), (0.2, 0.0, -0.9))
_OUTLIERS = ((0.85, 0.0, 0.85), (0.15, 0.0, 0.0))


def mixture(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Three Gaussian components of three column pairs, one of them with the opposite correlation."""
    return _mixture(_MIXTURE, 3, n_pairs, draws)


def mixture_bits() -> float:
    """By Monte Carlo."""
    return _mixture_bits(_MIXTURE, 3)


def outliers(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """85 % correlated pairs, 15 % pairs whose sides have nothing to do with each other."""
    return _mixture(_OUTLIERS, 3, n_pairs, draws)


def outliers_bits() -> float:
    """By Monte Carlo."""
    return _mixture_bits(_OUTLIERS, 3)


Component = tuple[float, float, float]


def _mixture(
    components: tuple[Component, ...], d: int, n_pairs: int, draws: np.random.Generator
) -> tuple[Columns, Columns]:
    """Components (share, mean of all columns of both sides, correlation of each column pair)."""
    share, mean, rho = (np.array(values) for values in zip(*components, strict=True))
    which = draws.choice(len(share), n_pairs, p=share)
    x, noise = draws.standard_normal((2, n_pairs, d))
    y = rho[which, None] * x + np.sqrt(1 - rho[which, None] ** 2) * noise
    return x + mean[which, None], y + mean[which, None]


def _mixture_bits(components: tuple[Component, ...], d: int) -> float:
    from scipy.special import logsumexp

    x, y = _mixture(components, d, _N_MONTE_CARLO, generator("calibration truth mixture", d, len(components)))

    def log_density(part: Columns | None, other: Columns | None) -> Columns:
        logs = [np.log(p) + _log_normal(part, other, mean, rho) for p, mean, rho in components]
        total: Columns = logsumexp(logs, axis=0)
        return total

    return float((log_density(x, y) - log_density(x, None) - log_density(None, y)).mean() / np.log(2))


def _log_normal(x: Columns | None, y: Columns | None, mean: float, rho: float) -> Columns:
    """Log density of column pairs with unit variances up to the constant that cancels in the ratio."""
    parts = [side - mean for side in (x, y) if side is not None]
    if len(parts) == 1:
        single: Columns = -0.5 * np.square(parts[0]).sum(axis=1)
        return single
    u, v = parts
    rest = 1.0 - rho**2
    joint: Columns = (-0.5 * (u**2 + v**2 - 2 * rho * u * v) / rest - 0.5 * np.log(rest)).sum(axis=1)
    return joint


def counts(n_genes: int, share_expressed: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Counts of ``n_genes`` genes with mean e^(y - 1), each gene silent in a cell with 1 - ``share_expressed``."""
    y = draws.standard_normal((n_pairs, 1))
    x = draws.poisson(np.exp(y - 1.0), (n_pairs, n_genes))
    return (x * (draws.random(x.shape) < share_expressed)).astype(np.float64), y


def counts_bits(n_genes: int, share_expressed: float) -> float:
    """By Monte Carlo over counts, their likelihood summed over a quadrature of y."""
    from scipy.special import gammaln, logsumexp

    x, y = counts(n_genes, share_expressed, 50_000, generator("calibration truth counts", n_genes))

    def log_likelihood(eta: Columns) -> Columns:
        mean = np.exp(eta - 1.0)
        positive = np.log(share_expressed) + x * (eta - 1.0) - mean - gammaln(x + 1)
        zero = np.log(np.maximum(share_expressed * np.exp(-mean) + 1.0 - share_expressed, 1e-300))
        total: Columns = np.where(x > 0, positive, zero).sum(axis=1)
        return total

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    by_node = np.stack([log_likelihood(np.full_like(y, node)) for node in nodes])
    marginal = logsumexp(by_node, axis=0, b=(weights / weights.sum())[:, None])
    return float((log_likelihood(y) - marginal).mean() / np.log(2))


def censored(d: int, bits: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Auxiliary columns that are zero in half of the cells; ``bits`` would be shared without the zeros."""
    x, y = correlated(d, bits, n_pairs, draws)
    return x @ rotation(d, draws), np.maximum(y, 0.0)


def censored_bits(d: int, bits: float) -> float:
    """``d`` times h(y) - h(y | x) of one column with an atom at zero, by quadrature over x and y."""
    from scipy.special import log_ndtr

    rho, noise = np.sqrt(1.0 - 4.0 ** (-bits / d)), 2.0 ** (-bits / d)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    log_zero = log_ndtr(-rho * nodes / noise)
    at_zero = weights @ (np.exp(log_zero) * (log_zero - np.log(0.5)))
    y = np.linspace(0.0, 9.0, 20_001)
    log_given = -0.5 * ((y[:, None] - rho * nodes) / noise) ** 2 - np.log(noise)
    above = np.trapezoid(np.exp(log_given) * (log_given + 0.5 * y[:, None] ** 2), y, axis=0) / np.sqrt(2 * np.pi)
    return float(d * (at_zero + weights @ above) / np.log(2))


def rings(n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Columns]:
    """Points on three rings of a plane; the auxiliary signal is the ring's radius with noise."""
    radius = draws.integers(1, 4, n_pairs).astype(np.float64)
    angle = draws.uniform(0, 2 * np.pi, n_pairs)
    x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    y = radius[:, None] + 0.3 * draws.standard_normal((n_pairs, 1))
    return x + 0.01 * draws.standard_normal(x.shape), y


def rings_bits() -> float:
    """I(ring; y), by quadrature: the ring can be read off the plane without error."""
    grid = np.linspace(-2.0, 6.0, 40_001)
    given = np.exp(-0.5 * ((grid[:, None] - np.arange(1, 4)) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
    density = given.mean(axis=1)
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), grid)
    return float((entropy - 0.5 * np.log(2 * np.pi * np.e * 0.09)) / np.log(2))


def _class_means(n_classes: int, d: int, spread: float) -> Columns:
    means: Columns = spread * generator("calibration classes", n_classes, d).standard_normal((n_classes, d))
    return means


def classes(n_classes: int, d: int, spread: float, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Codes]:
    """Class means drawn once with standard deviation ``spread``, unit noise around them."""
    codes = draws.integers(0, n_classes, n_pairs)
    x = _class_means(n_classes, d, spread)[codes] + draws.standard_normal((n_pairs, d))
    return x, codes.astype(np.int32)


def class_bits(n_classes: int, d: int, spread: float) -> float:
    """H(Y) - H(Y|x) by Monte Carlo."""
    from scipy.special import log_softmax

    x, codes = classes(n_classes, d, spread, 100_000, generator("calibration truth", n_classes, d))
    means = _class_means(n_classes, d, spread)
    log_posterior = log_softmax(x @ means.T - 0.5 * np.square(means).sum(axis=1), axis=1)
    return float(np.log2(n_classes) + log_posterior[np.arange(len(x)), codes].mean() / np.log(2))


def independent_classes(n_classes: int, d: int, n_pairs: int, draws: np.random.Generator) -> tuple[Columns, Codes]:
    """Classes that the columns do not know."""
    return draws.standard_normal((n_pairs, d)), draws.integers(0, n_classes, n_pairs).astype(np.int32)
