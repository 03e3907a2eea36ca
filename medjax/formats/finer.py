"""The same field of view in more pixels: what a file must say of an image or a volume that was enlarged by a whole factor.

The corners of the field stay where they are, so the centre of the first pixel moves by half of what the pixels shrink.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation

from medjax.formats.encoding import Encoding
from medjax.formats.grid import Volume, check_shape, from_ras
from medjax.types import DataError


def finer(encoding: Encoding, factor: int) -> Encoding:
    """The encoding of an image with `factor` times the pixels along both sides: more of them to an inch.

    DICOM needs nothing here: its spacing and position follow from the rows and columns that are written.
    """
    ratios = {name: encoding.options[name] for name in ("dpi", "resolution") if name in encoding.options}
    scaled = {name: tuple(_times(value, factor) for value in pair) for name, pair in ratios.items()}
    return replace(encoding, options={**encoding.options, **scaled})


def _times(value: Any, factor: int) -> Any:
    """A number, or TIFF's (numerator, denominator), `factor` times as large."""
    return (value[0] * factor, *value[1:]) if isinstance(value, tuple) else value * factor


def finer_shape(volume: Volume, factor: int, *, axis: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(factors, shape) along the axes of `volume` as it lies in its file, after slices across the RAS axis `axis` were
    enlarged by `factor`.

    Raises DataError for more voxels than are read, for a DICOM series cut across other slices than its own, and for a DICOM
    file of many frames.
    """
    across = io_orientation(volume.affine)[:, 0]
    factors = tuple(1 if int(a) == axis else factor for a in across)
    name = volume.path or "the volume"
    shape = check_shape(f"{name} enlarged", tuple(n * f for n, f in zip(volume.values.shape, factors, strict=True)))
    if volume.stored.format == "dicom":
        if factors[2] != 1:
            raise DataError(f"{name} is a DICOM series in other planes than those enlarged; its slices cannot become more")
        if volume.stored.options["forms"][0].frames > 1:
            raise DataError(f"{name} is a DICOM file of many frames, which is not written with another number of pixels")
    return factors, shape


def finer_volume(volume: Volume, values_ras: np.ndarray, factor: int, *, axis: int) -> Volume:
    """`volume` with the values `values_ras`, in RAS order, whose slices across the RAS axis `axis` have `factor` times the
    pixels along both sides; spacing across the slices is kept.

    Raises DataError as `finer_shape` does.
    """
    factors, shape = finer_shape(volume, factor, axis=axis)
    shares = 1 / np.array(factors, float)
    step = np.diag([*shares, 1.0])
    step[:3, 3] = (shares - 1) / 2
    affine = volume.affine @ step
    grid = replace(volume, values=np.broadcast_to(np.float32(0), shape), affine=affine)
    stored = volume.stored
    if stored.format == "dicom":
        forms = [replace(f, rows=f.rows * factors[1], columns=f.columns * factors[0]) for f in stored.options["forms"]]
        stored = replace(stored, affine=affine, shape=shape, options={**stored.options, "forms": forms})
    return replace(grid, values=from_ras(values_ras, grid), stored=stored)
