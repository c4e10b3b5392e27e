"""Designs whose covariates are embeddings or images: clusters, latent factors, handwritten digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepdml.errors import MissingLibraryError, OptionError
from deepdml.simulate.draws import Float, Simulated, Truth, continuous, draw, generator

_MAP_SEED = 1905  # of the map from latent factors to columns, drawn once
_LOOPS = (0, 6, 8, 9)  # digits that are written with a closed loop
_IMAGES = 1_797


def wages(n: int = 10_000, seed: int | None = None) -> Simulated:
    """Gaussian outcome on clustered embeddings: log wage on experience, by kind of job.

    Cluster g uniform on 0..4; centroids c_g = 3 N(0, I_64); emb = c_g + 0.8 N(0, I_64);
    beta(x) = (0.4, 0.7, 1.0, 1.3, 1.6)[g]; alpha(x) = 2.5 + 0.3 sin(g); T = beta(x) + 0.5 N(0, 1);
    y = alpha + beta T + 0.3 N(0, 1). Population mean of beta: 1.

    Parameters
    ----------
    n : int
        Rows.
    seed : int or None
        Seed of the draw, centroids included; None draws afresh.

    References
    ----------
    The design of the embedding tutorial of deep-inference 0.2.0, with a treatment that the embedding confounds.
    """
    return _clustered("gaussian", n, seed, ("log_wage", "experience"), (0.4, 0.7, 1.0, 1.3, 1.6), level=2.5, noise=0.3)


def purchases(n: int = 16_000, seed: int | None = None) -> Simulated:
    """Binary outcome on clustered embeddings: purchase on discount, by kind of product.

    As `wages`, with beta(x) = (0.4, 0.8, 1.2, 1.6, 2.0)[g] in log-odds, alpha(x) = 0.5 + 0.3 sin(g),
    P(y = 1) = 1 / (1 + exp(-alpha - beta T)). Population mean of beta: 1.2.
    """
    return _clustered("logit", n, seed, ("bought", "discount"), (0.4, 0.8, 1.2, 1.6, 2.0), level=0.5)


def citations(n: int = 12_000, seed: int | None = None) -> Simulated:
    """Poisson outcome on clustered embeddings: citations on exposure, by kind of paper.

    As `wages`, with beta(x) = (0.3, 0.6, 1.0, 1.4, 1.8)[g] in log points, alpha(x) = 1 + 0.3 sin(g),
    y ~ Poisson(exp(alpha + beta T)), counts run to a thousand and are not clipped. Population mean of beta: 1.02.
    """
    return _clustered("poisson", n, seed, ("citations", "exposure"), (0.3, 0.6, 1.0, 1.4, 1.8), level=1.0)


def latent_factors(n: int = 10_000, seed: int | None = None) -> Simulated:
    """64 columns that are a non-linear map of five latent factors, which drive everything.

    f ~ N(0, I_5); x = tanh(f A + b) B / 8 with A (5, 64) of N(0, 0.5), b (64,) of N(0, 0.25) and B (64, 64) of N(0, 1),
    drawn once from a seed of their own (second arguments are variances); B is invertible and so is the map, so x says
    all about f. T = e + 0.7 N(0, 1), e = 0.7 sin(f1) + 0.4 f2 + 0.4 f3 f4;
    alpha = 1 + 0.7 sin(f1) + 0.4 f2 + 0.3 (f5^2 - 1), beta = 1 + 0.4 tanh(f1) + 0.3 cos(f3); y = alpha + beta T +
    N(0, 1). Population means: 1, and 1 + 0.3 exp(-1/2).

    References
    ----------
    Written for deepdml after the "latent factors" design of its prototype: embeddings of text have a low intrinsic
    dimension.
    """
    rng, fixed = generator(n, seed), np.random.default_rng(_MAP_SEED)
    inner, shift = fixed.normal(0, np.sqrt(0.5), (5, 64)), fixed.normal(0, 0.5, 64)
    outer = fixed.standard_normal((64, 64)) / 8
    f = rng.standard_normal((n, 5))
    common = 0.7 * np.sin(f[:, 0]) + 0.4 * f[:, 1]
    alpha = 1 + common + 0.3 * (f[:, 4] ** 2 - 1)
    beta = 1 + 0.4 * np.tanh(f[:, 0]) + 0.3 * np.cos(f[:, 2])
    law = continuous(rng, common + 0.4 * f[:, 2] * f[:, 3], 0.7)
    population = 1.0, 1 + 0.3 * float(np.exp(-0.5))
    truth = Truth("gaussian", np.column_stack([alpha, beta]), law, population)
    return draw(rng, truth, np.tanh(f @ inner + shift) @ outer, prefix="emb")


def digits(n: int = _IMAGES, seed: int | None = None) -> Simulated:
    """Real images with simulated outcomes: handwritten digits of 8 x 8 pixels.

    x are the 64 pixels (0 to 16) of n of the 1,797 images that scikit-learn ships, drawn without replacement, since
    copies of an image would cross folds. With ink = the mean pixel and side = the mean of the left half less that of
    the right, both standardized over all images, and loop = 1 for images of 0, 6, 8 and 9: T = e + N(0, 1),
    e = 0.5 tanh(ink) + 0.5 loop - 0.3 tanh(side), alpha = 1 + 0.4 tanh(ink) + 0.4 loop, beta = 1 + 0.2 tanh(side) +
    0.2 loop; y = alpha + beta T + N(0, 1). Population means are those over all images.

    The population of images is finite, so a standard error, which allows for new images, is conservative by what the
    variance of theta adds to it: 1.4 per cent for beta if all images are used, 4.5 for the intercept.

    Parameters
    ----------
    n : int
        Rows, at most 1,797.
    seed
        As in `wages`.

    Raises
    ------
    OptionError
        For more rows than there are images.
    MissingLibraryError
        Without scikit-learn.

    References
    ----------
    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    rng = generator(n, seed)
    if n > _IMAGES:
        raise OptionError(f"n is {n:,}; there are {_IMAGES:,} images, and copies of one must not cross folds.")
    images, labels = _images()
    ink, side = images.mean(1), images.reshape(-1, 8, 8)[:, :, :4].mean((1, 2))
    side = 2 * (side - ink)
    ink, side = ((z - z.mean()) / z.std() for z in (ink, side))
    loop = np.isin(labels, _LOOPS)
    mean = 0.5 * np.tanh(ink) + 0.5 * loop - 0.3 * np.tanh(side)
    theta = np.column_stack([1 + 0.4 * np.tanh(ink) + 0.4 * loop, 1 + 0.2 * np.tanh(side) + 0.2 * loop])
    population = float(theta[:, 0].mean()), float(theta[:, 1].mean())
    used = rng.permutation(len(images))[:n]
    truth = Truth("gaussian", theta[used], continuous(rng, mean[used], 1.0), population)
    return draw(rng, truth, images[used], prefix="pixel")


def _images() -> tuple[Float, Any]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingLibraryError("the images come with scikit-learn: pip install scikit-learn") from error
    images, labels = load_digits(return_X_y=True)
    return images, labels


def _clustered(
    family: str,
    n: int,
    seed: int | None,
    names: tuple[str, str],
    effects: tuple[float, ...],
    level: float,
    noise: float = 1.0,
) -> Simulated:
    rng = generator(n, seed)
    centroids = 3 * rng.standard_normal((5, 64))
    cluster = rng.integers(0, 5, n)
    x = centroids[cluster] + 0.8 * rng.standard_normal((n, 64))
    alpha, beta = level + 0.3 * np.sin(cluster), np.asarray(effects)[cluster]
    outcome, treatment = names
    law = continuous(rng, beta, 0.5, treatment)
    population = level + 0.3 * float(np.sin(np.arange(5)).mean()), float(np.mean(effects))
    return draw(rng, Truth(family, np.column_stack([alpha, beta]), law, population, noise), x, outcome, "emb")
