"""The pool of earlier generated images that a discriminator is trained on (Shrivastava et al. 2017, section 2.3).

A pytree of arrays, so that it lies in a state, is saved and resumed with it, and is updated under jit.
"""

from __future__ import annotations

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from medjax.types import Array, ConfigError, Key

SWAP = 0.5  # the probability with which an image is exchanged for an earlier one (Zhu et al. 2017, section 4)


class ImagePool(NamedTuple):
    """`images` `[N, H, W, C]`, of which the first `count` (int32) have been filled; the others are blank."""

    images: Array
    count: Array


def empty(size: int, like: Array) -> ImagePool:
    """A pool for `size` images of the shape and type of those in `like` `[B, H, W, C]`; 0: one that keeps nothing.

    Raises ConfigError for a size below 0.
    """
    if size < 0:
        raise ConfigError(f"a pool holds 0 images or more, not {size}")
    return ImagePool(jnp.zeros((size, *like.shape[1:]), like.dtype), jnp.zeros((), jnp.int32))


def exchange(key: Key, pool: ImagePool, images: Array) -> tuple[ImagePool, Array]:
    """(the pool afterwards, what a discriminator is shown) for `images` `[B, H, W, C]`.

    One image after the other: while the pool is being filled each is stored, in order, and shown; afterwards half of them,
    each by a draw of its own from (key, place in the batch), are stored in a place drawn evenly, and the image that lay
    there is shown instead. A place that was never filled is never shown. A pool of size 0 gives the images back.
    """
    chex.assert_equal_shape_suffix([pool.images, images], images.ndim - 1)
    size = pool.images.shape[0]
    if not size:
        return pool, images

    def one(pool: ImagePool, numbered: tuple[Array, Array]) -> tuple[ImagePool, Array]:
        place, image = numbered
        swap, slot = jax.random.split(jax.random.fold_in(key, place))
        filling = pool.count < size
        stored = filling | jax.random.bernoulli(swap, SWAP)
        slot = jnp.where(filling, pool.count, jax.random.randint(slot, (), 0, size))
        there = pool.images[slot]
        held = pool.images.at[slot].set(jnp.where(stored, image, there))
        shown = jnp.where(stored & ~filling, there, image)
        return ImagePool(held, pool.count + filling.astype(jnp.int32)), shown

    return jax.lax.scan(one, pool, (jnp.arange(len(images)), images))
