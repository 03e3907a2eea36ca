"""Kernel distances between two sets of features: KID and the Gaussian maximum mean discrepancy. Numpy, float64.

Features are `[n, D]` and `[m, D]`. Memory stays bounded: kernels are summed in blocks of `BLOCK` values, and whole Gram
matrices are kept only where both sets together have at most `GRAM_UP_TO` vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medjax.types import Array, DataError

BLOCK = 1 << 22  # 32 MiB of float64
GRAM_UP_TO = 4096  # 128 MiB of float64
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def polynomial(x: np.ndarray, y: np.ndarray, *, degree: int = 3, coef0: float = 1.0) -> np.ndarray:
    """(x . y / D + coef0)^degree, `[n, m]` of `[n, D]` and `[m, D]` (Binkowski et al. 2018, eq. 3 and sec. 3)."""
    return (x @ y.T / x.shape[1] + coef0) ** degree


def gaussian(x: np.ndarray, y: np.ndarray, *, sigma: float = 10.0) -> np.ndarray:
    """exp(-|x - y|^2 / (2 sigma^2)), `[n, m]` of `[n, D]` and `[m, D]`."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * (x @ y.T)
    return np.exp(-np.maximum(squared, 0) / (2 * sigma**2))


def mmd2(x: Array, y: Array, *, kernel: Kernel = polynomial, unbiased: bool = True) -> float:
    """Squared maximum mean discrepancy (Gretton et al. 2012): the U-statistic, eq. 3, or the V-statistic, eq. 5.

    The unbiased one has mean 0 for two samples of one distribution and is therefore often below 0; it needs two
    vectors in each set. Raises DataError for sets that are too small, of unlike length or not finite.
    """
    x, y = pair(x, y, least=2 if unbiased else 1)
    n, m = len(x), len(y)
    own_x, own_y, cross = _total(x, x, kernel), _total(y, y, kernel), _total(x, y, kernel)
    if unbiased:
        own_x, own_y = own_x - _diagonal(x, kernel), own_y - _diagonal(y, kernel)
        return own_x / (n * (n - 1)) + own_y / (m * (m - 1)) - 2 * cross / (n * m)
    return own_x / n**2 + own_y / m**2 - 2 * cross / (n * m)


def mmd2_paired(x: Array, y: Array, *, kernel: Kernel = polynomial) -> float:
    """Squared maximum mean discrepancy of sets whose vectors belong together, x_i to y_i, both `[n, D]`: the U-statistic over
    pairs of pairs (Gretton et al. 2012, eq. 4), 0 for equal sets. `mmd2` takes the two to be independent, and counts how
    alike the two of a pair are as if the sets were closer than one set to itself.
    """
    x, y = pair(x, y, least=2)
    n = len(x)
    if n != len(y):
        raise DataError(f"paired sets have one number of images, not {n} and {len(y)}")
    own = _total(x, x, kernel) - _diagonal(x, kernel) + _total(y, y, kernel) - _diagonal(y, kernel)
    cross = _total(x, y, kernel) - float(sum(kernel(a[None], b[None])[0, 0] for a, b in zip(x, y, strict=True)))
    return (own - 2 * cross) / (n * (n - 1))


