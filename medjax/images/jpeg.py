"""Baseline JPEG as arithmetic: a grey image as the decoder gives it back, without the stream between.

The entropy coder loses nothing, so what JPEG does to a grey image is done by the 8 x 8 DCT, the quantisation of its
coefficients and the rounding of the result (ITU-T T.81, annex A). Both transforms are those of libjpeg in whole numbers of 13
binary places (Loeffler, Ligtenberg and Moschytz 1989; its jfdctint.c and jidctint.c, which encoders take by default): a
coefficient near the middle between two steps then falls to the side to which it falls there.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from medjax.types import Array, Key

# T.81, table K.1: the luminance quantisation that quality 50 stands for.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.int32,
)
_BITS, _PASS_BITS = 13, 2  # binary places of the constants, and of what one pass leaves to the next
_EVEN = np.rint(np.array([0.541196100, 0.765366865, 1.847759065]) * 2**_BITS).astype(int).tolist()
_ODD = np.rint(np.array([0.298631336, 2.053119869, 3.072711026, 1.501321110]) * 2**_BITS).astype(int).tolist()
_SUMS = np.rint(np.array([0.899976223, 2.562915447, 1.961570560, 0.390180644, 1.175875602]) * 2**_BITS).astype(int).tolist()


def quantisation(quality: Array) -> Array:
    """The luminance table int32 `[8, 8]` of libjpeg's `quality` from 1 to 100, from 1 to 255."""
    quality = jnp.clip(jnp.round(quality), 1, 100).astype(jnp.int32)
    scale = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return jnp.clip((LUMINANCE * scale + 50) // 100, 1, 255)


def jpeg(key: Key, image: Array, *, quality: Array = 50) -> Array:
    """`[H, W, C]` in [0, 1] after 8-bit JPEG at `quality` from 1 to 95, channels apart; sides need be no multiples of 8.

    The counterpart of `data.degrade.jpeg`; nothing is drawn from `key`.
    """
    height, width, channels = image.shape
    levels = jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.int32) - 128
    levels = jnp.pad(levels, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    blocks = levels.reshape(levels.shape[0] // 8, 8, levels.shape[1] // 8, 8, channels)
    table = quantisation(quality)[:, None, :, None]
    coefficients = _forward(_forward(blocks, 3, -_PASS_BITS), 1, _PASS_BITS)  # eight times those of the standard
    rounded = (jnp.abs(coefficients) + 4 * table) // (8 * table)
    kept = jnp.sign(coefficients) * rounded * table
    decoded = _inverse(_inverse(kept, 1, _BITS - _PASS_BITS), 3, _BITS + _PASS_BITS + 3)
    pixels = jnp.clip(decoded.reshape(levels.shape) + 128, 0, 255)
    return (pixels[:height, :width] / 255).astype(image.dtype)


def _split(x: Array, axis: int) -> list[Array]:
    return [jax.lax.index_in_dim(x, i, axis, keepdims=False) for i in range(8)]


def _scaled(x: Array, places: int) -> Array:
    """x / 2^places, halves rounded up; for a negative number of places x times that power."""
    return (x + (1 << (places - 1))) >> places if places > 0 else x << -places


def _rotation(a: Array, b: Array) -> tuple[Array, Array]:
    """What both transforms do to the coefficients 2 and 6."""
    both = (a + b) * _EVEN[0]
    return both + a * _EVEN[1], both - b * _EVEN[2]


def _odd(x: Sequence[Array]) -> list[Array]:
    """What both transforms do to the odd half, four numbers."""
    shared = (x[0] + x[1] + x[2] + x[3]) * _SUMS[4]
    outer, inner = (x[0] + x[3]) * _SUMS[0], (x[1] + x[2]) * _SUMS[1]
    left, right = shared - (x[0] + x[2]) * _SUMS[2], shared - (x[1] + x[3]) * _SUMS[3]
    beside = (left - outer, right - inner, left - inner, right - outer)
    return [constant * v + b for constant, v, b in zip(_ODD, x, beside, strict=True)]


def _forward(x: Array, axis: int, places: int) -> Array:
    """The DCT along `axis`, whose results lose `places` binary places (the constants' aside)."""
    d = _split(x, axis)
    sums, differences = [d[i] + d[7 - i] for i in range(4)], [d[i] - d[7 - i] for i in (3, 2, 1, 0)]
    outer, inner = (sums[0] + sums[3], sums[1] + sums[2]), (sums[0] - sums[3], sums[1] - sums[2])
    second, sixth = _rotation(*inner)
    seventh, fifth, third, first = _odd(differences)
    zeroth, fourth = (_scaled(v, places) for v in (outer[0] + outer[1], outer[0] - outer[1]))
    first, second, third, fifth, sixth, seventh = (
        _scaled(v, _BITS + places) for v in (first, second, third, fifth, sixth, seventh)
    )
    return jnp.stack([zeroth, first, second, third, fourth, fifth, sixth, seventh], axis)


def _inverse(x: Array, axis: int, places: int) -> Array:
    """The inverse DCT along `axis`, whose results lose `places` binary places."""
    d = _split(x, axis)
    low, high = (d[0] + d[4]) << _BITS, (d[0] - d[4]) << _BITS
    third, second = _rotation(d[2], d[6])
    even = [low + third, high + second, high - second, low - third]
    odd = _odd([d[7], d[5], d[3], d[1]])[::-1]
    ends = [e + o for e, o in zip(even, odd, strict=True)], [e - o for e, o in zip(even, odd, strict=True)]
    return jnp.stack([_scaled(v, places) for v in (*ends[0], *ends[1][::-1])], axis)
