"""The area under the ROC curve, its interval and the difference of two: DeLong, over patients where one has several images.

Scores are `[n]`, higher for the positive class; labels `[n]` are true or 1 for positives. No jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from medjax.metrics.statistics import ranks, unit_places
from medjax.types import Array, DataError


def auc(labels: Array, scores: Array) -> float:
    """The chance that a positive scores above a negative, ties counted half (Mann and Whitney 1947)."""
    positive, scores = _checked(labels, scores)
    p, n = int(positive.sum()), int((~positive).sum())
    return float((ranks(scores)[positive].sum() - p * (p + 1) / 2) / (p * n))


def _checked(labels: Array, scores: Array) -> tuple[np.ndarray, np.ndarray]:
    positive, scores = np.asarray(labels).astype(bool).ravel(), np.asarray(scores, np.float64).ravel()
    if positive.shape != scores.shape:
        raise ValueError(f"{positive.size} labels cannot be those of {scores.size} scores")
    if not np.isfinite(scores).all():
        raise DataError(f"score {int(np.flatnonzero(~np.isfinite(scores))[0])} (counted from 0) is not finite")
    if positive.all() or not positive.any():
        raise DataError(f"an area under the ROC curve needs both classes: {positive.sum()} of {positive.size} are positive")
    return positive, scores


def _components(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Structural components `[n]` (DeLong et al. 1988, eq. 6 and 7): for a positive the share of negatives below it, for
    a negative the share of positives above it; by mid-ranks (Sun and Xu 2014, eq. 9), not by pairs.
    """
    whole, components = ranks(scores), np.empty(len(scores))
    for here, sign in ((positive, 1.0), (~positive, -1.0)):
        beaten = (whole[here] - ranks(scores[here])) / np.sum(~here)
        components[here] = beaten if sign > 0 else 1 - beaten
    return components


def covariance(labels: Array, scores: Array, *, units: Sequence[Any] | None = None) -> np.ndarray:
    """Covariance `[k, k]` of the areas of k correlated scores `[k, n]` on one set of images.

    DeLong et al. 1988, eq. 5 to 8; over units (patients) Obuchowski 1997, eq. 2 to 5, which sums the components of each
    patient and adds the covariance of a patient's positives with its negatives: with an image per patient they are one.
    Raises DataError for a class of fewer than two units.
    """
    pairs = [_checked(labels, row) for row in np.atleast_2d(scores)]
    positive = pairs[0][0]
    place = unit_places(range(len(positive)) if units is None else units, len(positive))
    count = int(place.max()) + 1
    areas, sums = [], {True: [], False: []}
    for _, row in pairs:
        areas.append(auc(positive, row))
        deviations = _components(positive, row) - areas[-1]
        for kind in (True, False):
            here = positive == kind
            sums[kind].append(np.bincount(place[here], deviations[here], minlength=count))
    p, n = int(positive.sum()), int((~positive).sum())
    with_p, with_n = (len(np.unique(place[positive == kind])) for kind in (True, False))
    if min(with_p, with_n) < 2:
        raise DataError(f"a variance of the area needs 2 units of each class, not {with_p} positive and {with_n} negative")
    up, down = np.array(sums[True]), np.array(sums[False])
    cross = up @ down.T * (count / (count - 1)) / (p * n)
    return up @ up.T * (with_p / (with_p - 1)) / p**2 + down @ down.T * (with_n / (with_n - 1)) / n**2 + cross + cross.T


def delong(labels: Array, scores: Array, *, units: Sequence[Any] | None = None, level: float = 0.95) -> dict[str, Any]:
    """`{"auc", "std", "ci95", "n": [positives, negatives]}` of one score; see `covariance` for the standard error.

    The interval is symmetric on the logit scale, so that it stays within 0 and 1 (Pepe 2003, sec. 5.2.4); at an area of
    0 or 1, where the variance is 0 and says nothing, it is None.
    """
    positive, scores = _checked(labels, scores)
    area, std = auc(positive, scores), float(np.sqrt(max(0.0, covariance(positive, scores, units=units)[0, 0])))
    interval = None
    if 0 < area < 1:
        reach = ndtri((1 + level) / 2) * std / (area * (1 - area))
        interval = [float(expit(logit(area) - reach)), float(expit(logit(area) + reach))]
    return {"auc": area, "std": std, "ci95": interval, "n": [int(positive.sum()), int((~positive).sum())]}


def delong_test(labels: Array, a: Array, b: Array, *, units: Sequence[Any] | None = None) -> dict[str, Any]:
    """Whether two scores of the same images have one area: `{"auc" [2], "difference", "std", "ci95", "z", "p_value"}`.

    DeLong et al. 1988, eq. 9; the difference is a - b. Scores that rank alike differ by nothing: p = 1. Where the variance
    is 0 and the areas differ (both separate the classes fully, one of them upside down), z and p are None.
    """
    areas = [auc(labels, a), auc(labels, b)]
    matrix = covariance(labels, np.stack([np.ravel(a), np.ravel(b)]), units=units)
    difference, variance = areas[0] - areas[1], float(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    std = float(np.sqrt(max(variance, 0.0)))
    z: float | None = 0.0 if abs(difference) < 1e-12 else None
    if std > 1e-12:
        z = difference / std
    reach = float(ndtri(0.975)) * std
    tested = {"z": z, "p_value": None if z is None else float(2 * ndtr(-abs(z)))}
    return {"auc": areas, "difference": difference, "std": std, "ci95": [difference - reach, difference + reach], **tested}
