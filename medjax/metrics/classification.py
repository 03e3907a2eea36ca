"""What a classifier's probabilities are worth: accuracy, sensitivity, specificity, AUC, calibration; intervals over patients.

`labels` are int `[n]`, the place of an image's one class, or 0 and 1 `[n, K]` where it may have several; `probabilities`
are `[n, K]`. The decision is the likeliest class, or with several every class from 0.5 on. Each class is judged against
the rest; a class that has no positive or no negative images is left out of means over classes. No jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.metrics import hypothesis, roc
from medjax.metrics.statistics import CHUNK, RESAMPLES, unit_places
from medjax.types import Array, DataError

METRICS = ("accuracy", "balanced_accuracy", "auc", "sensitivity", "specificity", "ece")
BINS = 10
Values = dict[str, np.ndarray]


def truth(labels: Array, classes: int) -> np.ndarray:
    """bool `[n, K]`: which classes each image has."""
    labels = np.asarray(labels)
    return labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(classes)


def decisions(probabilities: Array, *, several: bool = False) -> np.ndarray:
    """bool `[n, K]`: the likeliest class (the first of equals), or with `several` every class from 0.5 on."""
    probabilities = np.asarray(probabilities)
    if several:
        return probabilities >= 0.5
    return probabilities.argmax(1)[:, None] == np.arange(probabilities.shape[1])


def correct(labels: Array, probabilities: Array) -> np.ndarray:
    """`[n]`: 1 where the decision is right, 0 where it is wrong; with several classes the share of them decided rightly."""
    hot, chosen = _checked(labels, probabilities)[:2]
    return np.mean(hot == chosen, 1) if np.ndim(labels) == 2 else np.sum(hot & chosen, 1).astype(float)


def confusion(labels: Array, probabilities: Array) -> np.ndarray:
    """Counts `[K, K]`: rows are what is true, columns what was decided; with several classes `[K, 2, 2]`, one table each."""
    hot, chosen = (array.astype(int) for array in _checked(labels, probabilities)[:2])
    if np.ndim(labels) == 1:
        return hot.T @ chosen
    return np.stack([np.stack([1 - h, h]) @ np.stack([1 - c, c]).T for h, c in zip(hot.T, chosen.T, strict=True)])


def point(labels: Array, probabilities: Array, *, bins: int = BINS) -> dict[str, Any]:
    """`METRICS` as floats, NaN where undefined; `by_class` holds sensitivity, specificity and auc `[K]`.

    Balanced accuracy is the mean sensitivity over classes (with several classes, of the mean of sensitivity and specificity);
    sensitivity, specificity and AUC are means over classes, each against the rest, and of two classes that exclude each other
    the AUC is the one there is. ece: see `reliability`.
    """
    found = _values(np.ones((1, len(probabilities))), *_prepared(labels, probabilities, bins))
    by_class = {name: found.pop(f"class_{name}")[0] for name in ("sensitivity", "specificity", "auc")}
    return {**{name: float(found[name][0]) for name in METRICS}, "by_class": by_class}


def reliability(labels: Array, probabilities: Array, *, bins: int = BINS) -> dict[str, np.ndarray]:
    """`count`, mean `confidence` and `accuracy` `[bins]` of equal bins of confidence, NaN if empty (Guo et al. 2017, eq. 1, 2).

    Confidence is the likeliest class's probability, accuracy how often it is right; with several classes every probability
    counts, and accuracy is how often the class is there. `point`'s ece is their mean distance over images (eq. 3).
    """
    count, hits, confidence = _binned(*_checked(labels, probabilities), bins=bins, several=np.ndim(labels) == 2)
    n = count.sum(0)
    with np.errstate(invalid="ignore"):
        return {"count": n.astype(int), "confidence": confidence.sum(0) / n, "accuracy": hits.sum(0) / n}


def report(
    labels: Array,
    probabilities: Array,
    classes: Sequence[str],
    *,
    units: Sequence[Any] | None = None,
    bins: int = BINS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """`METRICS` with intervals, and `by_class` the same of each class, ready for JSON.

    Every metric is `{"mean", "se", "ci95", "n"}`: its value on the set; standard error and 95% interval by bootstrap over
    `units` (patients; images where None), None where undefined; the images it is of. An AUC of one class against the rest,
    and so that of two classes, has DeLong's instead, and says so in `interval`.
    """
    prepared, n = _prepared(labels, probabilities, bins), len(probabilities)
    values, hot = _values(np.ones((1, n)), *prepared), prepared[0]
    place = unit_places(range(n) if units is None else units, n)
    drawn = _resampled(place, prepared, resamples, seed) if place.max() else {}
    cell = lambda name, at, count: _cell(values[name][at], [draw[at[1:]] for draw in drawn.get(name, ())], count)  # noqa: E731
    rows: dict[str, Any] = {name: cell(name, (0,), n) for name in METRICS}
    rows["by_class"] = {}
    for k, name in enumerate(classes):
        positives = int(hot[:, k].sum())
        counts = {"sensitivity": positives, "specificity": n - positives}
        rows["by_class"][name] = {m: cell(f"class_{m}", (0, k), count) for m, count in counts.items()}
        rows["by_class"][name]["auc"] = _delong(hot[:, k], np.asarray(probabilities)[:, k], place)
    if len(classes) == 2 and np.ndim(labels) == 1:
        rows["auc"] = dict(rows["by_class"][classes[1]]["auc"])
    return rows


def paired_tests(
    labels: Array, a: Array, b: Array, classes: Sequence[str], *, units: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Whether two classifiers of the same images differ, probabilities a minus b `[n, K]`, over `units` (patients).

    `mcnemar` of what they decide rightly (exact; None where an image may have several classes), and `delong` {class: the test of
    their two AUCs against the rest, None where fewer than two units have the class or have it not}; see `hypothesis.mcnemar`
    and `roc.delong_test`.
    """
    right = [correct(labels, p) for p in (a, b)]
    tested: dict[str, Any] = {"mcnemar": hypothesis.mcnemar(*right, units=units) if np.ndim(labels) == 1 else None, "delong": {}}
    for name, hot, *scores in zip(classes, truth(labels, len(classes)).T, np.transpose(a), np.transpose(b), strict=True):
        place = unit_places(range(len(hot)) if units is None else units, len(hot))
        enough = min(len(np.unique(place[hot])), len(np.unique(place[~hot]))) > 1
        tested["delong"][name] = roc.delong_test(hot, *scores, units=place) if enough else None
    return tested


