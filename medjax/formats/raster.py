"""PNG and JPEG through Pillow: 8-bit and 16-bit grey, and colour files whose channels agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from medjax.formats.encoding import (
    MAX_PIXELS,
    Encoding,
    ValueRange,
    check_pixels,
    expand,
    from_unit,
    grey,
    stored_range,
    to_unit,
)
from medjax.types import DataError

_PILLOW = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SUFFIXES = tuple(_PILLOW)
FORMATS = ("png", "jpeg")
_KEPT = ("dpi", "exif", "icc_profile")
_CHANNELS = {"1": 1, "L": 1, "I;16": 1, "I;16B": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_SAMPLING_UNKNOWN = -1


def read(path: Path, *, value_range: ValueRange = None) -> tuple[np.ndarray, Encoding]:
    """See `medjax.formats.read`."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have asked Pillow to invent what a file lacks
    with _open(path) as image:
        check_pixels(path, image.height, image.width)
        if image.format == "PNG" and _png_depth(path) == 16 and image.mode not in ("I;16", "I;16B"):
            raise DataError(f"{path} is a 16-bit PNG with colour or alpha; save it as 16-bit grey, or as 8-bit")
        options = {key: image.info[key] for key in _KEPT if key in image.info}
        if image.format == "JPEG":
            options["qtables"] = image.quantization
            if image.mode == "RGB" and (sampling := JpegImagePlugin.get_sampling(image)) != _SAMPLING_UNKNOWN:
                options["subsampling"] = sampling
        decoded = _decode(path, image)
    values = np.asarray(decoded)
    values = values.astype(np.uint8) * 255 if values.dtype == bool else values
    channels = 1 if image.mode in ("P", "1") else _CHANNELS[decoded.mode]
    values = grey(path, values)
    low, high = stored_range(path, values, value_range)
    return to_unit(path, values, low, high), Encoding(image.format.lower(), values.dtype.name, low, high, channels, options)


def write(path: Path, image: np.ndarray, encoding: Encoding) -> None:
    """See `medjax.formats.write`; JPEG keeps its quantisation tables and chroma sampling."""
    if encoding.dtype not in ("uint8", "uint16") or (encoding.format == "jpeg" and encoding.dtype != "uint8"):
        raise DataError(f"{path} was not written: {encoding.format} cannot hold {encoding.dtype}")
    if encoding.dtype == "uint16" and encoding.channels != 1:
        raise DataError(f"{path} was not written: a 16-bit PNG is written as grey only, not with {encoding.channels} channels")
    values = expand(from_unit(path, image, encoding), encoding.channels)
    options = dict(encoding.options)
    if encoding.format == "jpeg" and "qtables" not in options:
        options.setdefault("quality", 95)
    with open(path, "wb") as file:
        Image.fromarray(values).save(file, format=encoding.format.upper(), **options)


def size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone."""
    with _open(path) as image:
        return image.height, image.width


def bits(path: Path) -> int:
    """Of a sample, from the header alone."""
    with _open(path) as image:
        return _png_depth(path) if image.format == "PNG" else 8


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=(_PILLOW[path.suffix.lower()],))
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} claims more than the {MAX_PIXELS} pixels that are read") from error


def _decode(path: Path, image: Image.Image) -> Image.Image:
    """Pixels in a mode of `_CHANNELS`, or a DataError."""
    image.load()
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode not in _CHANNELS:
        raise DataError(f"{path} has pixels of mode {image.mode}, where grey or RGB is expected")
    return image


def _png_depth(path: Path) -> int:
    """Bits per channel in the IHDR: Pillow reduces 16-bit colour to 8 bits without a word."""
    with open(path, "rb") as file:
        return file.read(25)[24]
