"""Sets of images judged by one trained classifier: low quality, high quality, and what every method made of the low ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medjax.build import classification, classifier
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.evaluate import in_batches
from medjax.metrics import classification as metrics
from medjax.metrics import judgement
from medjax.types import DataError, NonFiniteError

BATCH = 32
FITTED = ("majority", "grey")


@dataclass(frozen=True)
class ImageSet:
    """Images float32 `[n, H, W, 1]` in [0, 1], the class of each by name, and their names and patients `[n]`."""

    images: np.ndarray
    labels: Sequence[str]
    names: Sequence[str]
    patients: Sequence[str]


def judge(
    workdir: str | Path,
    sets: Mapping[str, ImageSet],
    *,
    low: str = "low",
    high: str = "high",
    positive: str = "",
    which: str = "best",
) -> dict[str, Any]:
    """`metrics.judgement.judge` of what the classifier in `workdir` says of `sets`; positive: "" for its last class.

    Beside it `baselines` {set: {"majority", "grey": metrics with intervals}}, both fitted to the classifier's own training
    images (how frequent each class is; logistic regression on the mean grey level), and `classifier`: its folder. Raises
    DataError for a label that the classifier does not know, a set of one class, and patients that it was trained on.
    """
    classes, probabilities = classifier.probabilities(workdir, which=which)
    positive = positive or classes[-1]
    unknown = sorted({str(label) for each in sets.values() for label in each.labels} - set(classes))
    if unknown or positive not in classes:
        raise DataError(f"{workdir} tells {', '.join(classes)} apart, and knows nothing of {(unknown or [positive])[0]!r}")
    config = configs.read(workdir)
    own = build_data.open_data(build_data.fixed_canvas(config, workdir), workdir)
    check_unseen(own, sets)
    answers = {name: _answers(each, classes, probabilities, name) for name, each in sets.items()}
    found = judgement.judge(answers, classes, positive=positive, low=low, high=high)
    found["baselines"] = _baselines(config, own, sets, answers, positive)
    return {**json.loads(json.dumps(found, allow_nan=False)), "classifier": str(workdir)}


def check_unseen(own: build_data.Data, sets: Mapping[str, ImageSet]) -> None:
    """Raises DataError where patients of the sets are among those the classifier was trained or validated on (count, names)."""
    trained = {own.source.records[int(i)].patient for part in ("train", "validation") for i in own.splits[part]}
    for name, each in sets.items():
        seen = sorted(trained & set(map(str, each.patients)))
        if seen:
            raise DataError(f"the classifier was trained on {len(seen)} patients of the set {name!r}: {', '.join(seen[:3])}")


def _answers(each: ImageSet, classes: Sequence[str], probabilities: Any, name: str) -> judgement.Answers:
    """What the classifier says of a set."""
    images = np.asarray(each.images, np.float32)
    found = np.zeros((0, len(classes)))
    if len(images):
        found = in_batches(lambda places: probabilities(images[places]), len(images), size=BATCH).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        raise NonFiniteError(f"the classifier's output for image '{each.names[bad[0]]}' of the set {name!r} is not finite")
    label = np.array([classes.index(str(label)) for label in each.labels], int)
    return judgement.Answers(label, found, list(map(str, each.names)), list(map(str, each.patients)))


def _baselines(
    config: Any, own: build_data.Data, sets: Mapping[str, ImageSet], answers: Mapping[str, judgement.Answers], positive: str
) -> dict[str, Any]:
    frequent, level = classification.fit_baselines(config, own)
    classes, found = own.source.label_names, {}
    for name, each in answers.items():
        grey = np.asarray(sets[name].images, np.float64).mean((1, 2, 3))
        rows = {"majority": np.tile(frequent, (len(grey), 1)), "grey": level.probabilities(grey)}
        found[name] = {}
        for row in FITTED:
            told = metrics.report(each.label, rows[row], classes, units=each.patients)
            own_class = told.pop("by_class")[positive]
            found[name][row] = {metric: own_class.get(metric, told[metric]) for metric in judgement.SHOWN}
    return found
