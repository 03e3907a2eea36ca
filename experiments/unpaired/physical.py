"""Pairs by physics: the high-quality images of the learnt pairs under few photons, fitted in number to the low-quality pool.

LED learns how images degrade; whoever knows that they lack photons needs to learn nothing. Both roads have the same images, of
the same patients in the same splits, and differ in the degradation alone. Numpy.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from skimage.restoration import estimate_sigma

from experiments.unpaired.runs import Study, config_of
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.data import led_pairs, pools
from medjax.data.augment import resize
from medjax.data.degrade import Degradation
from medjax.files import whole
from medjax.rng import generator

PHOTONS = tuple(float(round(10**power)) for power in np.arange(0.75, 5.01, 0.25))
FITTED = 24  # training images of each pool


def write_pairs(study: Study, arm: str, folder: Path) -> dict[str, int]:
    """Write the pairs of an arm to `folder`, whole or not at all; returns how many there are of each split. The manifest says
    how many photons were found and at what noise.
    """
    learnt = study.pairs(arm)
    manifest, source = led_pairs.read_manifest(learnt), led_pairs.led_pairs(learnt, check=False)
    entries, made_by = manifest["pairs"], manifest["made_by"]
    config = config_of(study, arm, "cyclegan")
    train = [source.load(i)["target"] for i, entry in enumerate(entries) if entry[led_pairs.SPLIT] == "train"][:FITTED]
    degradation, told = fitted(config, train, low_images(config))
    written = []
    with whole(folder) as part:
        for i, entry in enumerate(entries):
            high = source.load(i)["target"]
            low = degradation(high, generator(config.data.split_seed, "physical", entry["name"]))
            kept = {name: value for name, value in entry.items() if name not in led_pairs.SIDES}
            written.append({**kept, **led_pairs.write_pair(part, entry["name"], low, high)})
        same = {name: made_by[name] for name in ("dataset", "images", "split_seed", "pixels", "versions") if name in made_by}
        led_pairs.write_manifest(part, written, {"run": "degradation by physics", **same, **told})
    return dict(Counter(entry[led_pairs.SPLIT] for entry in written))


def low_images(config: ConfigDict) -> list[np.ndarray]:
    """Low-quality training images [H, W, 1] in [0, 1], spread over the pool, at the size of training."""
    data = build_data.open_data(config)
    own = pooling.few_of(data.source, data.splits["train"], pools.LOW, FITTED)
    load = pools.view(data.source, pools.LOW).load
    return [resize(load(int(i))["target"], config.data.image_size) for i in own]


def fitted(config: ConfigDict, high: list[np.ndarray], low: list[np.ndarray]) -> tuple[Degradation, dict[str, Any]]:
    """The degradation whose noise, as it is estimated (Donoho and Johnstone 1994), is nearest to that of the `low` images, and
    `{"photons", "noise": {"low", "made"}, "steps"}`. What else the config does to its low-quality images is taken as known.
    """
    c = config.data.degradation
    steps = ("low_dose", *(step for step in c.steps if step != "low_dose"))
    known = {name: c[name].to_dict() for name in steps if name in c}
    wanted = noise(low)
    tried = {}
    for photons in PHOTONS:
        params = {**known, "low_dose": {**known["low_dose"], "photons": photons}}
        made = Degradation(steps=steps, params=params)
        tried[photons] = made, noise([made(image, generator(0, "fitted", i)) for i, image in enumerate(high)])
    best = min(tried, key=lambda photons: abs(np.log(max(tried[photons][1], 1e-9) / max(wanted, 1e-9))))
    return tried[best][0], {"photons": best, "noise": {"low": wanted, "made": tried[best][1]}, "steps": list(steps)}


def noise(images: list[np.ndarray]) -> float:
    """The mean of the standard deviations of the noise that wavelets find, in [0, 1] images."""
    return float(np.mean([estimate_sigma(image[..., 0]) for image in images]))
