"""Whether a generator makes many images or few, and new ones or copies.

Images are `[n, H, W, C]` in [0, 1]. Diversity is how unlike two images of one class are, to be read beside the same number of
real images; and since copies of the training set are as diverse as it is, beside the distance of each generated image to the
nearest training image, which real images that were held out set the scale for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medjax.metrics.neighbours import distance_blocks
from medjax.metrics.quality import ms_ssim
from medjax.metrics.statistics import summary
from medjax.types import Array, DataError

CHUNK = 32  # pairs compared at once


def random_pairs(n: int, count: int, *, seed: int = 0) -> np.ndarray:
    """`[count, 2]` different pairs of n things, or all of them where there are no more.

    Up to n // 2 pairs no thing comes twice, so that the pairs are independent.
    """
    if n < 2:
        raise DataError(f"two images or more are needed to compare, not {n}")
    count, rng, found = min(count, n * (n - 1) // 2), np.random.default_rng(seed), {}
    while len(found) < count:
        order = rng.permutation(n)[: n // 2 * 2].reshape(-1, 2)
        found |= dict.fromkeys((int(min(pair)), int(max(pair))) for pair in order)
    return np.array(list(found)[:count])


def pair_similarity(
    images: Array, *, pairs: int = 200, seed: int = 0, measure: Callable[[Array, Array], Array] = ms_ssim
) -> np.ndarray:
    """`measure` of random pairs of `images`, `[pairs]` or fewer where there are no more pairs; 1 for copies of one image.

    MS-SSIM as in Odena et al. 2017, section 4.2. Raises DataError for fewer than two images.
    """
    images = np.asarray(images, np.float32)
    chosen = random_pairs(len(images), pairs, seed=seed)
    padded = np.concatenate([chosen, chosen[-1:].repeat(-len(chosen) % CHUNK, 0)])  # one shape, so one compilation
    parts = [measure(images[part[:, 0]], images[part[:, 1]]) for part in padded.reshape(-1, CHUNK, 2)]
    return np.concatenate([np.asarray(part, np.float64) for part in parts])[: len(chosen)]


def class_similarity(
    images: Array,
    labels: Array,
    *,
    pairs: int = 200,
    seed: int = 0,
    measure: Callable[[Array, Array], Array] = ms_ssim,
) -> dict[Any, dict[str, Any]]:
    """`{label: summary}` of the similarity of pairs within each class; a class of one image is left out.

    labels: `[n]`. A summary is `statistics.summary`'s: mean, std, ci95, n (pairs). The interval takes pairs for independent,
    which they are up to half as many as there are images.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    found = {}
    for label in np.unique(labels):
        own = images[labels == label]
        if len(own) > 1:
            found[label.item()] = summary(pair_similarity(own, pairs=pairs, seed=seed, measure=measure))
    return found


def pixels(images: Array, *, side: int = 32) -> np.ndarray:
    """The grey levels of images `[n, H, W, C]` as vectors `[n, side * side * C]`, means over boxes: a feature space without a
    network, in which a copy has distance 0. Raises DataError where `side` does not divide the size.
    """
    images = np.asarray(images, np.float64)
    n, height, width, channels = images.shape
    if height % side or width % side:
        raise DataError(f"images of {height}x{width} cannot be averaged to {side}x{side}")
    return images.reshape(n, side, height // side, side, width // side, channels).mean((2, 4)).reshape(n, -1)


def nearest(vectors: Array, among: Array) -> tuple[np.ndarray, np.ndarray]:
    """(index `[n]`, distance `[n]`): of each of `vectors` `[n, D]` the nearest of `among` `[m, D]`, in Euclidean distance over
    sqrt(D), so that pixels of two sizes compare. Memory stays bounded.
    """
    vectors, among = (np.asarray(x, np.float64) for x in (vectors, among))
    if vectors.ndim != 2 or among.ndim != 2 or vectors.shape[1:] != among.shape[1:] or not len(among):
        raise DataError(f"a nearest neighbour needs vectors [n, D] and [m, D], not {vectors.shape} and {among.shape}")
    index, distance = np.empty(len(vectors), int), np.empty(len(vectors))
    for rows, squared in distance_blocks(vectors - among.mean(0), among - among.mean(0)):
        index[rows] = squared.argmin(1)
    distance = np.sqrt(np.square(vectors - among[index]).mean(1))  # exact for copies, where the blocks cancel
    return index, distance


def memorisation(generated: Array, train: Array, held_out: Array) -> dict[str, Any]:
    """Whether generated images lie nearer to the training set than new real images do; all vectors, `[., D]`.

    Returns `index` and `distance` `[n]`, the nearest training image of each generated one; `generated` and `held_out`, the
    summaries of these distances and of the held-out images' own; `ratio` of their medians, 1 or more without memorisation;
    `closer`, the share of generated images nearer than the nearest twentieth of the held-out ones, 0.05 where both are alike.
    Mirrored training images have to be among `train` where training mirrored them.
    """
    index, distance = nearest(generated, train)
    _, real = nearest(held_out, train)
    if not len(real) or not len(distance):
        raise DataError("no generated or no held-out image to compare with the training set")
    return {
        "index": index,
        "distance": distance,
        "generated": summary(distance),
        "held_out": summary(real),
        "ratio": float(np.median(distance) / max(float(np.median(real)), 1e-12)),
        "closer": float(np.mean(distance < np.quantile(real, 0.05))),
    }
