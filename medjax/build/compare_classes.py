"""Evaluated classifiers compared as classifiers: what they decide rightly, and the areas under their ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.build.compare_runs import Run
from medjax.metrics import classification

PREFIX = "p_"


def tests(runs: Sequence[Run]) -> dict[str, Any]:
    """`{"classifiers": {run: tests}}` of every run against the first (see `metrics.classification.paired_tests`), paired over
    patients; probabilities are means over seeds. Nothing where the runs are no classifiers.
    """
    first = runs[0]
    classes = [name.removeprefix(PREFIX) for name in first.scores if name.startswith(PREFIX)]
    if first.summaries[0].get("kind") != "classification" or not classes:
        return {}
    labels, units = _labels(first, classes), first.columns.get("patient") or first.names
    theirs = _probabilities(first, classes)
    pairs = {run.label: (labels, _probabilities(run, classes), theirs) for run in runs[1:]}
    return {"classifiers": {label: classification.paired_tests(*pair, classes, units=units) for label, pair in pairs.items()}}


def _labels(run: Run, classes: Sequence[str]) -> np.ndarray:
    """The place of each image's class `[n]`; 0 and 1 `[n, K]` where an image may have several."""
    hot = np.array([[name in label.split("+") for name in classes] for label in run.columns["label"]])
    return hot if run.summaries[0]["protocol"]["labels"] == "multi" else hot.argmax(1)


def _probabilities(run: Run, classes: Sequence[str]) -> np.ndarray:
    """`[n, K]`, means over seeds."""
    return np.stack([run.scores[PREFIX + name].mean(0) for name in classes], 1)
