"""Frechet distance between two sets of features, from means and covariances gathered in one pass. Numpy, float64.

`Moments` of parts of a set (batches, shards, hosts) merge to those of the whole, in any order. The distance is biased
upwards by the finite number of images, by an amount that depends on the network and the data, so that two distances
compare only at one n; `frechet_infinity` extrapolates the bias away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medjax.types import Array, DataError

ROUNDING = float(np.finfo(np.float64).eps)


class Moments(NamedTuple):
    """What a set of n vectors of length D leaves: `n`, `mean` `[D]`, `scatter` `[D, D]`, the sum over the vectors of
    the outer products of their deviations from the mean.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray


def moments(vectors: Array) -> Moments:
    """Moments of `[n, D]`, n at least 1. Raises DataError where a value is not finite."""
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or not len(vectors):
        raise DataError(f"a set of features has the shape [n, D] with n at least 1, not {list(vectors.shape)}")
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise DataError(f"the features of image {bad} (counted from 0) are not finite")
    mean = vectors.mean(0)
    deviations = vectors - mean
    return Moments(len(vectors), mean, deviations.T @ deviations)


def merge(a: Moments | None, b: Moments) -> Moments:
    """Moments of the union of two disjoint sets (Chan, Golub and LeVeque 1983, eq. 2.1); None is the empty set."""
    if a is None:
        return b
    if a.mean.shape != b.mean.shape:
        raise DataError(f"features of {a.mean.size} and of {b.mean.size} values cannot be of one layer")
    n, delta = a.n + b.n, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(delta, delta * (a.n * b.n / n))
    return Moments(n, a.mean + delta * (b.n / n), scatter)


def covariance(of: Moments) -> np.ndarray:
    """Unbiased covariance `[D, D]` (divided by n - 1). Raises DataError for fewer than two images."""
    if of.n < 2:
        raise DataError(f"a covariance needs at least 2 images, not {of.n}")
    return of.scatter / (of.n - 1)


def _root(matrix: np.ndarray) -> np.ndarray:
    """A `[D, rank]` with A A^T = `matrix`, symmetric and positive semi-definite: eigenvalues that are zero but for
    rounding are left out, so that a rank-deficient covariance gives neither NaN nor a complex number.
    """
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = values > max(values[-1], 0.0) * len(values) * ROUNDING
    return vectors[:, kept] * np.sqrt(values[kept])


def _trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """tr (C1^1/2 C2 C1^1/2)^1/2 for C1 = A A^T and C2 = B B^T, `[D, r1]` and `[D, r2]`.

    It is the sum of the singular values of A^T B: their squares are the eigenvalues of the symmetric matrix under the
    root. Taken this way no eigenvalue is squared before its root is drawn, which would cost half the digits.
    """
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum()) if a.size and b.size else 0.0


def gaussian_distance(mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017, eq. 6):

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), real and at least 0. Means `[D]`, covariances `[D, D]`.
    """
    mean_a, mean_b, c_a, c_b = (np.asarray(x, np.float64) for x in (mean_a, mean_b, covariance_a, covariance_b))
    if mean_a.shape != mean_b.shape:
        raise DataError(f"features of {mean_a.size} and of {mean_b.size} values cannot be compared")
    if not all(np.isfinite(x).all() for x in (mean_a, mean_b, c_a, c_b)):
        raise DataError("the mean or the covariance of the features is not finite")
    return of_roots(mean_a, _root(c_a), mean_b, _root(c_b))


def of_roots(mean_a: np.ndarray, root_a: np.ndarray, mean_b: np.ndarray, root_b: np.ndarray) -> float:
    """`gaussian_distance` of covariances given by their roots `[D, r]`, of which that of a reference is made once."""
    shift = float(np.sum((mean_a - mean_b) ** 2))
    spread = float(np.sum(root_a**2) + np.sum(root_b**2)) - 2 * _trace_of_root(root_a, root_b)
    return shift + max(spread, 0.0)  # a distance: below 0 is rounding


def frechet(a: Moments, b: Moments) -> float:
    """Frechet distance of two sets of features. Raises DataError for fewer than two images in either."""
    return gaussian_distance(a.mean, covariance(a), b.mean, covariance(b))


def root_of(sample_vectors: Array | None, of: Moments) -> np.ndarray:
    """A `[D, r]` with A A^T the covariance: the centred vectors themselves where they are at most D, which costs no
    eigenvalues, else `_root`. Raises DataError for fewer than two images.
    """
    if of.n < 2:
        raise DataError(f"a covariance needs at least 2 images, not {of.n}")
    if sample_vectors is None or of.n > of.mean.size:
        return _root(covariance(of))
    return (np.asarray(sample_vectors, np.float64) - of.mean).T / np.sqrt(of.n - 1)


def frechet_infinity(
    vectors: Array, reference: Moments, *, points: int = 15, smallest: int | None = None, seed: int = 0
) -> dict[str, float]:
    """The distance of `vectors` `[n, D]` to `reference` that a line in 1/n gives at infinitely many images.

    Chong and Forsyth 2020, sec. 3: the distance of a random subset is, to first order, linear in the reciprocal of its
    size; `points` sizes from `smallest` (default: a tenth of n, at least 10 as far as there are) to n, each a fresh
    subset without replacement. Only the bias of this side is removed, that of the reference stays. Returns
    `{"value", "slope", "residual", "smallest"}`: the intercept (which may be below 0), the slope, the root mean square
    distance from the line.
    """
    vectors = np.asarray(vectors, np.float64)
    n = moments(vectors).n
    smallest = smallest or max(min(10, n // 2), n // 10)
    if not 2 <= smallest < n:
        raise DataError(f"an extrapolation needs subsets from {smallest} to {n} images: too few")
    sizes = np.unique(np.linspace(smallest, n, points).round().astype(int))
    rng, root = np.random.default_rng(seed), _root(covariance(reference))
    distances = [_to_root(vectors[rng.choice(n, size, replace=False)], reference.mean, root) for size in sizes]
    slope, value = np.polyfit(1 / sizes, distances, 1)
    residual = float(np.sqrt(np.mean((np.polyval((slope, value), 1 / sizes) - distances) ** 2)))
    return {"value": float(value), "slope": float(slope), "residual": residual, "smallest": int(smallest)}


def _to_root(vectors: np.ndarray, mean: np.ndarray, root: np.ndarray) -> float:
    """Frechet distance of a set to a mean and a root of a covariance; few vectors are their own root."""
    own, count = vectors.mean(0), len(vectors)
    factor = (vectors - own).T / np.sqrt(count - 1)
    return of_roots(own, factor if count <= vectors.shape[1] else _root(factor @ factor.T), mean, root)
