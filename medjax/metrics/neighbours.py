"""Precision, recall, density and coverage: two sets of features compared through balls around their vectors. Numpy.

A ball around a vector reaches to its k-th nearest neighbour within its own set and is closed. All four depend on n and k:
compare at equal n only. Memory stays bounded: distances are made in blocks of `BLOCK` values.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medjax.metrics.kernel import pair
from medjax.types import Array, DataError

BLOCK = 1 << 22  # 32 MiB of float64
SLACK = 1e-10  # share of the mean squared norm by which equal distances may differ in rounding


def distance_blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows, squared distances `[rows, m]`) of x `[n, D]` to y `[m, D]`, float64, centred by the caller: far from the origin they
    lose digits, and those of equal vectors may be a little below 0."""
    norms, count = (y**2).sum(1), max(1, BLOCK // len(y))
    for start in range(0, len(x), count):
        part = x[start : start + count]
        yield slice(start, start + len(part)), (part**2).sum(1)[:, None] + norms - 2 * (part @ y.T)


def radii(x: Array, *, k: int) -> np.ndarray:
    """Squared distance `[n]` of each vector to its k-th nearest neighbour, itself not counted."""
    x = np.asarray(x, np.float64)
    if not 1 <= k < len(x):
        raise DataError(f"the {k}-th nearest neighbour needs more than {k} images, not {len(x)}")
    found = np.empty(len(x))
    for rows, squared in distance_blocks(x, x):
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = -np.inf  # itself comes first
        found[rows] = np.partition(squared, k, axis=1)[:, k]
    return np.maximum(found, 0)


def _prepared(real: Array, fake: Array, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    real, fake = pair(real, fake, least=2)
    if k >= min(len(real), len(fake)):
        raise DataError(f"k = {k} needs more than {k} images in each set, not {len(real)} and {len(fake)}")
    centre = real.mean(0)  # distances lose digits far from the origin
    real, fake = real - centre, fake - centre
    return real, fake, SLACK * float(np.mean((real**2).sum(1)))


def precision_recall(real: Array, fake: Array, *, k: int = 3) -> dict[str, float]:
    """`{"precision", "recall"}` of Kynkaanniemi et al. 2019, eq. 1 and 2: the share of `fake` `[m, D]` that lies in some
    ball around `real` `[n, D]`, and the share of `real` in some ball around `fake`; k = 3 as published.
    """
    real, fake, slack = _prepared(real, fake, k)
    reach_real, reach_fake = radii(real, k=k) + slack, radii(fake, k=k) + slack
    covered, inside = np.zeros(len(real), bool), np.zeros(len(fake), bool)
    for rows, squared in distance_blocks(real, fake):
        inside |= (squared <= reach_real[rows, None]).any(0)
        covered[rows] = (squared <= reach_fake[None]).any(1)
    return {"precision": float(inside.mean()), "recall": float(covered.mean())}


def density_coverage(real: Array, fake: Array, *, k: int = 5) -> dict[str, float]:
    """`{"density", "coverage"}` of Naeem et al. 2020, eq. 4 and 5: how many balls around `real` `[n, D]` hold a vector of
    `fake` `[m, D]` on average, over k (it may exceed 1), and the share of those balls that hold one; k = 5 as published.
    """
    real, fake, slack = _prepared(real, fake, k)
    reach = radii(real, k=k) + slack
    held, covered = 0, np.zeros(len(real), bool)
    for rows, squared in distance_blocks(real, fake):
        within = squared <= reach[rows, None]
        held += int(within.sum())
        covered[rows] = within.any(1)
    return {"density": held / (k * len(fake)), "coverage": float(covered.mean())}
