"""A classifier judged: beside the most frequent class and the mean grey level, with intervals over patients.

Writes what every evaluation leaves: `evaluation.json` (rows `majority`, `grey`, `model`), `evaluation.csv` (a row per image
with its probabilities).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medjax import results
from medjax.baselines import grey
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.labelled import clahe_words
from medjax.build.protocol import of_run
from medjax.build.trained import Model, Task
from medjax.data.choice import thinned
from medjax.metrics import classification as metrics
from medjax.metrics import tables
from medjax.metrics.statistics import RESAMPLES
from medjax.rng import named
from medjax.types import NonFiniteError, to_unit

FITTING_IMAGES = 2000  # that the mean grey level is fitted to, spread over the training images
FEW = 10  # images of a class below which an interval says little


@dataclass(frozen=True)
class Predictions:
    """Of n images: `index` `[n]` in the source, `label` `[n]` or `[n, K]`, `probability` `[n, K]`, mean grey `level` `[n]`."""

    index: np.ndarray
    label: np.ndarray
    probability: np.ndarray
    level: np.ndarray


def predictions(model: Model, data: build_data.Data, split: str, *, batch_size: int = 16, progress: bool = False) -> Predictions:
    """What a classifier says of every image of a split, in its order. Raises NonFiniteError naming an image."""
    predict, key = model.predict(), named(jax.random.key(model.config.data.split_seed), "evaluation")
    batches, parts = build_data.eval_batches(model.config, data, split, batch_size=batch_size), []
    for batch in tqdm(batches, desc="classifying", unit="batch", disable=not progress, leave=False):
        keep = np.asarray(batch["mask"])
        seen = {name: batch[name] for name in ("source", "target", "index") if name in batch}
        probability = np.asarray(predict(seen, key)["label"], np.float64)
        parts.append([np.asarray(x)[keep] for x in (batch["index"], batch["label"], probability, _level(model.config, batch))])
    found = Predictions(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    bad = found.index[~np.isfinite(found.probability).all(1)]
    if len(bad):
        raise NonFiniteError(f"the classifier's output for image '{data.source.names[bad[0]]}' is not finite")
    return found


def score(task: Task) -> dict[str, Any]:
    """Judge a classifier; writes the result files and returns what `evaluation.json` holds."""
    found = predictions(task.model, task.data, task.split, progress=task.progress)
    classes, names = task.data.source.label_names, task.data.source.names
    rows = {**baseline_rows(task.config, task.own, found), "model": found.probability}
    columns = {name: [column[i] for i in found.index] for name, column in task.columns.items()}
    hot = metrics.truth(found.label, len(classes))
    columns["label"] = ["+".join(c for c, there in zip(classes, each, strict=True) if there) for each in hot]
    scores = {row: _per_image(found.label, p, classes) for row, p in rows.items()}
    evaluation = results.Evaluation([names[i] for i in found.index], scores, columns)
    summary = {
        "kind": "classification",
        "dataset": task.data.source.kind,
        "split": task.split,
        **_sizes(columns["patient"]),
        "classes": list(classes),
        "class_counts": {name: int(count) for name, count in zip(classes, hot.sum(0), strict=True)},
        "protocol": protocol(task),
        **summarise(found.label, rows, classes, columns["patient"]),
    }
    if task.by is not None:
        summary["by"] = {"column": task.by, "groups": _groups(task.by, columns, found.label, rows, classes)}
    few = [f"{name} ({count})" for name, count in summary["class_counts"].items() if count < FEW]
    if few:
        message = f"of these classes there are few images to judge by: {', '.join(few)}"
        warnings.warn(message, stacklevel=2)
        summary["warnings"] = [message]
    summary = json.loads(json.dumps({**summary, "versions": configs.versions()}, allow_nan=False))
    results.write(evaluation, task.output, summary=summary)
    return summary


def _level(config: ConfigDict, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean grey level in [0, 1] of each image `[B]` as a classifier sees it."""
    seen = batch["source"] if config.data.degradation.steps else batch["target"]
    return np.mean(to_unit(seen), axis=(1, 2, 3), dtype=np.float64)


