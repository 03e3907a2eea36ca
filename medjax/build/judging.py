"""The numbers of a generator's evaluation, each from the sets that `build.generated` makes.

Rows are sets of images: `held_out` is what the others are compared with, `model` what was generated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.build import classifier
from medjax.build import config as configs
from medjax.build import features as build_features
from medjax.build.features import Extractable
from medjax.build.generated import BATCH, PIXELS, Images, Trained
from medjax.build.trained import Task
from medjax.metrics import classification, discrimination, diversity, resampling
from medjax.metrics.features import Extractor, Sample
from medjax.metrics.frechet import moments
from medjax.metrics.statistics import summary
from medjax.types import ConfigError

PAIRS = 200  # compared within a class
THRESHOLD = 0.9  # the published filter's
EVERY = "all"
Taken = Mapping[str, Mapping[str, Mapping[str, Sample]]]  # {network: {row: {layer: Sample}}}


def taken(network: Extractable, sets: Mapping[str, Images]) -> dict[str, dict[str, Sample]]:
    """The features `{row: {layer: Sample}}` of sets of images; of a set that goes by two names once."""
    found: dict[int, dict[str, Sample]] = {}
    for images in sets.values():
        if id(images) not in found:
            extractor = Extractor(network.features)
            for start in range(0, len(images), BATCH):
                extractor.add(images.images[start : start + BATCH])
            found[id(images)] = extractor.samples()
    return {row: found[id(images)] for row, images in sets.items()}


def distances(
    networks: Sequence[Extractable], features: Taken, chosen: Mapping[str, np.ndarray], *, metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """`{row: {key: record}}` of the rows but `held_out` against it, over the images bool `[n]` that `chosen` names of each.

    A record is `metrics.features.score`'s, with `se` and `ci95` by the delete-half jackknife where the metric brings none; see
    `metrics.resampling.interval`.
    """
    found: dict[str, dict[str, Any]] = {}
    for network in networks:
        parts = {row: _part(sample, chosen[row]) for row, sample in features[network.name].items() if row in chosen}
        for row, other in parts.items():
            if row == "held_out" or not other or not parts["held_out"]:
                continue
            records = build_features.between(network, parts["held_out"], other, metrics=metrics)
            for layer, sample in other.items():
                errors = resampling.distance_errors(parts["held_out"][layer].vectors, sample.vectors)
                for key, record in records.items():
                    metric, _, of = key.partition("/")
                    metric = metric.replace("fid", "fd")
                    if metric in errors and of == f"{network.name}.{layer}" and record["value"] is not None:
                        counted = record["n"][1 if metric == "precision" else 0]  # a share of the others, or of the held-out
                        record |= resampling.interval(metric, record["value"], errors[metric], counted)
            found.setdefault(row, {}).update(records)
    return found


def _part(samples: Mapping[str, Sample], chosen: np.ndarray) -> dict[str, Sample]:
    """The samples of some of the images; {} where there is none of them."""
    if chosen.all() or not chosen.any():
        return dict(samples) if chosen.any() else {}
    kept = {layer: sample.vectors[chosen] for layer, sample in samples.items()}
    return {layer: Sample(moments(vectors), vectors) for layer, vectors in kept.items()}


def likeness(held: Images, generated: Images, classes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """How alike two images of a class are: `{class: {"real", "model", "ratio"}}`, MS-SSIM of `PAIRS` pairs at most, and `EVERY`
    class's pairs together; a class of fewer than two images is left out.
    """
    pairs = {}
    for name, k in classes.items():
        sets = {"real": held.images[held.label == k], "model": generated.images[generated.label == k]}
        if min(map(len, sets.values())) > 1:
            pairs[name] = {row: diversity.pair_similarity(images, pairs=PAIRS) for row, images in sets.items()}
    if len(classes) > 1 and pairs:
        pairs[EVERY] = {row: np.concatenate([each[row] for each in pairs.values()]) for row in ("real", "model")}
    return {
        name: {**{row: summary(v) for row, v in each.items()}, "ratio": resampling.ratio(each["model"], each["real"])}
        for name, each in pairs.items()
    }


def memorisation(
    train: Trained, held: Mapping[str, np.ndarray], generated: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """`diversity.memorisation` in every space of `train`, of vectors `{space: [n, D]}`, with `n_train`; of `PIXELS` also the
    held-out images' own nearest, `held_index` and `held_distance`.
    """
    found = {}
    for space, vectors in train.vectors.items():
        found[space] = {**diversity.memorisation(generated[space], vectors, held[space]), "n_train": len(vectors)}
    index, distance = diversity.nearest(held[PIXELS], train.vectors[PIXELS])
    found[PIXELS] |= {"held_index": index, "held_distance": distance}
    return found


def discriminator(given: Mapping[str, np.ndarray], adversary: str) -> dict[str, Any]:
    """What the discriminator's probabilities `given` {"real" (held out), "model", "train": `[n]`} are worth."""
    half = discrimination.proportion(int((given["train"] >= 0.5).sum()), len(given["train"]))
    passing = {row: discrimination.proportion(int((p >= THRESHOLD).sum()), len(p)) for row, p in given.items()}
    return {
        **discrimination.calibration(given["real"], given["model"]),
        "train": {**summary(given["train"]), "half": half},
        "threshold": THRESHOLD,
        "passing": passing,
        "most_of_an_optimal_discriminator": discrimination.most_passing(THRESHOLD),
        "adversary": adversary,
    }


def classifier_network(workdir: str | Path) -> Extractable:
    """The pooled features of a trained classifier, as a network to measure distances over."""
    name, features = classifier.features(workdir)
    told = f"trained by medjax: the classifier in {Path(workdir).name}"
    side = configs.read(workdir).data.image_size
    return Extractable(name, features, False, told, f"one channel; resized to {side}x{side}, bilinear with antialiasing")


def classified(task: Task, held: Images, generated: Images, classes: Mapping[str, int]) -> dict[str, Any]:
    """Whether a classifier sees in each image the class it was asked for: `metrics.classification.report` of `real` (held out)
    and `model`, and how many of the held-out images it was trained on.

    Raises ConfigError for a classifier that does not know the classes.
    """
    known, probabilities = classifier.probabilities(task.classifier)
    absent = [name for name in classes if name not in known]
    if absent or "label" not in held.condition:
        told = ", ".join(absent) or "images without labels"
        raise ConfigError(f"the classifier {task.classifier} knows {', '.join(known)}, not {told}")
    place = np.array([known.index(name) for name in classes])
    patients = [task.data.source.records[int(i)].patient for i in held.index]
    found: dict[str, Any] = {"workdir": Path(task.classifier).name, "classes": list(known), "seen": _seen(task, held)}
    for row, images, units in (("real", held, patients), ("model", generated, range(len(generated)))):
        parts = [probabilities(images.images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        report = classification.report(place[images.label], np.concatenate(parts).astype(np.float64), known, units=list(units))
        found[row] = report
    return found


def _seen(task: Task, held: Images) -> int:
    """How many held-out images the classifier was trained on, as far as their names tell."""
    theirs, path = configs.read(task.classifier), Path(task.classifier) / "splits.json"
    alike = theirs.data.source == task.config.data.source and (
        theirs.data.split_seed == task.config.data.split_seed or task.own.root != ""
    )
    if not alike or not path.exists():
        return 0
    trained = set(json.loads(path.read_text()).get("train", ()))
    return sum(task.data.source.records[int(i)].name in trained for i in held.index)
