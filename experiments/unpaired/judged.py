"""Every row of images before the classifier, with the high-quality images of other patients; and where its features put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.unpaired import enhanced
from experiments.unpaired.runs import Study, of_one_class
from medjax.build import classifier, judgement
from medjax.build import config as configs
from medjax.data.records import Record
from medjax.evaluate import in_batches

ORDER = (
    "high", "high_led", "low", "led", "led_mean", "sane", "cyclegan", "regression", "physical", "physical_led", "clahe",
    "equalise", "gamma",
)  # fmt: skip
PLACED = {"low": "low quality", "high": "high quality", "degraded": "high quality, degraded by CycleGAN",
          "led": "low quality, enhanced by LED"}  # fmt: skip


def measure(
    study: Study, arm: str, test: enhanced.Tested, rows: Mapping[str, np.ndarray], high: np.ndarray
) -> dict[str, Any]:
    """`build.judgement.judge` of all rows by the arm's classifier, and of `high`, high-quality images under LED. Every image has
    the size of the stages before and is brought to the classifier's by the same resize, high-quality ones too: what is judged
    is no difference of sharpness.
    """
    folder = study.folder(arm, "classifier")
    classes = tuple(configs.read(folder).data.classes)
    sets = {row: image_set(own, test.high_records, classes) for row, own in (("high", test.high), ("high_led", high))}
    sets |= {row: image_set(images, test.records, classes) for row, images in rows.items()}
    return judgement.judge(folder, {row: sets[row] for row in ORDER if row in sets}, positive=classes[-1])


def image_set(images: np.ndarray, records: Sequence[Record], classes: Sequence[str]) -> judgement.ImageSet:
    """The images of exactly one of `classes`."""
    told = of_one_class(records, classes)
    own = list(told)
    return judgement.ImageSet(images[own], list(told.values()), [records[i].name for i in own], [records[i].patient for i in own])


def placed(study: Study, arm: str, sets: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Where the first two principal components of the classifier's features, of all sets together, put every image: `{"places":
    {set: [n, 2]}, "explained": [2], "apart": {set: distance of its middle to that of "high"}, "network"}`; the distances are in
    all dimensions, each feature in standard deviations of the high-quality images.
    """
    network, features = classifier.features(study.folder(arm, "classifier"))
    found = {name: _features(features, images) for name, images in sets.items()}
    spread = np.maximum(found["high"].std(0), 1e-6)
    scaled = {name: values / spread for name, values in found.items()}
    every = np.concatenate(list(scaled.values()))
    middle = every.mean(0)
    _, lengths, axes = np.linalg.svd(every - middle, full_matrices=False)
    share = lengths**2 / max(float((lengths**2).sum()), 1e-12)
    apart = {name: float(np.linalg.norm(values.mean(0) - scaled["high"].mean(0))) for name, values in scaled.items()}
    places = {name: ((values - middle) @ axes[:2].T).tolist() for name, values in scaled.items()}
    return {"places": places, "explained": [float(v) for v in share[:2]], "apart": apart, "network": network}


def _features(features: Any, images: np.ndarray) -> np.ndarray:
    """float64 `[n, D]`, in batches of one shape."""
    import jax

    run, images = jax.jit(lambda network, x: network(x)["pool"]), np.asarray(images, np.float32)
    return in_batches(lambda places: run(features, images[places]), len(images), size=judgement.BATCH).astype(np.float64)
