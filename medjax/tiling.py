"""Tiles over an image of any size, and the blend that puts their results together without a seam.

Images are float32 `[H, W, 1]` in [0, 1], tiles `[B, tile, tile, 1]` in [-1, 1]. A tile's outer `overlap` pixels are
context and thrown away; over the next `blend` pixels it fades into its neighbour by a raised cosine. The weights sum to
1 at every pixel, and where a model's receptive field reaches no further than `overlap`, the result does not depend on
the tile size.
Tiles start at multiples of `align`, which keeps the phase of JPEG's 8x8 blocks and of layers with stride 2, 4, ... A model
that enlarges by `factor` gives tiles, and with them a result, of so many times the pixels along both sides.

Memory: beside the image only the result is held at full size; tiles are cut, enhanced and added batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medjax.types import Array, ConfigError, DataError, to_signed


class Tiles(NamedTuple):
    """The tiles of one axis: `starts` [n], a tile's extent, and `weights` [n, tile] that sum to 1 at every pixel."""

    starts: np.ndarray
    tile: int
    weights: np.ndarray


def tiles_along(length: int, *, tile: int = 256, overlap: int = 32, blend: int = 16, align: int = 16) -> Tiles:
    """Lay tiles along an axis of `length` pixels, the first flush with its start, the last with its (aligned) end.

    At the two ends of the image there is no neighbour, so nothing is thrown away there. Raises ConfigError where the
    tile is no multiple of `align`, or too small for the overlap asked for.
    """
    step = (tile - 2 * overlap - blend) // align * align
    if min(tile, align) < 1 or min(overlap, blend) < 0 or tile % align:
        raise ConfigError(
            f"a tile of {tile} pixels must be a positive multiple of {align}, its overlap and blend not negative"
        )
    if step < 1:
        raise ConfigError(
            f"a tile of {tile} pixels leaves nothing after {overlap} of overlap on each side and {blend} of blend"
        )
    padded = max(tile, -(-length // align) * align)
    count = -(-(padded - tile) // step) + 1
    starts = np.minimum(np.arange(count) * step, padded - tile)
    ramp = np.concatenate([np.zeros(overlap), np.sin(np.pi / 2 * (np.arange(blend) + 0.5) / max(blend, 1)) ** 2])
    weights, total = np.ones((count, tile)), np.zeros(padded)
    for i, start in enumerate(starts):
        if i > 0:
            weights[i, : len(ramp)] = ramp
        if i < count - 1:
            weights[i, tile - len(ramp) :] *= ramp[::-1]
        total[start : start + tile] += weights[i]
    shares = np.stack([w / total[start : start + tile] for w, start in zip(weights, starts, strict=True)])
    return Tiles(starts, tile, shares.astype(np.float32))


def reflected(length: int, index: np.ndarray) -> np.ndarray:
    """Positions in 0..length-1 for any `index`, mirrored about the end pixels as often as it takes."""
    if length == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * (length - 1))
    return np.where(index < length, index, 2 * (length - 1) - index)


def blended(
    enhance: Callable[[np.ndarray, np.ndarray, np.ndarray], Array],
    image: np.ndarray,
    *,
    tile: int = 256,
    overlap: int = 32,
    blend: int = 16,
    align: int = 16,
    batch_size: int = 4,
    factor: int = 1,
    on_progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Apply `enhance` to the tiles of `image` `[H, W, 1]` in [0, 1] and join the results, unclipped: `[factor H, factor W, 1]`.

    enhance: tiles `[batch_size, tile, tile, 1]` in [-1, 1], numbers int32 `[batch_size]`, the pixel `[row, column]` of the
        image at which each begins int32 `[batch_size, 2]` -> `[batch_size, factor * tile, factor * tile, 1]`, any range.
    tile, overlap, blend, align: pixels of the image.
    on_progress: called with the fraction done. Raises DataError where a result is not finite.
    """
    height, width = image.shape[:2]
    sizes = dict(tile=tile, overlap=overlap, blend=blend, align=align)
    rows, columns = (tiles_along(n, **sizes) for n in (height, width))
    # The same tiles on the grid of the result: every length scales with it, and the fade is as smooth there.
    finer = {name: factor * size for name, size in sizes.items()}
    to_rows, to_columns = (tiles_along(factor * n, **finer) for n in (height, width))
    places = [(i, j) for i in range(len(rows.starts)) for j in range(len(columns.starts))]
    out = np.zeros((factor * height, factor * width), np.float32)
    batch, corner = np.zeros((batch_size, tile, tile, 1), np.float32), np.zeros((batch_size, 2), np.int32)
    for first in range(0, len(places), batch_size):
        now = places[first : first + batch_size]
        for slot in range(batch_size):  # a last batch is filled up with its own last tile: one shape, one compile
            i, j = now[min(slot, len(now) - 1)]
            y = reflected(height, rows.starts[i] + np.arange(tile))
            x = reflected(width, columns.starts[j] + np.arange(tile))
            corner[slot] = rows.starts[i], columns.starts[j]
            batch[slot, :, :, 0] = to_signed(image[y[:, None], x[None, :], 0])
        index = np.minimum(first + np.arange(batch_size), len(places) - 1).astype(np.int32)
        result = np.asarray(enhance(batch.copy(), index, corner.copy()), np.float32)[..., 0]
        if not np.isfinite(result).all():
            raise DataError("the model's output is not finite")
        for (i, j), piece in zip(now, result, strict=False):
            y0, x0 = to_rows.starts[i], to_columns.starts[j]
            target = out[y0 : y0 + factor * tile, x0 : x0 + factor * tile]
            weight = to_rows.weights[i][:, None] * to_columns.weights[j][None, :]
            target += (piece * weight)[: target.shape[0], : target.shape[1]]
        if on_progress:
            on_progress((first + len(now)) / len(places))
    return out[:, :, None]
