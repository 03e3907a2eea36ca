"""A two-dimensional model over the slices of a volume, in batches of one shape.

How a slice is cut from a volume and put back is the caller's (see `medjax.data.slices`): here canvases float32
`[S, S, C]` in [0, 1], C being 1 or the slice between its neighbours, are resized to the pixel grid of training, mapped to
[-1, 1], enhanced, and resized back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medjax.evaluate import middle
from medjax.inference import BICUBIC, Predict, resize
from medjax.types import DataError, to_signed, to_unit

Cut = Callable[[int], np.ndarray]  # slice number -> canvas [S, S, C] in [0, 1]
Paste = Callable[[int, np.ndarray], None]  # slice number, canvas [S, S] in [0, 1]


def through_slices(
    predict: Predict,
    cut: Cut,
    paste: Paste,
    numbers: Sequence[int],
    *,
    size: int,
    batch_size: int = 8,
    change: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> None:
    """Run `predict` over the slices `numbers`, holding one batch of canvases at a time.

    predict: float32 `[batch_size, size, size, C]` in [-1, 1] -> `[batch_size, size, size, 1]`; one shape, one compile.
    change: put the model's change onto the canvas at its own resolution, which keeps the canvas's fine detail; else the
        model's output takes its place, as for a translation.

    Raises DataError where the output is not finite.
    """
    for first in range(0, len(numbers), batch_size):
        now = list(numbers[first : first + batch_size])
        canvases = [cut(int(k)) for k in now]
        small = [_resized(canvas, size) for canvas in canvases]
        small += small[-1:] * (batch_size - len(now))
        batch = np.stack(small)
        out = np.asarray(predict(to_signed(batch)), np.float32)
        if not np.isfinite(out).all():
            raise DataError("the model's output is not finite")
        for k, canvas, before, after in zip(now, canvases, batch, to_unit(out), strict=False):
            shape = canvas.shape[:2]
            if change:
                image = middle(canvas, 1) + resize(after - middle(before, 1), shape, resampler=BICUBIC)
            else:
                image = resize(after, shape, resampler=BICUBIC)
            paste(int(k), np.clip(image[..., 0], 0, 1))
        if on_progress:
            on_progress((first + len(now)) / len(numbers))


def _resized(canvas: np.ndarray, size: int) -> np.ndarray:
    """`[S, S, C]` -> `[size, size, C]`, antialiased, clipped to [0, 1]."""
    planes = [resize(canvas[..., c : c + 1], (size, size)) for c in range(canvas.shape[-1])]
    return np.concatenate(planes, axis=-1).clip(0, 1)