def kid(
    a: Array, b: Array, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0, paired: bool = False
) -> dict[str, Any]:
    """Kernel inception distance over any features (Binkowski et al. 2018): the mean over random subsets of the unbiased
    squared MMD with the kernel (x . y / D + 1)^3.

    paired: a_i and b_i belong together (an output and its target): subsets take both of a pair, and the statistic is
    `mmd2_paired`. subset_size: vectors drawn from each set without replacement; default 1,000 as published, or half the
    smaller set where that is less. Returns `{"value", "std", "ci95", "subsets", "subset_size", "paired"}`: std of the subsets,
    ci95 the subsampling interval of the value (Politis and Romano 1994): the subsets' deviations from their mean,
    mirrored, times sqrt(s / (n - s) + 1 / subsets) for subsets of s out of n. It is wide where the two distributions
    are nearly one, as the statistic then shrinks faster than the root of n; None where s is n.
    """
    a, b = pair(a, b, least=2)
    n = min(len(a), len(b))
    size = subset_size or max(2, min(1000, n // 2))
    if not 2 <= size <= n:
        raise DataError(f"subsets of {size} images cannot be drawn from {n}")
    if paired and len(a) != len(b):
        raise DataError(f"paired sets have one number of images, not {len(a)} and {len(b)}")
    rng, draw, drawn = np.random.default_rng(seed), _subset_value(a, b, paired), []
    for _ in range(subsets):
        i = rng.choice(len(a), size, False)
        drawn.append(draw(i, i if paired else rng.choice(len(b), size, False)))
    values = np.array(drawn)
    result = {"value": float(values.mean()), "std": None, "ci95": None, "subsets": subsets, "subset_size": size}
    result["paired"] = paired
    if subsets > 1:
        result["std"] = float(values.std(ddof=1))
    if subsets > 1 and size < n:
        low, high = np.quantile(values, (0.025, 0.975)) - values.mean()
        scale = np.sqrt(size / (n - size) + 1 / subsets)
        result["ci95"] = [float(values.mean() - scale * high), float(values.mean() - scale * low)]
    return result


def mmd_gaussian(a: Array, b: Array, *, sigma: float = 10.0, scale: float = 1000.0) -> float:
    """The distance of CMMD (Jayasumana et al. 2024, sec. 4) over any features: the biased squared MMD of unit vectors
    with a Gaussian kernel, times 1,000. At least 0; a vector of zeros stays one.

    Only over CLIP's embedding is it CMMD; `sigma` is theirs, chosen for it.
    """
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in pair(a, b, least=1))
    return scale * max(0.0, mmd2(a, b, kernel=lambda x, y: gaussian(x, y, sigma=sigma), unbiased=False))


def pair(a: Array, b: Array, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets as float64 `[n, D]`. Raises DataError: fewer than `least` vectors, unlike lengths, not finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise DataError(f"features of the shapes {list(a.shape)} and {list(b.shape)} cannot be compared")
    if min(len(a), len(b)) < least:
        raise DataError(f"this distance needs at least {least} images in each set, not {len(a)} and {len(b)}")
    for name, values in (("first", a), ("second", b)):
        if not np.isfinite(values).all():
            bad = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
            raise DataError(f"the features of image {bad} (counted from 0) of the {name} set are not finite")
    return a, b


def _subset_value(a: np.ndarray, b: np.ndarray, paired: bool) -> Callable[[np.ndarray, np.ndarray], float]:
    """(indices into a, indices into b) -> unbiased squared MMD; small sets are multiplied once for all subsets."""
    if len(a) + len(b) > GRAM_UP_TO:
        return lambda i, j: mmd2_paired(a[i], b[j]) if paired else mmd2(a[i], b[j])
    k_aa, k_bb, k_ab = polynomial(a, a), polynomial(b, b), polynomial(a, b)

    def value(i: np.ndarray, j: np.ndarray) -> float:
        s = len(i)
        own = (k_aa[np.ix_(i, i)].sum() - k_aa[i, i].sum()) + (k_bb[np.ix_(j, j)].sum() - k_bb[j, j].sum())
        if paired:
            return float((own - 2 * (k_ab[np.ix_(i, i)].sum() - k_ab[i, i].sum())) / (s * (s - 1)))
        return float(own / (s * (s - 1)) - 2 * k_ab[np.ix_(i, j)].mean())

    return value


def _total(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    rows = max(1, BLOCK // len(y))
    return float(sum(kernel(x[start : start + rows], y).sum() for start in range(0, len(x), rows)))


def _diagonal(x: np.ndarray, kernel: Kernel) -> float:
    return float(sum(kernel(row[None], row[None])[0, 0] for row in x))