def levels(config: ConfigDict, data: build_data.Data, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean grey level `[n]` and label `[n]` or `[n, K]` of every image of a split, for which no classifier is asked."""
    parts = []
    for batch in build_data.eval_batches(config, data, split, batch_size=16):
        keep = np.asarray(batch["mask"])
        parts.append([np.asarray(x)[keep] for x in (_level(config, batch), batch["label"])])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def baseline_rows(config: ConfigDict, own: build_data.Data, found: Predictions) -> dict[str, np.ndarray]:
    """Probabilities `[n, K]` of the two that look at no anatomy, both fitted to training images: how frequent each class is,
    and logistic regression on an image's mean grey level.
    """
    frequent, fitted = fit_baselines(config, own)
    return {"majority": np.tile(frequent, (len(found.index), 1)), "grey": fitted.probabilities(found.level)}


def fit_baselines(config: ConfigDict, own: build_data.Data) -> tuple[np.ndarray, grey.GreyLevel]:
    """How frequent each class is in training `[K]`, and the class by mean grey level, of training images."""
    train, classes = own.splits["train"], len(own.source.label_names)
    frequent = np.mean([[name in own.source.records[int(i)].labels for name in own.source.label_names] for i in train], 0)
    chosen = thinned(train, FITTING_IMAGES)
    level, label = levels(config, replace(own, splits={"fit": chosen}), "fit")
    return frequent, grey.fit(level, metrics.truth(label, classes), several=label.ndim == 2)


def summarise(
    label: np.ndarray, rows: Mapping[str, np.ndarray], classes: Sequence[str], patients: Sequence[str]
) -> dict[str, Any]:
    """`rows` and `by_class` {row: metrics with intervals}, `confusion` and `calibration` {row}, `tests` of the model against
    each other row: McNemar over patients, and DeLong for the AUC of each class.
    """
    found: dict[str, Any] = {"rows": {}, "by_class": {}, "confusion": {}, "calibration": {}, "tests": {}}
    for row, probability in rows.items():
        report = metrics.report(label, probability, classes, units=patients)
        found["by_class"][row] = report.pop("by_class")
        found["rows"][row] = report
        found["confusion"][row] = metrics.confusion(label, probability).tolist()
        curve = metrics.reliability(label, probability)
        found["calibration"][row] = {name: [_plain(v) for v in values] for name, values in curve.items()}
    for row in rows:
        if row != "model":
            found["tests"][row] = metrics.paired_tests(label, rows["model"], rows[row], classes, units=patients)
    return found


def protocol(task: Task) -> dict[str, Any]:
    """What the figures depend on, for the result file."""
    c, several = task.config.data, task.config.data.labels == "multi"
    degradation = task.data.degradation
    return {
        "classes": list(task.data.source.label_names),
        "labels": c.labels if several else f"{c.labels} (label_mode {c.label_mode})",
        "decision": "every class from a probability of 0.5 on" if several else "the class of highest probability",
        "resolution": c.image_size,
        "resampler": "lanczos (Pillow), to a square",
        "degradation": "none" if degradation is None else {"steps": list(degradation.steps)},
        "auc": "one class against the rest, ties counted half; over classes: their mean",
        "ece": f"expected calibration error over {metrics.BINS} equal bins of confidence (Guo et al. 2017)",
        "interval": f"percentile bootstrap over patients, 95%, {RESAMPLES} resamples, seed 0; AUC of a class: DeLong's",
        "test": "McNemar, exact, over patients; DeLong for each class's AUC",
        "training_preprocessing": clahe_words(task.config) + ("; not of the images judged" if c.clahe.clip else ""),
        "baselines": {"majority": "class frequencies in training", "grey": "logistic regression on the mean grey level"},
        **of_run(task.config, task.model.step),
    }


def _per_image(label: np.ndarray, probability: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """What the CSV holds of a row: accuracy (right or wrong), the loss, the probability of each class."""
    hot = metrics.truth(label, len(classes))
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    loss = -np.mean(np.where(hot, np.log(p), np.log1p(-p)), 1) if np.ndim(label) == 2 else -np.log(p[hot])
    return {
        "accuracy": metrics.correct(label, probability),
        "loss": loss,
        **{f"p_{c}": probability[:, k] for k, c in enumerate(classes)},
    }


def _sizes(patients: Sequence[str]) -> dict[str, Any]:
    count = len(set(patients))
    sizes: dict[str, Any] = {"n": count, "images": len(patients), "patients": count}
    return sizes | ({"unit": "patient"} if count < len(patients) else {})


def _groups(
    column: str, columns: Mapping[str, Sequence[Any]], label: np.ndarray, rows: Mapping[str, np.ndarray], classes: Sequence[str]
) -> dict[str, Any]:
    """The rows of each group of a column of the data."""
    found = {}
    for name, mask in tables.groups(column, columns[column]).items():
        patients = [p for p, here in zip(columns["patient"], mask, strict=True) if here]
        part = summarise(label[mask], {row: p[mask] for row, p in rows.items()}, classes, patients)
        found[name] = {"n": len(set(patients)), "rows": part["rows"]}
    return found


def _plain(value: float) -> float | int | None:
    return None if not np.isfinite(value) else int(value) if isinstance(value, np.integer) else float(value)
