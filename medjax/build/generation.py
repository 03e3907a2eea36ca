"""A conditional generator judged: how far its images are from real ones, how many they are, and whether they are copies.

The held-out images of a split are what everything is compared with, and of every one of them the generator makes an image of the
same condition. Beside the row `model` stands `real`: as many training images, the floor that no generator can be asked to pass.
Writes `evaluation.json`, `evaluation.csv` (a row for each held-out image and its generated counterpart) and `examples.npz`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax import results
from medjax.build import config as configs
from medjax.build import features as build_features
from medjax.build import generator, judging
from medjax.build.generated import MOST, PIXELS, Images, Trained, beside, generate, read, trained_on, vectors_of
from medjax.build.judging import EVERY, PAIRS
from medjax.build.labelled import clahe_words
from medjax.build.protocol import of_run
from medjax.build.trained import Task
from medjax.metrics.sliced import sliced_wasserstein
from medjax.metrics.statistics import RESAMPLES, summary
from medjax.rng import named
from medjax.types import ConfigError

FEW = 30  # images of a class below which a figure says little
SHOWN, CLOSEST = 8, 6  # images of each class, and pairs, kept for the report


def score(task: Task) -> dict[str, Any]:
    """Judge a generator; writes the result files and returns what `evaluation.json` holds.

    Raises ConfigError where the table was to be split, or draws were asked for: a generator has no image of each image.
    """
    if task.by is not None or task.num_samples:
        raise ConfigError("a generator is judged class by class: --by and --samples are for runs that give an image of an image")
    config, sets = task.config, _sets(task)
    held, classes = sets["held_out"], _classes(config, sets["held_out"])
    networks, absent = _networks(task)
    compared = {row: s for row, s in sets.items() if row != "seen"}
    taken = {n.name: judging.taken(n, sets) for n in networks}
    train = trained_on(task.model, task.own, networks, progress=task.progress)
    spaces = {r: vectors_of(sets[r].images, {n: rows[r] for n, rows in taken.items()}) for r in ("seen", "model")}
    copies = judging.memorisation(train, spaces["seen"], spaces["model"])
    judge = generator.judge(task.model)
    whose = {"real": sets["seen"], "model": sets["model"], "train": sets.get("trained_on", sets["real"])}
    given = {row: judge(s.signed, s.condition) for row, s in whose.items()}
    of_class = {name: {row: s.label == k for row, s in compared.items()} for name, k in classes.items()}
    every = {row: np.ones(len(s), bool) for row, s in compared.items()}
    alike, adversary = judging.likeness(held, sets["model"], classes), config.method.adversary
    apart = partial(judging.distances, networks, taken, metrics=tuple(config.evaluation.feature_distances))
    found = {
        "kind": "generation",
        "dataset": task.data.source.kind,
        "split": task.split,
        "n": len(held),
        "classes": list(classes),
        "class_counts": {name: {row: int(m.sum()) for row, m in rows.items()} for name, rows in of_class.items()},
        "protocol": _protocol(task, train),
        "rows": _rows(copies[PIXELS], given, alike.get(EVERY) or next(iter(alike.values()), {})),
        "features": apart(every),
        "features_by_class": {name: apart(chosen) for name, chosen in of_class.items()} if len(classes) > 1 else {},
        "features_absent": absent,
        "swd": {row: sliced_wasserstein(s.images, held.images) for row, s in compared.items() if row != "held_out"},
        "diversity": alike,
        "memorisation": {s: {k: v for k, v in each.items() if not isinstance(v, np.ndarray)} for s, each in copies.items()},
        "discriminator": judging.discriminator(given, adversary),
        "classifier": judging.classified(task, held, sets["model"], classes) if task.classifier else None,
    }
    found["warnings"] = _warned(task, found)
    found["versions"] = configs.versions()
    found = json.loads(json.dumps(found, allow_nan=False))
    evaluation = _table(task, sets, copies[PIXELS], given)
    evaluation.examples = _examples(task, sets, copies[PIXELS], train)
    results.write(evaluation, task.output, summary=found)
    return found


def _sets(task: Task) -> dict[str, Images]:
    """What is compared, in the order of the rows; `seen` is `held_out` as training would have seen it."""
    model, samples = task.model, task.config.evaluation.samples
    held = read(model, task.data, task.split)
    sets = {"held_out": held, "seen": held, "real": beside(model, task.own, held, samples=samples)}
    if task.config.data.clahe.clip:
        sets["seen"] = read(model, generator.as_trained_on(task.config, task.data), task.split)
        sets["trained_on"] = beside(model, generator.as_trained_on(task.config, task.own), held, samples=samples)
    key = named(jax.random.key(task.config.data.split_seed), "evaluation")
    made = generate(key, model, held, samples=samples, progress=task.progress)
    return {**sets, "model": made}


def _classes(config: ConfigDict, held: Images) -> dict[str, int]:
    """The classes that were held out, by their places; one for all images where the run knows none."""
    if "label" not in held.condition:
        return {"images": 0}
    return {name: k for k, name in enumerate(config.data.classes) if np.any(held.label == k)}


def _networks(task: Task) -> tuple[list[build_features.Extractable], list[dict[str, str]]]:
    """Those asked for whose weights are at hand (by default the config's and those of random weights), and the classifier's."""
    names = task.feature_networks
    if names is None:
        names = dict.fromkeys((*task.config.evaluation.features, *build_features.DRAWN))
    known = build_features.at_hand(task.config, [name for name in names if name not in build_features.LPIPS])
    own = [judging.classifier_network(task.classifier)] if task.classifier else []
    return [*known.networks, *own], known.absent


def _rows(copies: Mapping[str, Any], given: Mapping[str, np.ndarray], alike: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Means of held-out images (`real`) and of generated ones: distance to the nearest training image, probability of the
    discriminator, likeness of two images of a class.
    """
    nearest = {"real": copies["held_distance"], "model": copies["distance"]}
    found = {row: {"nearest": summary(nearest[row]), "d_probability": summary(given[row])} for row in ("real", "model")}
    return {row: {**cells, **({"similarity": alike[row]} if alike else {})} for row, cells in found.items()}


def _protocol(task: Task, train: Trained) -> dict[str, Any]:
    """What the figures depend on, for the result file."""
    c, samples = task.config.data, task.config.evaluation.samples
    held = "as the data set has them" if not c.clahe.clip else f"as the data set has them, without {clahe_words(task.config)}"
    return {
        "compared_with": f"the images of the {task.split} split, {held}; of more than {MOST}, that many spread over it",
        "generated": f"{samples} of each class" if samples else "one of the condition of each image compared with",
        "real": "training images as the data set has them, as many of each class as are generated, or all there are",
        "trained_on": "none" if not c.clahe.clip else f"those training images under {clahe_words(task.config)}",
        "resolution": c.image_size,
        "resampler": "lanczos (Pillow), to a square",
        "distances": "compare at equal n alone; interval: KID by subsampling, the others by the delete-half jackknife, of shares "
        "no narrower than Clopper and Pearson's",
        "similarity": f"MS-SSIM of pairs of one class, {PAIRS} at most, taken for independent; ratio: bootstrap of both means",
        "nearest": f"root mean square difference to the nearest training image, {PIXELS}" + ", mirrored too" * bool(c.flip),
        "nearest_in_features": f"of {MOST} training images at most; there are {len(np.unique(train.index[PIXELS]))}",
        "seen_as": f"for memorisation and the discriminator all images as training saw them (CLAHE: {clahe_words(task.config)})",
        "d_probability": "sigmoid of the discriminator's mean logit, real and generated weighted alike in calibration",
        "interval": f"percentile bootstrap over images, 95%, {RESAMPLES} resamples, seed 0; of shares Clopper and Pearson",
        "predict_norm": task.config.generator.get("predict_norm", "none"),
        **of_run(task.config, task.model.step),
    }


def _warned(task: Task, found: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the figures; told on stderr too."""
    few = [f"{name} ({rows['held_out']})" for name, rows in found["class_counts"].items() if rows["held_out"] < FEW]
    said = [f"of these classes there are few images to compare with: {', '.join(few)}"] if few else []
    known = task.config.data.classes if "label" in generator.columns_of(task.model) else ()
    absent = [name for name in known if name not in found["classes"]]
    said += [f"none of the images compared with is of {', '.join(absent)}, so nothing is said of it"] if absent else []
    if task.config.data.clahe.clip:
        said.append(
            f"the run was trained under {clahe_words(task.config)} and is compared with images without it: read the row `model` "
            "beside `trained_on`, not beside `real`"
        )
    said += [told] if (told := generator.no_probability(task.config)) else []
    seen = (found["classifier"] or {}).get("seen", 0)
    said += [f"the classifier was trained on {seen} of the {found['n']} images compared with"] if seen else []
    for message in said:
        warnings.warn(message, stacklevel=3)
    return said


def _table(
    task: Task, sets: Mapping[str, Images], copies: Mapping[str, Any], given: Mapping[str, np.ndarray]
) -> results.Evaluation:
    """A row for each held-out image and the generated one of its place; what one of the two has no more of is not a number."""
    held, made = sets["held_out"], sets["model"]
    slots, records = max(len(held), len(made)), task.data.source.records
    padded = lambda values: np.concatenate([values, np.full(slots - len(values), np.nan)])  # noqa: E731
    nearest = {"real": copies["held_distance"], "model": copies["distance"]}
    scores = {row: {"nearest": padded(nearest[row]), "d_probability": padded(given[row])} for row in ("real", "model")}
    blank = [""] * (slots - len(held))
    columns = {name: [column[int(i)] for i in held.index] + blank for name, column in task.columns.items()}
    classes = tuple(task.config.data.classes) if "label" in held.condition else ("",)
    columns |= {"label": [classes[k] for k in held.label] + blank}
    columns |= {"asked": [classes[k] for k in made.label] + [""] * (slots - len(made))}
    names = [records[int(i)].name for i in held.index] + [f"generated {i}" for i in range(len(held), slots)]
    return results.Evaluation(names, scores, columns)


def _examples(task: Task, sets: Mapping[str, Images], copies: Mapping[str, Any], train: Trained) -> dict[str, np.ndarray]:
    """The first images of each class, and of generated and of held-out images those nearest to training images, with these."""
    found: dict[str, np.ndarray] = {}
    for row, name in (("held_out", "real"), ("model", "generated")):
        labels = sets[row].label
        chosen = np.concatenate([np.flatnonzero(labels == k)[:SHOWN] for k in np.unique(labels)])
        found |= {name: sets[row].images[chosen], f"{name}_label": labels[chosen]}
    for row, name, which in (("model", "copy", ""), ("seen", "new", "held_")):
        order = np.argsort(copies[f"{which}distance"], kind="stable")[:CLOSEST]
        places = copies[f"{which}index"][order]
        theirs = replace(generator.as_trained_on(task.config, task.own), splits={"nearest": train.index[PIXELS][places]})
        nearest = read(task.model, theirs, "nearest").images
        turned = train.mirrored[PIXELS][places][:, None, None, None]
        found |= {name: sets[row].images[order], f"{name}_nearest": np.where(turned, nearest[:, :, ::-1], nearest)}
        found[f"{name}_distance"] = copies[f"{which}distance"][order]
        found[f"{name}_of"] = np.array([task.own.source.records[int(i)].name for i in train.index[PIXELS][places]])
    return found
