"""What a classifier says of the same patients' images before and after enhancement, and of others of high quality. No jax.

Sets of images go by name: `low`, `high`, and whatever was made of the low ones, which are compared with them image by image.
Beside every figure stands what it has to beat: the most frequent class, the mean grey level, labels dealt at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.metrics import classification, gap, hypothesis
from medjax.metrics.statistics import RESAMPLES
from medjax.types import Array, DataError

SHOWN = ("accuracy", "balanced_accuracy", "auc", "sensitivity", "specificity")
CLOSED = ("accuracy", "balanced_accuracy")
PERMUTATIONS = 1000


class Answers(NamedTuple):
    """Of n images: the class `label` int `[n]`, `probability` `[n, K]`, `names` and `patients` `[n]`."""

    label: Array
    probability: Array
    names: Sequence[str]
    patients: Sequence[str]


def judge(
    sets: Mapping[str, Answers],
    classes: Sequence[str],
    *,
    positive: str,
    low: str = "low",
    high: str = "high",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything told of `sets`, ready for JSON.

    `rows` {set: `SHOWN` with intervals over patients (the AUC's is DeLong's), sensitivity and specificity being those of the
    class `positive`, with n, images, patients, class_counts and `majority`, the share of the set's most frequent class};
    `tests` {set: `paired_tests` against `low`, `mcnemar_holm` adjusted for the number of sets} of the sets that hold the images
    of `low`, of others {"why"}; `gap` {set: {metric of `CLOSED`: `gap.closed`}} of the same sets; `chance` {set: `chance`};
    `needed`: images of each set that tell low from high with a power of 0.8, None where their accuracies are equal.

    Raises DataError for a set of one class or none, names that come twice, and images of one name with two labels or patients.
    """
    for name, each in sets.items():
        _check(name, each, classes)
    absent = [name for name in (low, high) if name not in sets]
    if absent:
        raise DataError(f"there is no set {absent[0]!r} to compare with; there are {', '.join(sets)}")
    found: dict[str, Any] = {"classes": list(classes), "positive": positive, "low": low, "high": high}
    found["rows"] = {name: _row(each, classes, positive, resamples, seed) for name, each in sets.items()}
    found["chance"] = {name: chance(each, seed=seed) for name, each in sets.items()}
    found["tests"], found["gap"] = {}, {}
    for name, each in sets.items():
        if name in (low, high):
            continue
        order = _order(low, sets[low], name, each)
        if order is None:
            found["tests"][name] = {"why": f"its images are not those of {low}, so nothing is paired"}
            continue
        same = Answers(*(np.asarray(column)[order] for column in each))
        found["tests"][name] = classification.paired_tests(
            same.label, same.probability, sets[low].probability, classes, units=same.patients
        )
        found["gap"][name] = _closed(sets[low], same, sets[high], resamples, seed)
    _adjust(found["tests"])
    ends = [found["rows"][name]["accuracy"]["mean"] for name in (low, high)]
    return found | {"needed": None if ends[0] == ends[1] else gap.images_needed(*ends)}


def chance(each: Answers, *, permutations: int = PERMUTATIONS, seed: int = 0) -> dict[str, Any]:
    """Balanced accuracy where the labels are dealt at random: `{"mean", "ci95", "p_value"}`, the last one-sided, of the
    classifier's own being no better (Ojala and Garriga 2010, test 1). Patients are dealt labels, not images.
    """
    label = np.asarray(each.label)
    decided, classes = np.asarray(each.probability).argmax(1), np.unique(label)
    shuffled = _dealt(label, each.patients, permutations, np.random.default_rng(seed))
    balanced = lambda given: np.mean([((given == c) & (decided == c)).sum(-1) / (given == c).sum(-1) for c in classes], 0)  # noqa: E731
    drawn, own = balanced(shuffled), float(balanced(label))
    return {
        "mean": float(drawn.mean()),
        "ci95": [float(end) for end in np.quantile(drawn, (0.025, 0.975))],
        "p_value": float((np.sum(drawn >= own - 1e-12) + 1) / (permutations + 1)),
    }


def _dealt(label: np.ndarray, patients: Sequence[str], permutations: int, rng: np.random.Generator) -> np.ndarray:
    """`[permutations, n]`: labels dealt among patients, each of whose images gets its patient's; a patient with several labels is
    one for each of them.
    """
    _, first, own = np.unique([f"{k} {patient}" for k, patient in zip(label, patients, strict=True)], return_index=True,
                              return_inverse=True)  # fmt: skip
    return rng.permuted(np.tile(label[first], (permutations, 1)), axis=1)[:, own]


def _check(name: str, each: Answers, classes: Sequence[str]) -> None:
    sizes = {len(column) for column in each}
    if len(sizes) > 1:
        raise DataError(f"the set {name!r} has {', '.join(map(str, sorted(sizes)))} labels, probabilities, names and patients")
    twice = [image for image, count in Counter(map(str, each.names)).items() if count > 1]
    if twice:
        raise DataError(f"the set {name!r} holds {twice[0]} twice")
    there = [classes[k] for k in np.unique(np.asarray(each.label, int))]
    if len(there) < 2:
        raise DataError(
            f"the set {name!r} has images of {there[0] if there else 'no class'} alone; a classifier is judged on two"
        )


def _order(low: str, first: Answers, name: str, each: Answers) -> np.ndarray | None:
    """Where each image of `first` is in `each`; None where the two do not hold the same ones."""
    places = {str(image): i for i, image in enumerate(each.names)}
    if set(places) != set(map(str, first.names)):
        return None
    order = np.array([places[str(image)] for image in first.names])
    for i, j in enumerate(order):
        if first.label[i] != each.label[j] or str(first.patients[i]) != str(each.patients[j]):
            raise DataError(f"{first.names[i]} has another label or patient in the set {name!r} than in {low!r}")
    return order


def _row(each: Answers, classes: Sequence[str], positive: str, resamples: int, seed: int) -> dict[str, Any]:
    told = classification.report(each.label, each.probability, classes, units=each.patients, resamples=resamples, seed=seed)
    own = told.pop("by_class")[positive]
    counts = np.bincount(np.asarray(each.label, int), minlength=len(classes))
    return {
        **{name: own.get(name, told[name]) for name in SHOWN},
        "n": len(set(map(str, each.patients))),
        "images": len(each.names),
        "class_counts": {name: int(count) for name, count in zip(classes, counts, strict=True)},
        "majority": float(counts.max() / counts.sum()),
    }


def _closed(low: Answers, enhanced: Answers, high: Answers, resamples: int, seed: int) -> dict[str, Any]:
    right = [classification.correct(each.label, each.probability) for each in (low, enhanced, high)]
    found = {}
    for metric in CLOSED:
        ends = [
            gap.Scored(values, each.patients, each.label if metric == "balanced_accuracy" else None)
            for values, each in ((right[0], low), (right[2], high))
        ]
        found[metric] = gap.closed(ends[0], right[1], ends[1], resamples=resamples, seed=seed)
    return found


def _adjust(tests: Mapping[str, dict[str, Any]]) -> None:
    """Writes into each test its McNemar p-value adjusted by Holm for their number."""
    paired = [each for each in tests.values() if "mcnemar" in each]
    for each, p in zip(paired, hypothesis.holm([each["mcnemar"]["p_value"] for each in paired]), strict=True):
        each["mcnemar_holm"] = float(p)
