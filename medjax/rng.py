"""Randomness by name, step and image index, never by call order.

A key is derived by folding in what it is for, so adding a draw somewhere changes no other draw, and an image's result
does not depend on its neighbours in the batch.
"""

from __future__ import annotations

import zlib

import numpy as np

from medjax.types import Array, Key


def named(key: Key, name: str) -> Key:
    """The key for the stream called `name`."""
    import jax

    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def per_image(key: Key, index: Array) -> Array:
    """Keys `[B]`, one for each image, from `index` int32 `[B]`."""
    import jax

    return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)


def generator(*seeds: int | str) -> np.random.Generator:
    """A numpy generator that is a pure function of `seeds` (for example seed, name, epoch, index)."""
    words = [zlib.crc32(s.encode()) if isinstance(s, str) else int(s) for s in seeds]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
