"""From a config to training batches that the device makes of decoded images which lie there, or those of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax import images
from medjax.build import caching, labelled
from medjax.build import data as build_data
from medjax.build.balancing import balance_of
from medjax.build.degradation import warp_of
from medjax.data import packed, pipeline
from medjax.data.examples import Examples
from medjax.data.pools import pooled
from medjax.images.degradation import check as check_steps
from medjax.objective import Objective, with_transform
from medjax.rng import named
from medjax.types import RESIDENT, Batch, Batches, ConfigError, Key

Transform = Callable[[Batch, Key], Batch]
_SHARE = 0.75


def train_batches(
    config: ConfigDict, data: build_data.Data, *, part: tuple[int, int] = (0, 1)
) -> tuple[Batches, Transform | None]:
    """`batches(start)` over the training split, and what makes of each a batch as methods know it, under jit; None where they are
    such batches. part: (i, n), of batches that the host makes the i-th of n equal parts.

    Raises ConfigError for an unknown cache, for images that do not fit (both figures), and for what no device can do here.
    """
    if config.data.cache != "device":
        return build_data.train_batches(config, data, part=part), None
    caching.check(config)
    made = _examples(config, data)
    balanced = balance_of(config, data.source, data.splits["train"])
    indices = balanced.indices if balanced else data.splits["train"]
    _check_images(config, made, made.stored(0)(int(indices[0])))  # the others are as it is, or refused
    stacks, numbers = pipeline.resident_batches(
        made,
        indices,
        batch_size=config.data.batch_size,
        room=free_on(jax.devices()[0]),
        where=f"the device ({jax.devices()[0].device_kind})",
        threads=config.data.threads,
    )
    resident = {name: jax.device_put(stack) for name, stack in stacks.items()}

    def batches(start: int) -> Iterator[Batch]:
        with closing(numbers(start)) as iterator:
            for batch in iterator:
                yield {**batch, RESIDENT: resident}

    return batches, _transform(config, made)


def with_resident(objective: Objective, transform: Transform | None) -> Objective:
    """`objective` for batches that `transform` makes on the device; itself where there is none."""
    return with_transform(objective, transform) if transform else objective


def shapes_of(example: Batch, transform: Transform | None) -> Batch:
    """A batch as methods know it, or its shapes."""
    return jax.eval_shape(transform, example, jax.random.key(0)) if transform else example


def _examples(config: ConfigDict, data: build_data.Data) -> Examples:
    c, kind = config.data, data.source.kind
    if pooled(data.source):
        raise ConfigError(f"config.data.cache=device keeps single images and pairs, and {kind} holds two pools: take host")
    if warp_of(config):
        raise ConfigError("config.data.rotate, zoom and elastic have no form on a device: take config.data.cache=host")
    if data.degradation is not None:
        check_steps(data.degradation.steps, data.degradation.params)
    source = labelled.trained_on(config, data.source)
    columns = labelled.columns_of(config, source)
    return Examples(source, c.load_size or None, data.degradation, c.prefilter, c.labels, columns, config.seed)


def _check_images(config: ConfigDict, made: Examples, found: dict[str, np.ndarray]) -> None:
    """ConfigError for images with more than source and target, or smaller than the crop; or that a scale does not divide."""
    beside = sorted(set(found) - {"source", "target"})
    if beside:
        raise ConfigError(f"config.data.cache=device keeps single images and pairs, and {made.source.kind} brings a "
                          f"{beside[0]} with each: take host")  # fmt: skip
    height, width = found["target"].shape[:2]
    crop, scale = config.data.crop_size, made.scale
    if min(height, width) < crop:
        raise ConfigError(f"images of {height} x {width} pixels are smaller than config.data.crop_size, {crop}")
    if height % scale or width % scale:
        raise ConfigError(f"images of {height} x {width} pixels are no multiple of config.data.scale, {scale}")


def _transform(config: ConfigDict, made: Examples) -> Transform:
    c = config.data
    options = {
        "image_size": c.load_size or None,
        "crop_size": c.crop_size,
        "crop_align": c.crop_align,
        "flip": c.flip,
        "degradation": made.degradation,
        "done": made.done,
        "prefilter": c.prefilter,
    }
    key = named(jax.random.key(config.seed), "resident")  # not the step's: an image's draws are its own
    return lambda batch, _: images.prepared(key, batch, **options)


def free_on(device: jax.Device) -> int:
    """Bytes that are free on a device for images, the networks and what a step needs beside them not being there yet: `_SHARE` of
    all that are; where it has no memory of its own, of the host's.
    """
    stats, free = device.memory_stats() or {}, packed.free_memory()
    if "bytes_limit" in stats:
        free = min(stats["bytes_limit"] - stats["bytes_in_use"], free)
    return round(_SHARE * free)
