"""What a table of per-image scores supports: intervals, paired tests, rank correlation, sparsification. No jax.

Scores are float arrays `[n]`, one value per image; two arrays compared are paired by position. Randomness is seeded, so
a table is a pure function of its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from medjax.types import Array

RESAMPLES = 2000
FLIPS = 10_000
EXACT_UP_TO = 14  # 2**14 sign patterns: fewer than a sampled test would draw, give or take
CHUNK = 1 << 21  # elements of one block of resampling indices


def bootstrap_interval(
    values: Array, *, level: float = 0.95, resamples: int = RESAMPLES, method: str = "percentile", seed: int = 0
) -> Array:
    """Bootstrap interval `[2]` of the mean of `values` `[n]`: "percentile" (Efron and Tibshirani 1993, ch. 13) or "bca",
    corrected for bias and skewness (ch. 14, eq. 14.9 to 14.15).

    `[nan, nan]` where n < 2: one image says nothing of the spread.
    """
    if method not in ("percentile", "bca"):
        raise ValueError(f"method is 'percentile' or 'bca', not {method!r}")
    values = np.asarray(values, np.float64).ravel()
    if values.size < 2:
        return np.full(2, np.nan)
    means, tails = _resampled_means(values, resamples, seed), np.array([(1 - level) / 2, (1 + level) / 2])
    return np.quantile(means, _bca_tails(values, means, tails) if method == "bca" else tails)


def _resampled_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // values.size)
    means = [
        values[rng.integers(values.size, size=(min(rows, resamples - start), values.size))].mean(1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(means)


def _bca_tails(values: np.ndarray, means: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """The percentiles to read off: z0 from the share of resampled means below the mean, a from the jackknife."""
    centre = values.mean()
    below = (np.mean(means < centre) + np.mean(means <= centre)) / 2
    if not 0 < below < 1 or np.ptp(values) == 0:
        return tails
    deviations = values - centre  # the jackknife's, but for a factor that cancels
    acceleration = np.sum(deviations**3) / (6 * np.sum(deviations**2) ** 1.5)
    shifted = ndtri(below) + ndtri(tails)
    return ndtr(ndtri(below) + shifted / (1 - acceleration * shifted))


def unit_means(values: Array, units: Sequence[Any]) -> np.ndarray:
    """Means `[u]` of `values` `[n]` over the images of each unit (patient), in order of appearance; NaN is left out.

    Images of one patient are not independent: tests and intervals over them would be too narrow.
    """
    values = np.asarray(values, np.float64).ravel()
    place = unit_places(units, values.size)
    good = np.isfinite(values)
    count = np.bincount(place[good], minlength=place.max(initial=-1) + 1)
    total = np.bincount(place[good], weights=values[good], minlength=len(count))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def unit_places(units: Sequence[Any], n: int) -> np.ndarray:
    """`[n]` int: which unit each image belongs to, numbered in order of appearance."""
    if len(units) != n:
        raise ValueError(f"{len(units)} units cannot be those of {n} images")
    names = {name: i for i, name in enumerate(dict.fromkeys(map(str, units)))}
    return np.array([names[str(unit)] for unit in units], int)


def summary(values: Array, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """`{"mean", "std", "ci95": [low, high], "n"}` of the finite values of `[n]`, ready for JSON.

    std is the sample standard deviation (n - 1). std and ci95 are None for n = 1, mean too for n = 0.
    """
    values = np.asarray(values, np.float64).ravel()
    values = values[np.isfinite(values)]
    return {
        "mean": float(values.mean()) if values.size else None,
        "std": float(values.std(ddof=1)) if values.size > 1 else None,
        "ci95": _interval(values, resamples, seed),
        "n": int(values.size),
    }


def paired_permutation(a: Array, b: Array, *, flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p-value of the paired sign-flip test that mean(a - b) is 0 (Fisher 1935; Good 2005, sec. 3.2).

    Exact (all 2**n sign patterns) up to n = 14, else `flips` random ones with the +1 of Davison and Hinkley 1997, eq.
    4.11. With n < 2 it is 1. The smallest exact p is 2 / 2**n: below six images nothing reaches 0.05.
    """
    difference = _paired(a, b)
    n = difference.size
    if n < 2:
        return 1.0
    observed = abs(difference.sum()) * (1 - 1e-9)  # patterns equal but for rounding count as equal
    if n <= EXACT_UP_TO:
        bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1  # the other half are mirror images
        return float(np.mean(np.abs((1 - 2 * bits) @ difference) >= observed))
    rng, rows, hits = np.random.default_rng(seed), max(1, CHUNK // n), 0
    for start in range(0, flips, rows):
        signs = 1 - 2 * rng.integers(2, size=(min(rows, flips - start), n), dtype=np.int8)
        hits += int(np.sum(np.abs(signs @ difference) >= observed))
    return (hits + 1) / (flips + 1)


def compare(a: Array, b: Array, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """`{"mean", "std", "ci95", "n", "p_value", "wins"}` of a - b, paired; wins is the share of images with a > b.

    Pairs with a value that is not finite are left out.
    """
    difference = _paired(a, b)
    result = summary(difference, resamples=resamples, seed=seed)
    result["p_value"] = paired_permutation(difference, np.zeros_like(difference), seed=seed)
    result["wins"] = float(np.mean(difference > 0)) if difference.size else None
    return result


def ranks(values: Array) -> np.ndarray:
    """Ranks 1..n of `[n]`; equal values share their mean rank."""
    _, inverse, counts = np.unique(np.ravel(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(a: Array, b: Array) -> float:
    """Spearman's rank correlation of two arrays of one size, ties by mean rank; nan where either is constant."""
    a, b = ranks(a), ranks(b)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def sparsification(error: Array, uncertainty: Array, *, steps: int = 20) -> dict[str, Any]:
    """How fast the error falls as the most uncertain pixels are left out (Ilg et al. 2018, sec. 4.1).

    `error` and `uncertainty` are arrays of one shape. Returns `fraction` `[steps]` left out (0 to 1 - 1/steps), the
    mean error of what remains as a share of the whole's in `curve` and, removed by the error itself, in `oracle`, and
    the areas over the fractions between curve and oracle, `ause` (0 is a perfect map), and between 1 and oracle,
    `ause_random` (what a map of noise gets: a map above it is worse than useless).
    """
    error, uncertainty = np.ravel(error).astype(np.float64), np.ravel(uncertainty)
    fraction = np.arange(steps) / steps
    remaining = np.maximum(1, np.round(error.size * (1 - fraction)).astype(int)) - 1
    curves = [
        (np.cumsum(error[np.argsort(order, kind="stable")]) / np.arange(1, error.size + 1))[remaining]
        for order in (uncertainty, error)
    ]
    scale = max(float(error.mean()), 1e-12)
    curve, oracle = (each / scale for each in curves)
    return {
        "fraction": fraction,
        "curve": curve,
        "oracle": oracle,
        "ause": float(np.mean(curve - oracle)),
        "ause_random": float(np.mean(1 - oracle)),
    }


def map_quality(error: Array, deviation: Array) -> dict[str, Any]:
    """What a standard-deviation map is worth against the absolute error: `rank_correlation` (1: it ranks the pixels as
    the error does), `mean_std`, and all of `sparsification`."""
    curves = sparsification(error, deviation)
    return {"rank_correlation": spearman(deviation, error), "mean_std": float(np.mean(deviation)), **curves}


def _paired(a: Array, b: Array) -> np.ndarray:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if a.shape != b.shape:
        raise ValueError(f"paired scores must have one length, not {a.size} and {b.size}")
    difference = a - b
    return difference[np.isfinite(difference)]


def _interval(values: np.ndarray, resamples: int, seed: int) -> list[float] | None:
    if values.size < 2:
        return None
    return [float(bound) for bound in bootstrap_interval(values, resamples=resamples, seed=seed)]
