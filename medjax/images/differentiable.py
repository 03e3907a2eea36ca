"""Differentiable augmentation of images under jit (Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN
Training"): what keeps a discriminator from learning a small data set by heart.

Images are `[B, H, W, C]` in [-1, 1]; what moves in from outside is 0, mid-grey, as published. Every image has draws of its
own, from its key, or from the batch's and its place there, and every transform from a stream of its name, so that adding
one to the policy changes no draw of another. All are linear in the image (affine with the intensity's
offset), so gradients are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from medjax.rng import named, per_image
from medjax.types import Array, ConfigError, Key

POLICY = ("translation", "intensity", "cutout")


def translate(image: Array, shift: Array, *, most: tuple[int, int]) -> Array:
    """`[H, W, C]` moved down and right by `shift` int `[2]`, at most by `most` pixels either way; 0 moves in."""
    (down, right), (height, width, channels) = most, image.shape
    padded = jnp.pad(image, ((down, down), (right, right), (0, 0)))
    start = jnp.asarray(most) - shift
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), (height, width, channels))


def adjust(image: Array, brightness: Array, contrast: Array) -> Array:
    """contrast * (x - mean) + mean + brightness, the mean being that of the image `[H, W, C]`; nothing is clipped."""
    mean = image.mean()
    return contrast * (image - mean) + mean + brightness


def cut_out(image: Array, corner: Array, *, size: tuple[int, int]) -> Array:
    """`[H, W, C]` with a box of `size` at `corner` int `[2]` set to 0; what of the box lies outside is lost."""
    inside = [(x >= corner[i]) & (x < corner[i] + size[i]) for i, x in enumerate(map(jnp.arange, image.shape[:2]))]
    return jnp.where((inside[0][:, None] & inside[1])[..., None], 0, image)


def random_translation(key: Key, image: Array, *, share: float = 0.125) -> Array:
    """`[H, W, C]` moved by whole pixels, uniformly within `share` of its sides either way."""
    most = tuple(int(n * share + 0.5) for n in image.shape[:2])
    limit = jnp.asarray(most)
    return translate(image, jax.random.randint(key, (2,), -limit, limit + 1), most=most)


def random_intensity(key: Key, image: Array, *, brightness: float = 0.5, contrast: float = 0.5) -> Array:
    """`[H, W, C]` with an offset uniform within `brightness` of 0 and a gain within `contrast` of 1; saturation, the third
    of the published colour changes, does nothing to one channel."""
    offset, gain = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
    return adjust(image, brightness * offset, 1 + contrast * gain)


def random_cutout(key: Key, image: Array, *, share: float = 0.5) -> Array:
    """`[H, W, C]` without a box of `share` of its sides whose middle lies anywhere in the image."""
    size = tuple(int(n * share + 0.5) for n in image.shape[:2])
    middle = jax.random.randint(key, (2,), 0, jnp.asarray(image.shape[:2]) + 1 - jnp.asarray(size) % 2)
    return cut_out(image, middle - jnp.asarray(size) // 2, size=size)


TRANSFORMS: dict[str, Callable[[Key, Array], Array]] = {
    "translation": random_translation,
    "intensity": random_intensity,
    "cutout": random_cutout,
}


def diffaugment(key: Key, images: Array, *, policy: Sequence[str] = POLICY) -> Array:
    """`[B, H, W, C]` with the transforms of `policy` in their order, drawn for each image; () changes nothing.

    key: one for the batch, or `[B]`, one for each image: `rng.per_image` of the former and the places in the batch is the same.
    Raises ConfigError for an unknown transform.
    """
    unknown = [name for name in policy if name not in TRANSFORMS]
    if unknown:
        raise ConfigError(f"no differentiable augmentation {unknown[0]!r}; there are {', '.join(TRANSFORMS)}")

    def one(key: Key, image: Array) -> Array:
        for name in policy:
            image = TRANSFORMS[name](named(key, name), image)
        return image

    if not policy:
        return images
    return jax.vmap(one)(key if key.ndim else per_image(key, jnp.arange(len(images))), images)
