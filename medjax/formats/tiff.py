"""Single-page grey TIFF of 8, 16 and 32-bit integers and floats, through tifffile.

Compressions that tifffile cannot decode by itself (LZW, JPEG) are read by Pillow's libtiff. What was compressed
is written deflated, which every reader knows and which loses nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageFile

from medjax.formats.encoding import Encoding, ValueRange, check_pixels, expand, from_unit, grey, stored_range, to_unit
from medjax.types import DataError

SUFFIXES = (".tif", ".tiff")
FORMATS = ("tiff",)
_PILLOW_MODES = ("L", "LA", "I;16", "I;16B", "F", "RGB", "RGBA")


def read(path: Path, *, value_range: ValueRange = None) -> tuple[np.ndarray, Encoding]:
    """See `medjax.formats.read`."""
    with tifffile.TiffFile(path) as file:
        page = _page(path, file)
        values = _values(path, page)
        options = _options(page)
        channels = 1 if page.photometric == tifffile.PHOTOMETRIC.PALETTE else int(page.samplesperpixel)
    values = grey(path, values)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise DataError(f"{path} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite")
    low, high = stored_range(path, values, value_range)
    image = to_unit(path, values, low, high)
    if options.get("photometric") == "miniswhite":
        image = 1 - image
    return image, Encoding("tiff", values.dtype.name, low, high, channels, options)


def write(path: Path, image: np.ndarray, encoding: Encoding) -> None:
    """See `medjax.formats.write`."""
    options = dict(encoding.options)
    if options.get("photometric") == "miniswhite":
        image = 1 - np.asarray(image)
    values = expand(from_unit(path, image, encoding), encoding.channels)
    options.setdefault("photometric", "rgb" if encoding.channels >= 3 else "minisblack")
    if encoding.channels in (2, 4):
        options["extrasamples"] = ("unassalpha",)
    tifffile.imwrite(path, values, metadata=None, **options)


def size(path: Path) -> tuple[int, int]:
    """(height, width) from the header alone."""
    with tifffile.TiffFile(path) as file:
        page = _page(path, file)
        return int(page.imagelength), int(page.imagewidth)


def bits(path: Path) -> int:
    """Of a sample, from the header alone."""
    with tifffile.TiffFile(path) as file:
        return int(_page(path, file).bitspersample)


def _page(path: Path, file: tifffile.TiffFile) -> tifffile.TiffPage:
    """The one page of the file, of a believable size."""
    if len(file.pages) != 1:
        raise DataError(f"{path} holds {len(file.pages)} pages, where a single image is expected")
    page = file.pages[0]
    check_pixels(path, int(page.imagelength), int(page.imagewidth))
    if page.imagedepth != 1:
        raise DataError(f"{path} holds a volume, where a single image is expected")
    return page


def _values(path: Path, page: tifffile.TiffPage) -> np.ndarray:
    """Stored values [H, W] or [H, W, channels]; a palette is looked up."""
    ends = (
        sum(page.databytecounts),
        max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0),
    )
    if not ends[0] or ends[1] > path.stat().st_size:
        raise DataError(f"{path} is cut short: its pixels end at byte {ends[1]} of {path.stat().st_size}")
    try:
        values = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        values = _by_pillow(path)
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        values = np.moveaxis(page.colormap[:, values], 0, -1)
        return (values >> 8).astype(np.uint8) if page.bitspersample <= 8 else values
    if values.ndim == 3 and page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)
    return values.astype(np.uint8) * 255 if values.dtype == bool else values


def _by_pillow(path: Path) -> np.ndarray:
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with Image.open(path, formats=("TIFF",)) as image:
        if image.mode not in _PILLOW_MODES:
            raise DataError(f"{path} uses a TIFF compression that cannot be read for pixels of mode {image.mode}")
        image.load()
        return np.asarray(image)


def _options(page: tifffile.TiffPage) -> dict:
    """Resolution, photometric interpretation and whether it was compressed."""
    options: dict = {}
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        options["photometric"] = "miniswhite"
    if page.compression != tifffile.COMPRESSION.NONE:
        options["compression"] = "zlib"
    if "XResolution" in page.tags and "YResolution" in page.tags:
        options["resolution"] = (page.tags["XResolution"].value, page.tags["YResolution"].value)
        options["resolutionunit"] = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2
    return options