def _checked(labels: Array, probabilities: Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is true and what was decided, bool `[n, K]`, and the probabilities as float64."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or labels.shape not in (probabilities.shape, probabilities.shape[:1]) or not len(labels):
        raise ValueError(f"labels {list(labels.shape)} cannot be those of probabilities {list(probabilities.shape)}")
    if not np.isfinite(probabilities).all():
        raise DataError(f"the probabilities of image {int(np.argwhere(~np.isfinite(probabilities))[0, 0])} are not finite")
    hot = truth(labels, probabilities.shape[1])
    return hot, decisions(probabilities, several=labels.ndim == 2), probabilities


def _binned(hot: np.ndarray, chosen: np.ndarray, probabilities: np.ndarray, *, bins: int, several: bool) -> tuple:
    """Counts, right decisions and confidences `[n, bins]` of each image."""
    every = (probabilities, hot) if several else (probabilities.max(1)[:, None], (hot & chosen).any(1)[:, None])
    confidence, right = every
    place = np.searchsorted(np.arange(1, bins) / bins, confidence)  # a bin holds its upper edge
    inside = place[..., None] == np.arange(bins)
    return inside.sum(1).astype(float), (inside * right[..., None]).sum(1), (inside * confidence[..., None]).sum(1)


def _prepared(labels: Array, probabilities: Array, bins: int) -> tuple:
    hot, chosen, probabilities = _checked(labels, probabilities)
    several = np.ndim(labels) == 2
    return hot, chosen, probabilities, _binned(hot, chosen, probabilities, bins=bins, several=several), several


def _values(weights: np.ndarray, hot, chosen, probabilities, binned, several: bool) -> Values:
    """Every metric under each row of `weights` `[R, n]`: `[R]`, or `[R, K]` of classes; NaN where undefined."""
    total, right = weights.sum(1), hot == chosen
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = (weights @ (hot & chosen)) / (weights @ hot)
        specificity = (weights @ ~(hot | chosen)) / (weights @ ~hot)
        count, hits, confidence = (weights @ array for array in binned)
        ece = np.abs(hits - confidence).sum(1) / count.sum(1)
        accuracy = weights @ (right.mean(1) if several else right.all(1)) / total
        area = np.stack([_areas(weights, hot[:, k], probabilities[:, k]) for k in range(hot.shape[1])], 1)
    balanced = _mean((sensitivity + specificity) / 2 if several else sensitivity)
    means = {"sensitivity": _mean(sensitivity), "specificity": _mean(specificity), "auc": _mean(area)}
    by_class = {"class_sensitivity": sensitivity, "class_specificity": specificity, "class_auc": area}
    return {"accuracy": accuracy, "balanced_accuracy": balanced, "ece": ece, **means, **by_class}


def _areas(weights: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`[R]` areas under the ROC curve, ties counted half, with images repeated as each row of `weights` says."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    above, below = (np.add.reduceat(weights[:, order] * kind[order], starts, axis=1) for kind in (positive, ~positive))
    beaten = np.cumsum(below, 1) - below / 2
    return np.sum(above * beaten, 1) / (above.sum(1) * below.sum(1))


def _mean(values: np.ndarray) -> np.ndarray:
    """`[R]` means over the classes `[R, K]` that are defined; NaN where none is."""
    good = np.isfinite(values)
    return np.where(good, values, 0).sum(1) / np.where(good.any(1), good.sum(1), np.nan)


def _resampled(place: np.ndarray, prepared: tuple, resamples: int, seed: int) -> Values:
    """Every metric on `resamples` sets of units drawn with replacement."""
    rng, count, found = np.random.default_rng(seed), int(place.max()) + 1, []
    for start in range(0, resamples, rows := max(1, CHUNK // len(place))):
        draws = rng.multinomial(count, np.full(count, 1 / count), size=min(rows, resamples - start))
        found.append(_values(draws[:, place].astype(np.float64), *prepared))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _cell(value: float, draws: Sequence[float], n: int) -> dict[str, Any]:
    draws = np.asarray(draws, np.float64)
    draws = draws[np.isfinite(draws)]
    sure = np.isfinite(value) and draws.size > 1
    return {
        "mean": float(value) if np.isfinite(value) else None,
        "se": float(draws.std(ddof=1)) if sure else None,
        "ci95": [float(bound) for bound in np.quantile(draws, (0.025, 0.975))] if sure else None,
        "n": n,
    }


def _delong(positive: np.ndarray, scores: np.ndarray, place: np.ndarray) -> dict[str, Any]:
    """The cell of one class's AUC; only its mean where a class has a single unit, nothing where it has none."""
    cell: dict[str, Any] = {"mean": None, "se": None, "ci95": None, "n": len(scores), "interval": "delong"}
    if positive.all() or not positive.any():
        return cell
    if min(len(np.unique(place[positive])), len(np.unique(place[~positive]))) < 2:
        return cell | {"mean": roc.auc(positive, scores)}
    found = roc.delong(positive, scores, units=place)
    return cell | {"mean": found["auc"], "se": found["std"], "ci95": found["ci95"]}
