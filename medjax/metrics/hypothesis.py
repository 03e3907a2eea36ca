"""Tests of hypotheses beside the paired permutation test: Wilcoxon, McNemar, Holm's correction, Friedman's ranks. No jax.

Scores are `[n]`, one per image, paired by position. Where a patient has several images, `units` names the patient of each
and the patient becomes what is counted: images of one patient are not independent. p-values are two-sided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from medjax.metrics.statistics import paired_permutation, ranks, unit_means
from medjax.types import Array

WILCOXON_EXACT_UP_TO = 50


def wilcoxon(a: Array, b: Array, *, units: Sequence[Any] | None = None) -> dict[str, Any]:
    """Signed-rank test that a - b is symmetric about 0 (Wilcoxon 1945), over the means of units where given.

    Differences of zero and pairs that are not finite are left out; ties share their mean rank. Exact, given the ranks,
    up to n = 50 pairs, else the normal approximation with its correction for ties. Returns `{"statistic", "p_value", "n",
    "effect"}`: the smaller rank sum, and the rank-biserial correlation in [-1, 1] (Kerby 2014), above 0 where a is larger.
    """
    difference = _difference(a, b, units)
    difference = difference[difference != 0]
    n = difference.size
    if not n:
        return {"statistic": 0.0, "p_value": 1.0, "n": 0, "effect": 0.0}
    order = ranks(np.abs(difference))
    positive, whole = float(order[difference > 0].sum()), n * (n + 1) / 2
    smaller = min(positive, whole - positive)
    if n <= WILCOXON_EXACT_UP_TO:
        p = 2 * _share_of_sums(order, smaller)
    else:
        p = 2 * special.ndtr((smaller - whole / 2) / np.sqrt(np.sum(order**2) / 4))  # the variance holds the ties
    return {"statistic": smaller, "p_value": float(min(1.0, p)), "n": n, "effect": 2 * positive / whole - 1}


def _share_of_sums(order: np.ndarray, most: float) -> float:
    """The share of the 2^n signings whose positive ranks sum to at most `most`, counted over doubled, whole ranks."""
    ways = np.zeros(int(2 * order.sum()) + 1)
    ways[0] = 1
    for rank in np.round(2 * order).astype(int):
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    return float(ways[: int(round(2 * most)) + 1].sum() / ways.sum())


def _difference(a: Array, b: Array, units: Sequence[Any] | None) -> np.ndarray:
    a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    if a.shape != b.shape:
        raise ValueError(f"paired scores must have one length, not {a.size} and {b.size}")
    difference = a - b if units is None else unit_means(a - b, units)
    return difference[np.isfinite(difference)]


def mcnemar(
    a: Array, b: Array, *, method: str = "exact", units: Sequence[Any] | None = None, correction: bool = True
) -> dict[str, Any]:
    """Whether two classifiers are right equally often (McNemar 1947); `a` and `b` `[n]` are true where right.

    method: "exact" (binomial over the discordant pairs) or "chi2" (one degree of freedom, `correction` that of Edwards
    1948). Over units: "exact" flips the signs of the units' mean differences, which where these are of one size, as with
    one image per unit, is the binomial test (else `paired_permutation`); "chi2" is Durkalski et al.
    2003, eq. 2, without correction. Returns `{"only_a", "only_b", "p_value", "statistic", "n"}`: the discordant images, chi^2
    (None if exact), the images or units.
    """
    a, b = np.asarray(a).astype(bool).ravel(), np.asarray(b).astype(bool).ravel()
    if a.shape != b.shape or method not in ("exact", "chi2"):
        told = f"{a.size} and {b.size}, {method!r}"
        raise ValueError(f"McNemar's test takes two arrays of one length and 'exact' or 'chi2', not {told}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    result = {"only_a": only_a, "only_b": only_b, "n": int(a.size), "statistic": None, "p_value": 1.0}
    if units is not None:
        means = unit_means(a.astype(float) - b, units)
        result["n"], means = int(means.size), means[means != 0]
        if method == "exact":
            same = means.size and np.allclose(np.abs(means), abs(means[0]))
            result["p_value"] = _coin(means > 0) if same else paired_permutation(means, np.zeros_like(means))
            return result
        statistic = float(means.sum() ** 2 / max(np.sum(means**2), 1e-300))
    elif method == "exact":
        result["p_value"] = _coin(np.arange(only_a + only_b) < only_a)
        return result
    else:
        gap = max(0.0, abs(only_a - only_b) - float(correction))
        statistic = gap**2 / max(only_a + only_b, 1)
    return result | {"statistic": statistic, "p_value": float(special.chdtrc(1, statistic))}


def _coin(heads: np.ndarray) -> float:
    """The two-sided binomial test of a fair coin."""
    return float(min(1.0, 2 * special.bdtr(min(heads.sum(), (~heads).sum()), heads.size, 0.5)))


def holm(p_values: Array) -> np.ndarray:
    """Adjusted p-values `[m]` of Holm 1979: the family-wise error is at most alpha where those below alpha are rejected.

    NaN stays NaN and is not counted.
    """
    p_values = np.asarray(p_values, np.float64)
    adjusted = np.full(p_values.shape, np.nan)
    there = np.flatnonzero(np.isfinite(p_values))
    order = there[np.argsort(p_values[there], kind="stable")]
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def friedman(scores: Array, *, alpha: float = 0.05, units: Sequence[Any] | None = None) -> dict[str, Any]:
    """Ranks of k methods over blocks (images, patients, seeds) and how far mean ranks must lie apart (Demsar 2006, sec.
    3.2.2): `scores` `[blocks, k]`, higher is better, rank 1 the best, blocks with a value that is not finite left out.

    Returns `{"mean_ranks" [k], "statistic", "p_value", "critical_difference", "n"}`: Friedman's chi^2 corrected for ties
    with k - 1 degrees of freedom, and Nemenyi's critical difference q sqrt(k (k + 1) / (6 n)) at `alpha`.
    """
    scores = np.asarray(scores, np.float64)
    if units is not None:
        scores = np.stack([unit_means(column, units) for column in scores.T], 1)
    scores = scores[np.isfinite(scores).all(1)]
    n, k = scores.shape
    if n < 2 or k < 2:
        raise ValueError(f"ranks need at least 2 blocks and 2 methods, not {n} and {k}")
    table = np.stack([ranks(-row) for row in scores])
    means, spread = table.mean(0), np.sum((table - (k + 1) / 2) ** 2)
    statistic = float(n**2 * (k - 1) * np.sum((means - (k + 1) / 2) ** 2) / spread) if spread > 0 else 0.0
    quantile = stats.studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2)
    return {
        "mean_ranks": [float(rank) for rank in means],
        "statistic": statistic,
        "p_value": float(special.chdtrc(k - 1, statistic)),
        "critical_difference": float(quantile * np.sqrt(k * (k + 1) / (6 * n))),
        "n": n,
    }
