"""Sliced Wasserstein distance between two sets of images, over patches at several scales: a score of a generator that needs
no network and no pairs (Karras et al. 2018, section 5).

Images are `[n, H, W, C]` in [0, 1]. Numpy and scipy; seeded, so that two calls agree.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medjax.types import Array, DataError

PATCH = 7  # pixels along a side of a patch
COARSEST = 16  # pixels: the last level of the pyramid, a low-pass; the others are band-passes
KERNEL = np.array([1, 4, 6, 4, 1]) / 16  # Burt and Adelson 1983


def sliced_wasserstein(
    images: Array, real: Array, *, patches: int = 64, directions: int = 128, seed: int = 0
) -> dict[str, float]:
    """`{"swd/64": ..., "swd/32": ..., "swd/16": ..., "swd": their mean}` of `images` to `real`; 0 for equal sets.

    At every level of a Laplacian pyramid `patches` patches of each image become vectors, about the mean of the real ones and in
    units of their standard deviation (as published each set is normalised by itself, which would forgive wrong grey levels);
    the distance is the mean over random directions of that between the sorted projections. Fine levels tell about texture, the
    coarsest about shape. It is above 0 for two samples of one distribution, the less the larger they are: compare at equal n
    only.

    Raises DataError for sets of unlike shape, empty ones, and images below 16 pixels.
    """
    images, real = (np.asarray(x, np.float32) for x in (images, real))
    if images.ndim != 4 or images.shape[1:] != real.shape[1:] or not len(images) or not len(real):
        raise DataError(f"two sets of images of one shape are needed, not {images.shape} and {real.shape}")
    if min(images.shape[1:3]) < COARSEST:
        raise DataError(f"images of {COARSEST} pixels or more are needed, not {images.shape[1]}x{images.shape[2]}")
    found = {}
    for level, (ours, theirs) in enumerate(zip(pyramid(images), pyramid(real), strict=True)):
        a, b = (descriptors(maps, np.random.default_rng([seed, level]), count=patches) for maps in (ours, theirs))
        mean, std = b.mean((0, 1)), b.std((0, 1)) + 1e-8
        a, b = (((x - mean) / std).reshape(len(x), -1) for x in (a, b))
        found[f"swd/{ours.shape[1]}"] = _distance(a, b, np.random.default_rng([seed, level, 1]), directions)
    return {**found, "swd": float(np.mean(list(found.values())))}


def pyramid(images: Array) -> list[np.ndarray]:
    """The Laplacian pyramid of `[n, H, W, C]`, finest first; the last level is the low-pass. Their enlargements add up to it."""
    levels, current = [], np.asarray(images, np.float32)
    while min(current.shape[1:3]) >= 2 * COARSEST and not (current.shape[1] % 2 or current.shape[2] % 2):
        smaller = _smooth(current)[:, ::2, ::2]
        levels.append(current - enlarged(smaller))
        current = smaller
    return [*levels, current]


def enlarged(images: Array) -> np.ndarray:
    """`[n, H, W, C]` at twice the size, as the pyramid enlarges: zeros between, then smoothed."""
    n, height, width, channels = images.shape
    wide = np.zeros((n, 2 * height, 2 * width, channels), np.float32)
    wide[:, ::2, ::2] = images
    return 4 * _smooth(wide)


def _smooth(images: np.ndarray) -> np.ndarray:
    for axis in (1, 2):
        images = ndimage.convolve1d(images, KERNEL, axis=axis, mode="mirror")
    return images


def descriptors(maps: Array, rng: np.random.Generator, *, count: int) -> np.ndarray:
    """`[n * count, 7 * 7, C]`: patches at random places of `[n, H, W, C]`."""
    n, height, width, channels = maps.shape
    rows, columns = (rng.integers(0, size - PATCH + 1, (n * count, 1, 1)) for size in (height, width))
    along = np.arange(PATCH)
    which = np.arange(n).repeat(count)[:, None, None]
    return maps[which, rows + along[:, None], columns + along].reshape(n * count, PATCH**2, channels)


def _distance(a: np.ndarray, b: np.ndarray, rng: np.random.Generator, directions: int) -> float:
    ways = rng.normal(size=(a.shape[1], directions)).astype(np.float32)
    ways /= np.linalg.norm(ways, axis=0)
    a, b = (np.sort(x @ ways, axis=0) for x in (a, b))
    if len(a) != len(b):  # the quantiles of the larger where the smaller has its own
        few, many = sorted((a, b), key=len)
        places = (np.arange(len(few)) + 0.5) / len(few) * len(many) - 0.5
        a, b = few, np.stack([np.interp(places, np.arange(len(many)), column) for column in many.T], 1)
    return float(np.abs(a - b).mean())
