"""Files through a run of super-resolution: which pixels its model is given, what it is warned of, and volumes slice by slice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medjax import formats, inference
from medjax.data.intensities import from_unit_range, to_unit_range
from medjax.data.slices import in_plane
from medjax.formats.finer import finer_shape, finer_volume
from medjax.formats.volume import Volume
from medjax.types import ConfigError, MedjaxError

ALIGN = 16
TILE = 256  # pixels of the input, for files larger than the inputs of training
AT_ONCE = 4  # tiles of one image
_ALIKE = 1.25  # sizes that differ by less show structures of much the same size


def options_of(
    config: ConfigDict, inputs: Sequence[str | Path], output: str | Path, *, scale: str = "", tile: int = 0, batch: int = 0
) -> dict[str, Any]:
    """What `inference.enhance_files` is to be told, beside the model, so that outputs have `config.data.scale` times the
    pixels of their inputs along both sides: scale, factor and how tiles are laid.

    Files no larger than the inputs that were scored go through in one piece. Warns where files have another size than the
    images that were reduced for training, if those were all of one size. Raises ConfigError for scale="trained", and as
    `inference.plan` does.
    """
    c = config.data
    if scale == "trained":
        raise ConfigError("a run of super-resolution enlarges the pixels of the files: leave out --scale=trained")
    side = c.image_size // c.scale
    found = _sizes(path for path, _ in inference.plan(inputs, output))
    other = [size for size in found if not side / _ALIKE <= max(size) <= side * _ALIKE]
    if c.load_size and other:
        warnings.warn(
            f"{len(other)} of {len(found)} files have another size than the {side} x {side} pixels that the run enlarges to "
            f"{c.image_size} x {c.image_size}: structures in them are larger or smaller than any it has seen",
            stacklevel=3,
        )
    return {"scale": "native", "factor": c.scale, **_tiles(max((max(size) for size in found), default=side), side, tile, batch)}


def tiles_at_once(inputs: Sequence[str | Path], output: str | Path, *, tile: int, batch: int = 0) -> int:
    """How many tiles go through a model together: `batch`, or for 0 as many as `AT_ONCE`, and 1 where no file is larger than a
    tile, because a batch is filled up with copies. Raises ConfigError for a negative number, and as `inference.plan` does.
    """
    if batch < 0:
        raise ConfigError(f"a batch has at least 1 tile, not {batch}")
    if batch:
        return batch
    found = _sizes(path for path, _ in inference.plan(inputs, output))
    return 1 if found and max(max(size) for size in found) <= tile else AT_ONCE


def _tiles(largest: int, side: int, tile: int = 0, batch: int = 0) -> dict[str, int]:
    """One piece where the `largest` side of all images is no longer than the `side` scored or a tile, else tiles."""
    grid = -(-side // ALIGN) * ALIGN
    if not tile and largest <= grid:
        return {"tile": grid, "overlap": 0, "blend": 0, "batch_size": 1}
    return {"tile": tile or max(grid, TILE), "batch_size": batch or AT_ONCE}


def _sizes(paths: Iterable[Path]) -> list[tuple[int, int]]:
    """(height, width) of image files by their headers; what cannot be read is left out, and named when its turn comes."""
    found = []
    for path in paths:
        try:
            found.append(formats.image_size(path))
        except MedjaxError:
            continue
    return found


def enlarge_volume(
    predict: Callable[[np.ndarray], np.ndarray],
    volume: Volume,
    ras: Volume,
    ends: tuple[float, float],
    *,
    factor: int,
    axis: int,
    pixel_mm: float,
    progress: bool = False,
) -> Volume:
    """Slices across the RAS axis `axis` enlarged by `factor`, each alone; the spacing across them is kept.

    predict: float32 `[B, h, w, 1]` in [-1, 1] -> what is `factor` times larger. ras: `volume` in RAS order. ends: the values
    of 0 and 1; where a voxel lies beyond them, its bicubic enlargement is taken. pixel_mm: of the inputs trained on; a warning
    says so where the slices have pixels of another size.

    Raises DataError where the result cannot be stored or is not finite.
    """
    shape = [n if a == axis else factor * n for a, n in enumerate(ras.values.shape)]
    finer_shape(volume, factor, axis=axis)  # what cannot be stored is not computed
    here = float(np.mean([ras.spacing[a] for a in in_plane(axis)]))
    if not pixel_mm / _ALIKE <= here <= pixel_mm * _ALIKE:
        warnings.warn(
            f"{volume.path or 'the volume'} has pixels of {here:.2f} mm, where the run enlarges pixels of {pixel_mm:.2f} mm: "
            "structures are larger or smaller than any it has seen",
            stacklevel=4,
        )
    out = np.empty(shape, np.float32)
    views = np.moveaxis(ras.values, axis, 0), np.moveaxis(out, axis, 0)
    tiles = _tiles(max(views[0].shape[1:]), min(max(views[0].shape[1:]), TILE))
    for values, place in tqdm(zip(*views, strict=True), unit="slice", total=shape[axis], disable=not progress, leave=False):
        # As radiologists see a slice, and as slices were shown in training: rows and columns from the high ends down.
        place[...] = _enlarged(predict, values.T[::-1, ::-1], ends, factor, tiles)[::-1, ::-1].T
    return finer_volume(volume, out, factor, axis=axis)


def _enlarged(predict: Callable, values: np.ndarray, ends: tuple[float, float], factor: int, tiles: dict) -> np.ndarray:
    """A slice [h, w] of stored values, enlarged."""
    size, values = (factor * values.shape[0], factor * values.shape[1]), np.ascontiguousarray(values)
    plain = inference.resize(values[..., None], size, resampler=inference.BICUBIC)[..., 0].clip(values.min(), values.max())
    inside = ((values >= ends[0]) & (values <= ends[1])).repeat(factor, axis=0).repeat(factor, axis=1)
    unit = inference.enhance_image(predict, to_unit_range(values, *ends)[..., None], factor=factor, **tiles)[..., 0]
    return np.where(inside, from_unit_range(unit, *ends), plain)
