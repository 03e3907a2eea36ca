"""How sure a number about two sets is: the delete-half jackknife for distances, the bootstrap for a ratio of means. Numpy.

A bootstrap repeats images, which biases every distance that depends on n; halves drawn without replacement do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medjax.metrics.discrimination import proportion
from medjax.metrics.frechet import frechet, moments
from medjax.metrics.neighbours import density_coverage, precision_recall
from medjax.metrics.statistics import RESAMPLES
from medjax.types import Array, DataError

Statistic = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
ENDS = {"precision": (0, 1), "recall": (0, 1), "coverage": (0, 1), "density": (0, np.inf), "fd": (0, np.inf)}
SHARES = ("precision", "recall", "coverage")
LARGEST = 1024  # vectors or dimensions beyond which a Frechet distance is too slow to be taken twenty times


def delete_half(statistic: Statistic, a: Array, b: Array, *, draws: int = 20, seed: int = 0) -> dict[str, float]:
    """`{name: standard error}` of what `statistic(a, b)` gives for sets of vectors `[n, D]` and `[m, D]`.

    Random halves of both sets; with d of n deleted the variance of the statistic is (n - d) / d times that of its values, 1 for
    halves (Shao and Wu 1989). Raises DataError for sets of fewer than four vectors.
    """
    if min(len(a), len(b)) < 4 or draws < 2:
        raise DataError(f"halves of sets of {len(a)} and {len(b)} images say nothing of the spread")
    rng = np.random.default_rng(seed)
    half = lambda x: x[rng.permutation(len(x))[: len(x) // 2]]  # noqa: E731
    found = [statistic(half(a), half(b)) for _ in range(draws)]
    return {name: float(np.std([each[name] for each in found], ddof=1)) for name in found[0]}


def distance_errors(reference: Array, other: Array, *, seed: int = 0) -> dict[str, float]:
    """Standard errors of `fd`, `precision`, `recall`, `density` and `coverage` of two sets of vectors `[n, D]` and `[m, D]`.

    `{}` where halves of them are too few for the five neighbours of a density; without `fd` where it would take minutes.
    """
    reference, other = (np.asarray(x, np.float64) for x in (reference, other))
    if min(len(reference), len(other)) // 2 <= 5:
        return {}
    slow = min(len(reference) // 2, len(other) // 2, reference.shape[1]) > LARGEST

    def statistic(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
        found = {**precision_recall(a, b), **density_coverage(a, b)}
        return found if slow else {**found, "fd": few_frechet(a, b)}

    return delete_half(statistic, reference, other, seed=seed)


def few_frechet(a: Array, b: Array) -> float:
    """`metrics.frechet.frechet` of two sets of vectors, at the cost of the smaller of their number and their length.

    With deviations A `[n, D]` over sqrt(n - 1), tr (C_a^1/2 C_b C_a^1/2)^1/2 is the sum of the singular values of A B^T.
    """
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if min(len(a), len(b)) > a.shape[1]:
        return frechet(moments(a), moments(b))
    deviations = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    cross = np.linalg.svd(deviations[0] @ deviations[1].T, compute_uv=False).sum()
    spread = sum(float((d**2).sum()) for d in deviations) - 2 * float(cross)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum()) + max(spread, 0.0)


def interval(name: str, value: float, error: float, n: int) -> dict[str, Any]:
    """`{"se", "ci95"}` of a distance by the normal approximation, cut at the ends of what it can be.

    Of a share (precision, recall, coverage) of n images the interval is no narrower than that of Clopper and Pearson: halves
    that all have none of them, or all, would leave no doubt.
    """
    low, high = np.clip([value - 1.96 * error, value + 1.96 * error], *ENDS[name])
    if name in SHARES:
        exact = proportion(round(value * n), n)["ci95"]
        low, high = min(low, exact[0]), max(high, exact[1])
    return {"se": error, "ci95": [float(low), float(high)]}


def ratio(a: Array, b: Array, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """`{"value", "ci95", "n"}` of mean(a) / mean(b), `[n]` and `[m]` drawn apart: the percentile bootstrap's interval.

    ci95 is None where either has fewer than two values. Raises DataError for an empty one, or a mean of b that is 0.
    """
    a, b = (np.asarray(x, np.float64).ravel() for x in (a, b))
    if not a.size or not b.size or not b.mean():
        raise DataError("a ratio of means needs values of both, and a mean below that is not 0")
    found = {"value": float(a.mean() / b.mean()), "ci95": None, "n": [int(a.size), int(b.size)]}
    if min(a.size, b.size) > 1:
        rng = np.random.default_rng(seed)
        above, below = (x[rng.integers(x.size, size=(resamples, x.size))].mean(1) for x in (a, b))
        found["ci95"] = [float(end) for end in np.quantile(above / below, (0.025, 0.975))]
    return found
