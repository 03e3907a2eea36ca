"""The paper's filter put to the test: how many images reach a probability of 0.9, and whether these are any better.

Every image that is tried is judged by the discriminator and by the classifier, whether it passes or not. Then the command's own
filter is run, which stops where the count is out of reach. The labelled images that the study goes on with are not filtered.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import common
from experiments.labelled.runs import Study
from medjax import synthetic
from medjax.build import classifier, generator, synthesis
from medjax.build import data as build_data
from medjax.metrics.discrimination import calibration, most_passing, proportion
from medjax.rng import named
from medjax.types import ConfigError, to_unit

THRESHOLD = 0.9
BATCH = 16
ENLARGED, PLAIN = "enlarged", "plain"


def gather(study: Study) -> dict[str, dict[str, Any]]:
    """{set: `measure`}, kept."""
    place = study.place / "threshold"
    return {s: common.kept(place / f"{s}.json", functools.partial(measure, study, s)) for s in study.sets}


def measure(study: Study, images: str) -> dict[str, Any]:
    """`{"threshold", "tried", "passed": {label: share}, "calibration", "agreement", "most", "filter"}` of the generator of a set.

    agreement: how often the classifier sees the class asked for in images that pass and in those that do not, and the
    difference; filter: what `medjax synthesize --threshold` said and how long an image took.
    """
    model = generator.load_generator(study.gan(images))
    make, judge, key = generator.generator(model), generator.judge(model), named(jax.random.key(0), "threshold")
    known, see = classifier.probabilities(study.classifier(images))
    given, right = {}, {}
    for k, label in enumerate(model.config.data.classes):
        parts = []
        for start in range(0, study.scale.tried, BATCH):
            condition = {"label": np.full(BATCH, k, np.int32)}
            made = make(named(key, label), np.arange(start, start + BATCH, dtype=np.int32), condition)
            seen = np.asarray(see(to_unit(made))).argmax(1) == known.index(label)
            parts.append((judge(made, condition), seen))
        given[label], right[label] = (np.concatenate(column)[: study.scale.tried] for column in zip(*parts, strict=True))
    every, correct = np.concatenate(list(given.values())), np.concatenate(list(right.values()))
    held = generator.judged(model, build_data.open_data(model.config, study.gan(images)), "test")[0]
    return {
        "threshold": THRESHOLD,
        "tried": study.scale.tried,
        "passed": {label: _share(p >= THRESHOLD) for label, p in {**given, "all": every}.items()},
        "held_out": _share(held >= THRESHOLD),
        "calibration": calibration(held, every),
        "agreement": agreement(correct, every >= THRESHOLD),
        "most": most_passing(THRESHOLD),
        "filter": _command(study, images),
    }


def _share(hits: np.ndarray) -> dict[str, Any]:
    return proportion(int(np.sum(hits)), len(hits))


def agreement(right: np.ndarray, passes: np.ndarray) -> dict[str, Any]:
    """Shares of `right` among those that pass and those that do not, bool `[n]`; `difference` with its interval of Agresti and
    Caffo 2000. What has no image is None.
    """
    sides = {name: right[mask] for name, mask in (("passed", passes), ("failed", ~passes))}
    found: dict[str, Any] = {name: _share(side) if len(side) else None for name, side in sides.items()}
    found["difference"] = None
    if all(map(len, sides.values())):
        n, x = (np.array([f(side) for side in sides.values()], float) for f in (len, np.sum))
        p = (x + 1) / (n + 2)
        reach = 1.96 * math.sqrt(float(np.sum(p * (1 - p) / (n + 2))))
        middle = float(p[0] - p[1])
        ends = [max(-1.0, middle - reach), min(1.0, middle + reach)]
        found["difference"] = {"mean": float(x[0] / n[0] - x[1] / n[1]), "ci95": ends}
    return found


def _command(study: Study, images: str) -> dict[str, Any]:
    """`medjax synthesize --threshold=0.9`: how many images were written, milliseconds an image, or why it stopped."""
    scale, said = study.scale, []
    asked = {"count": scale.wanted, "threshold": THRESHOLD, "max_tries": scale.tried, "overwrite": True}
    try:
        outcome = _synthesize(study, images, study.place / "threshold" / images, said.append, **asked)
    except ConfigError as error:
        return {"written": 0, "wanted": scale.wanted, "ms": None, "told": str(error)}
    return {"written": len(outcome.rows), "wanted": scale.wanted, "ms": outcome.ms_per_image(), "told": " ".join(said)}


def _synthesize(study: Study, images: str, output: Path, say: Callable[[str], Any], **asked: Any) -> synthesis.Outcome:
    asked = {"labels": ("all",), "progress": study.progress, "say": say, **asked}
    return synthesis.run(study.gan(images), output, **asked)


def folder(study: Study, images: str, kind: str) -> Path:
    """Where the labelled images of a set lie: at the generator's size (`plain`), or `enlarged`."""
    return study.place / "synthetic" / f"{images}_{kind}"


def write_images(study: Study) -> dict[str, dict[str, Any]]:
    """{`SET_KIND`: its provenance} of labelled images of the claims' set, once: enlarged, and of phantoms at their own size too,
    which is that of the phantoms that a classifier is trained on beside them.
    """
    found, wanted = {}, {(study.main, ENLARGED): study.folder("srgan")}
    if not study.real:
        wanted["phantom", PLAIN] = None
    for (images, kind), upscale in wanted.items():
        output = folder(study, images, kind)
        if not (output / synthetic.TABLE).exists():
            _synthesize(study, images, output, print, count=study.scale.synthetic[images], upscale=upscale)
        found[f"{images}_{kind}"] = synthetic_of(output)
    return found


def synthetic_of(output: Path) -> dict[str, Any]:
    """The provenance of a folder of labelled images."""
    return json.loads((output / synthetic.PROVENANCE).read_text())
