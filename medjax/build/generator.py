"""A trained conditional GAN as functions: images of a condition, and the discriminator's probability that an image is real.

A condition is a dict `{column: [B]}` of the columns that the run was told, as its batches carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax.build import cgan, labelled, networks
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.trained import Model, load
from medjax.data.choice import thinned
from medjax.objective import Player
from medjax.objectives.cgan import probability
from medjax.types import Array, CheckpointError, ConfigError, Key

Condition = Mapping[str, Array]


def load_generator(workdir: str | Path, *, which: str = "best") -> Model:
    """The run of a conditional GAN, whose workdir may lack the discriminator. Raises ConfigError for a run of another method."""
    workdir = Path(workdir)
    if (workdir / "config.json").exists():
        config = configs.read(workdir)
        if networks.method(config).kind != "generation":
            raise ConfigError(f"{workdir} holds a run of {config.method.name}, which makes no images from labels; cgan does")
    return load(workdir, which=which, optional=("discriminator",))


def columns_of(model: Model) -> tuple[str, ...]:
    """The columns that a run is told of an image, the label first."""
    return tuple(name for name, _ in cgan.sizes_of(model.config))


def generator(model: Model) -> Callable[[Key, np.ndarray, Condition], np.ndarray]:
    """`(key, index int32 [B], condition) -> images [B, H, W, 1]` in [-1, 1]; image `index` is a function of the key and of it."""
    predict = model.predict()
    return lambda key, index, condition: np.asarray(predict({"index": index, **condition}, key)["target"], np.float32)


def judge(model: Model) -> Callable[[Array, Condition], np.ndarray]:
    """`(images [B, H, W, 1] in [-1, 1], condition) -> probability [B]`.

    Raises CheckpointError where the workdir holds no discriminator. See `no_probability`.
    """
    if "discriminator" not in model.state.nets:
        raise CheckpointError(
            f"the checkpoint of step {model.step} has no net 'discriminator' to judge images by: it holds the generator alone"
        )
    player = Player(networks.module(model.config, "discriminator", networks.DISCRIMINATORS))
    run = jax.jit(lambda net, images, condition: probability(player, net, images, condition))
    return lambda images, condition: np.asarray(run(model.state.nets["discriminator"], images, dict(condition)), np.float64)


def no_probability(config: ConfigDict) -> str:
    """Why what `judge` gives is no probability, in a sentence; "" where the loss makes it one (Goodfellow et al. 2014)."""
    adversary = config.method.adversary
    told = f"the discriminator was trained by the {adversary} loss: what it gives is a score from 0 to 1, no probability"
    return "" if adversary == "vanilla" else told


def as_trained_on(config: ConfigDict, data: build_data.Data) -> build_data.Data:
    """`data` with its images as training saw them: under CLAHE where the config has it."""
    return replace(data, source=labelled.trained_on(config, data.source))


def judged(model: Model, data: build_data.Data, split: str, *, limit: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """(probability `[n]`, label int `[n]`, 0 without labels) of the real images of a split, `limit` spread over it at most, as
    training saw them.
    """
    chosen = thinned(data.splits[split], limit)
    asked, columns, parts = judge(model), columns_of(model), []
    seen = as_trained_on(model.config, replace(data, splits={split: chosen}))
    for batch in build_data.eval_batches(model.config, seen, split, batch_size=16):
        keep = np.asarray(batch["mask"])
        found = asked(batch["target"], {name: batch[name] for name in columns})
        parts.append((found[keep], batch.get("label", np.zeros(len(keep), np.int32))[keep]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
