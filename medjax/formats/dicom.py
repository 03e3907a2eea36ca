"""DICOM images: one frame in, [0, 1] with the range of the stored type or the file's own window, a derived image out.

MONOCHROME1 is inverted, so that bright is high; modality LUTs and rescale are applied, so that a range is stated in modality
units (HU for CT). Colour and palette images are read where all channels agree.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut

from medjax.formats import fresh, pixels, transform
from medjax.formats.derive import Derivation, Header, save
from medjax.formats.encoding import Encoding, ValueRange, expand, grey
from medjax.formats.guard import reading
from medjax.formats.pixels import Layout
from medjax.types import DataError

SUFFIXES = (".dcm", ".dicom", ".ima")
FORMATS = ("dicom",)


def read(path: Path, *, value_range: ValueRange = None) -> tuple[np.ndarray, Encoding]:
    """See `medjax.formats.read`. The Encoding's low and high are in modality units; its options carry the header."""
    dataset = pixels.load(path)
    form = pixels.layout(path, dataset)
    if form.frames != 1:
        raise DataError(f"{path} holds {form.frames} frames, where a single image is expected; it may be read as a volume")
    values, form = _grey(path, dataset, next(pixels.frames(path, dataset, form)), form)
    table, (low, high) = transform.to_unit(path, dataset, form, value_range)
    image = table.astype(np.float32)[values.astype(np.int32) - form.ends[0]][..., None]
    options = {"header": Header(dataset), "form": form, "value_range": value_range}
    return image, Encoding("dicom", form.dtype.name, low, high, form.samples, options)


def write(path: Path, image: np.ndarray, encoding: Encoding, *, derivation: Derivation | None = None) -> None:
    """See `medjax.formats.write`: a derived image of the one that was read, or a new one where none was."""
    image, derivation = np.asarray(image), derivation or Derivation()
    if image.ndim != 3 or image.shape[-1] != 1:
        raise DataError(f"{path}: an image to write must have shape [H, W, 1], not {list(image.shape)}")
    if not np.isfinite(image).all():
        raise DataError(f"{path} was not written: the image holds NaN or infinite values")
    if np.dtype(encoding.dtype).kind not in "iu" or np.dtype(encoding.dtype).itemsize > 2:
        raise DataError(f"{path} was not written: dicom cannot hold {encoding.dtype}")
    options = encoding.options
    form: Layout = options.get("form") or fresh.layout(image.shape[:2], np.dtype(encoding.dtype))
    header = options.get("header") or Header(fresh.header(derivation.key))
    form = replace(form, rows=image.shape[0], columns=image.shape[1])
    table, _ = transform.to_unit(path, header.dataset, form, options.get("value_range"))
    stored = transform.invert(path, table, np.clip(image[..., 0].astype(np.float64), 0, 1), form)
    save(path, header, expand(stored, form.samples), form, derivation)


def size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone."""
    form = pixels.layout(path, pixels.load(path, pixels=False))
    return form.rows, form.columns


def bits(path: Path) -> int:
    """Of a sample, from the header alone."""
    return pixels.layout(path, pixels.load(path, pixels=False)).stored


def stored_values(path: str | os.PathLike) -> np.ndarray:
    """The pixels as the file stores them, before rescale, look-up tables and inversion.

    Returns:
      Integers of the stored type: [H, W], [H, W, 3] for colour (red, green, blue), [N, H, W] for many frames.

    Raises:
      DataError: as `medjax.formats.read`, and for a transfer syntax without a decoder, which it names.
    """
    path = Path(path)
    with reading(path):
        dataset = pixels.load(path)
        form = pixels.layout(path, dataset)
        found = list(pixels.frames(path, dataset, form))
        return np.stack(found) if form.frames > 1 else found[0]


def _grey(path: Path, dataset: pydicom.Dataset, values: np.ndarray, form: Layout) -> tuple[np.ndarray, Layout]:
    """One channel, and how it would be stored: a palette is looked up, colours must agree."""
    if form.photometric == "PALETTE COLOR":
        shown = apply_color_lut(values, dataset)
        bits = shown.dtype.itemsize * 8
        form = replace(form, photometric="MONOCHROME2", allocated=bits, stored=bits, high=bits - 1, signed=False)
        return grey(path, shown[..., :3]), form
    if form.samples == 3:
        return grey(path, values), replace(form, photometric="RGB")
    return values, form
