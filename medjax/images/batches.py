"""Training batches made under jit of images that lie on the device: crop, flip, degradation, in the order of the host's.

A batch comes in as numbers: `slot` int32 `[B]`, the rows of the `resident` images uint8 or uint16 `[N, H, W, C]` under `target`
and, where there are inputs already, `source`; and `draw` uint32 `[B, 2]`, the epoch and the image's own number. What is drawn
for an image depends on those and the run's key alone: not on its neighbours, the size of the batch or the step.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from medjax.data.degrade import Degradation
from medjax.images.degradation import degrade, prefiltered, resized
from medjax.rng import named
from medjax.types import RESIDENT, Array, Batch, Key, to_signed

Images = dict[str, Array]


def prepared(
    key: Key,
    batch: Batch,
    *,
    image_size: int | None = None,
    crop_size: int | None = None,
    crop_align: int = 1,
    flip: bool = True,
    degradation: Degradation | None = None,
    done: int = 0,
    prefilter: str = "",
) -> Batch:
    """The batch as `data.pipeline.train_batches` would give it, from the images that it names; other options as there.

    key: the run's, the same at every step. done: steps of the degradation that resident sources have behind them.
    """
    stacks, scale = batch[RESIDENT], degradation.scale if degradation else 1
    whole = degradation is not None and (degradation.size is not None or scale > 1)

    def one(slot: Array, draw: Array) -> Images:
        own = jax.random.fold_in(jax.random.fold_in(key, draw[0]), draw[1])
        images = {name: stack[slot] for name, stack in stacks.items()}
        if whole:
            images = _degraded(named(own, "degrade"), _in_unit(images), degradation, done)
        if image_size is not None and scale == 1:
            images = {name: resized(image, (image_size, image_size)) for name, image in images.items()}
        if crop_size is not None:
            images = random_crop(named(own, "crop"), images, size=crop_size, align=crop_align)
        images = _in_unit(random_flip(named(own, "flip"), images) if flip else images)
        if degradation is not None and not whole:
            images = _degraded(named(own, "degrade"), images, degradation, done)
        if prefilter and "source" in images:
            images = {**images, "source": prefiltered(images["source"], prefilter)}
        return {name: to_signed(image) for name, image in images.items()}

    rest = {name: value for name, value in batch.items() if name not in (RESIDENT, "slot", "draw")}
    return {**rest, **jax.vmap(one)(batch["slot"], batch["draw"])}


def _in_unit(images: Images) -> Images:
    """Stored values as float32 in [0, 1]; what is float32 already stays."""
    whole = lambda x: jnp.issubdtype(x.dtype, jnp.integer)  # noqa: E731
    return {n: x.astype(jnp.float32) / jnp.iinfo(x.dtype).max if whole(x) else x for n, x in images.items()}


def _degraded(key: Key, images: Images, degradation: Degradation, done: int) -> Images:
    good = images.get("source", images["target"])
    made = degrade(key, good, steps=degradation.steps, params=degradation.params, start=done)
    return {**images, "source": made}


def random_crop(key: Key, images: Images, *, size: int, align: int = 1) -> Images:
    """The same random square from every image, as `data.augment.random_crop` takes it: `size` pixels of the largest a side,
    its corner a multiple of `align`.
    """
    height, width = max(image.shape[:2] for image in images.values())
    factors = {name: height // image.shape[0] for name, image in images.items()}
    align = math.lcm(align, *factors.values())
    most = jnp.asarray([(height - size) // align + 1, (width - size) // align + 1])
    top, left = align * jax.random.randint(key, (2,), 0, most)
    cut = lambda x, k: jax.lax.dynamic_slice(  # noqa: E731
        x, (top // k, left // k, 0), (size // k, size // k, x.shape[-1])
    )
    return {name: cut(image, factors[name]) for name, image in images.items()}


def random_flip(key: Key, images: Images) -> Images:
    """Every image mirrored left to right, or none, with equal chance."""
    mirrored = jax.random.bernoulli(key)
    return {name: jnp.where(mirrored, image[:, ::-1], image) for name, image in images.items()}
