"""Names for what is passed around, the image contract in words, and the errors a user sees.

The image contract:

* On the numpy side (`formats`, `data`, `baselines`) an image is float32 `[H, W, C]` in [0, 1], C = 1 unless said,
  where 0 and 1 are the ends of the *dataset's* stored range (0..255, 0..65535, a window, ...), never of the image.
* Inside jax (`models`, `objectives`) images are float32 `[B, H, W, C]` in [-1, 1].
* `metrics` take `[B, H, W, C]` in [0, 1] with data_range 1.

A batch is a dict of arrays: `source` and `target` (or unpaired `a` and `b`), `label`, and `index` (int32 `[B]`), from
which per-image keys are made. Names and paths never enter jit. `resident`, a tree of arrays that lie on the device, is the same
object in every batch (see `medjax.images.batches`): whoever stacks, splits or shards batches leaves it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Array = Any  # a numpy or jax array; shapes are given in docstrings
PyTree = Any
Key = Any  # a typed jax PRNG key
Batch = Mapping[str, Array]
RESIDENT = "resident"
Batches = Callable[[int], Iterator[dict[str, np.ndarray]]]  # start step -> iterator


class MedjaxError(Exception):
    """An error that is the user's to mend: shown as one sentence, without a traceback. Exit status 1."""

    exit_status = 1


class DataError(MedjaxError):
    """A file, folder, table or image that cannot be used; the message names it."""


class ConfigError(MedjaxError):
    """A config, flag or combination of options that cannot be used. Exit status 2."""

    exit_status = 2


class CheckpointError(MedjaxError):
    """A checkpoint or workdir that cannot be read or written."""


class Stopped(MedjaxError):
    """A run that was asked to stop and has saved; exit status 128 + the signal, as shells and schedulers expect."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class NonFiniteError(MedjaxError):
    """A loss that is no longer a number; the message names the step and the term."""


def to_signed(image: Array) -> Array:
    """[0, 1] -> [-1, 1]."""
    return image * 2 - 1


def to_unit(image: Array) -> Array:
    """[-1, 1] -> [0, 1], clipped: what is outside the range cannot be stored or shown."""
    return ((image + 1) / 2).clip(0, 1)
