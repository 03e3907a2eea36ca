"""Super-resolution of real images, and the gap that nobody reports: of generated images beside real ones reduced and enlarged.

All sets are compared with real images at the large size that super-resolution was trained on; the generator saw them too, small,
which flatters it. Rows are of held-out patients, and of as many generated images of the same classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments import scoring
from experiments.labelled.runs import Study, config_of
from experiments.superres.scores import by_patient
from medjax import baselines
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.build import features, generated, generator, judging, synthesis
from medjax.data.augment import resize
from medjax.data.choice import spread
from medjax.data.degrade import downsample
from medjax.metrics import statistics
from medjax.rng import named
from medjax.types import Array, to_signed, to_unit

ROWS = {
    "real": "real, as they are",
    "real_bicubic": "real, reduced, bicubic",
    "real_sr": "real, reduced, SRGAN",
    "generated_bicubic": "generated, bicubic",
    "generated_sr": "generated, SRGAN",
}
CLASSICAL = ("nearest", "bilinear", "bicubic", "lanczos")
SHOWN = 3
METRICS = ("fd", "kid")


def score(study: Study, data: build_data.Data) -> dict[str, Any]:
    """`{"n", "rows": {row: {metric: summary}}, "gains": {"A minus B": {metric: paired}}}` over held-out patients, kept by run."""
    by: dict[str, tuple[Any, str]] = {}
    for name in ("srresnet", "srgan"):
        config = config_of(study, name)
        params = build_evaluation.tuned_baselines(config, data, progress=study.progress) if name == "srresnet" else {}
        asked = {"params": params, "progress": study.progress, "keep": 1, "feature_networks": ()}
        scored = scoring.score(study.folder(name), data, study.place / "evaluations" / name, **asked)[1]
        by |= {row: (scored, row) for row in CLASSICAL if row in scored.scores} | {name: (scored, "model")}
    values = {row: {m: by_patient(*place, m) for m in ("psnr", "ssim", "ms_ssim")} for row, place in by.items()}
    pairs = (("srresnet", "bicubic"), ("srgan", "bicubic"), ("srgan", "srresnet"))
    compare = lambda a, b: {m: statistics.compare(values[a][m], values[b][m]) for m in ("psnr", "ssim")}  # noqa: E731
    return {
        "n": len(values["bicubic"]["psnr"]),
        "rows": {row: {m: statistics.summary(v) for m, v in each.items()} for row, each in values.items()},
        "gains": {f"{a} minus {b}": compare(a, b) for a, b in pairs},
    }


def measure(study: Study, data: build_data.Data) -> dict[str, Any]:
    """`{"n", "reference", "features": {row: {key: record}}, "differences": {key: ...}, "sizes"}`; pictures go to `gap.npz`."""
    config, model = config_of(study, "srgan"), generator.load_generator(study.gan(study.main))
    seen, side, factor = generator.as_trained_on(model.config, data), config.data.image_size, config.data.scale
    held = np.sort(np.concatenate([data.splits["test"], data.splits["validation"]]))
    held = held[spread(len(held), study.scale.gap)]
    train = data.splits["train"][spread(len(data.splits["train"]), study.scale.most)]
    read = lambda indices: np.stack([resize(seen.source.load(int(i))["target"], side) for i in indices])  # noqa: E731
    sets = {"held_out": read(train), "real": read(held)}
    small = np.stack([downsample(image, None, factor=factor) for image in sets["real"]])
    classes = tuple(model.config.data.classes)
    labels = np.array([classes.index(data.source.records[int(i)].labels[0]) for i in held], np.int32)
    made = to_unit(_generate(model, labels))
    enlarge = synthesis.Enlarger(study.folder("srgan"), model, study.gan(study.main))
    through = lambda images: np.concatenate([to_unit(np.asarray(enlarge(to_signed(x[None])))) for x in images])  # noqa: E731
    plain = lambda images: np.stack([baselines.enlarge(x, factor=factor) for x in images])  # noqa: E731
    sets |= {"real_bicubic": plain(small), "real_sr": through(small)}
    sets |= {"generated_bicubic": plain(made), "generated_sr": through(made)}
    records, absent = _distances(study, config, sets)
    shown = {row: images[:SHOWN] for row, images in sets.items() if row != "held_out"} | {"made": made[:SHOWN]}
    study.place.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(study.place / "gap.npz", **shown)
    about = {"n": len(held), "reference": len(train), "sizes": [side // factor, side], "absent": absent}
    return {**about, "features": records, "differences": differences(records)}


def _generate(model: Any, labels: np.ndarray) -> Array:
    """Images in [-1, 1] of these labels, those of even batches; image i is a function of i."""
    make, key, parts = generator.generator(model), named(jax.random.key(0), "gap"), []
    for start in range(0, len(labels), generated.BATCH):
        number = np.arange(start, start + generated.BATCH, dtype=np.int32)
        parts.append(make(key, number, {"label": labels[number % len(labels)]}))
    return np.concatenate(parts)[: len(labels)]


def _distances(study: Study, config: Any, sets: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """`judging.distances` of every set to the reference, over what is at hand and the classifier's features."""
    names = dict.fromkeys((*config.evaluation.features, *features.DRAWN))
    known = features.at_hand(config, [name for name in names if name not in features.LPIPS])
    networks = [*known.networks, judging.classifier_network(study.classifier(study.main))]
    none = lambda n: np.zeros(n, np.int32)  # noqa: E731
    held = {row: generated.Images(images, none(len(images)), none(len(images)), {}) for row, images in sets.items()}
    taken = {network.name: judging.taken(network, held) for network in networks}
    every = {row: np.ones(len(images), bool) for row, images in sets.items()}
    found = judging.distances(networks, taken, every, metrics=METRICS)
    return json.loads(json.dumps(found)), known.absent


def differences(records: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{key: how much farther the enlarged generated images lie than the enlarged real ones}: `value`, `ci95` by the normal
    approximation of two sets taken for independent, None where an interval is missing.
    """
    found = {}
    for key, far in records.get("generated_sr", {}).items():
        near = records.get("real_sr", {}).get(key) or {}
        if far.get("value") is None or near.get("value") is None:
            continue
        value, ends = far["value"] - near["value"], None
        if far.get("ci95") and near.get("ci95"):
            reach = math.hypot(*((r["ci95"][1] - r["ci95"][0]) / 2 for r in (far, near)))
            ends = [value - reach, value + reach]
        found[key] = {"value": value, "ci95": ends}
    return found
